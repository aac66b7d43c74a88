"""The interval and the words of a blind test's votes."""

from __future__ import annotations

import random
from itertools import product
from math import comb

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from lib_pladis.webui.blind.tally import MOST, Tally


def test_the_interval_is_scipys_exact_one_on_10_000_random_tallies() -> None:
    """At its ends as many successes, or as few, have a probability of 2.5 %; a hundred by scipy's own search too."""
    chance = random.Random(7)
    tallies = [Tally(chance.randrange(120), 2 * chance.randrange(30), chance.randrange(1, 120)) for _ in range(10_000)]
    wins, votes = (np.array(each) for each in zip(*((each.wins + each.ties // 2, each.votes) for each in tallies)))
    low, high = np.array([each.interval for each in tallies]).T
    assert np.allclose(binom.sf(wins - 1, votes, low)[wins > 0], 0.025, rtol=1e-9) and np.all(low[wins == 0] == 0)
    assert np.allclose(binom.cdf(wins, votes, high), 0.025, rtol=1e-9)
    for each in tallies[:100]:
        found = binomtest(each.wins + each.ties // 2, each.votes).proportion_ci(method="exact")
        assert each.interval == pytest.approx((found.low, found.high), abs=1e-9)
        odd = Tally(each.wins, each.ties + 1, each.losses)  # half a success lies between none and one
        none, one = (Tally(each.wins + more, each.ties, each.losses + 1 - more).interval for more in (0, 1))
        assert none < odd.interval < one and none[1] < odd.interval[1] < one[1]
    assert Tally(5, 0, 0).interval[1] == 1 and Tally(0, 0, 5).interval[0] == 0


@pytest.mark.parametrize("votes", [6, 24])
@pytest.mark.parametrize("wins, ties", [(0.5, 0.0), (0.4, 0.2), (0.1, 0.8), (0.6, 0.3), (0.9, 0.05)])
def test_the_interval_holds_the_true_share_at_least_as_often_as_it_says(votes: int, wins: float, ties: float) -> None:
    """All outcomes with their probabilities, ties among them."""
    losses, share, covered = 1 - wins - ties, wins + ties / 2, 0.0
    for w, t in product(range(votes + 1), repeat=2):
        if w + t > votes:
            continue
        low, high = Tally(w, t, votes - w - t).interval
        if low <= share <= high:
            covered += comb(votes, w) * comb(votes - w, t) * wins**w * ties**t * losses ** (votes - w - t)
    assert covered >= 0.95


def test_ties_count_half_and_make_it_less_clear() -> None:
    assert Tally(6, 0, 0).share == 1 and Tally(3, 6, 0).share == pytest.approx(2 / 3) and Tally().share == 0.5
    assert Tally(20, 0, 4).clear and Tally(4, 0, 20).clear
    assert not Tally(12, 12, 4).clear and not Tally().clear
    assert Tally(1, 2, 3) + Tally(4, 5, 6) == Tally(5, 7, 9) and Tally() + Tally() == Tally()


@pytest.mark.parametrize("tally", [Tally(9, 2, 5), Tally(5, 2, 9), Tally(2, 0, 1), Tally(3, 0, 1)])
def test_so_many_more_votes_would_tell_and_not_one_less(tally: Tally) -> None:
    assert tally.more

    def at(votes: int) -> bool:
        wins = tally.share * votes
        found = binomtest(round(wins), votes).proportion_ci(method="exact")
        return bool(found.low > 0.5 or found.high < 0.5)

    votes = tally.votes * round(2 + tally.more / tally.votes)  # a whole multiple, where the share is a whole number too
    assert votes > tally.votes + tally.more and at(votes) and not at(tally.votes)


def test_what_is_said() -> None:
    def words(tally: Tally) -> str:
        return " ".join(text.format(**values) for text, values in tally.said("Paper", "PLADIS off"))

    assert words(Tally(20, 0, 4)) == (
        "83 % of the votes (24) preferred “Paper” to “PLADIS off”; 95 % confidence interval: 63 to 95 %. "
        "This is unlikely to be chance."
    )
    chance = Tally(14, 2, 8)
    assert f"chance; about {chance.more} more votes would settle it" in words(chance)
    assert "Ties (2) count as half a vote for each side." in words(chance)
    assert Tally(10, 4, 10).more is None and "very many more votes" in words(Tally(10, 4, 10))
    assert Tally(1001, 0, 999).more is None and MOST == 2_000
    assert Tally(20, 0, 4).more == 0
