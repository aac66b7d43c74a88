"""Statistics of the votes between two candidates: the share for one of them, its confidence interval, and the number of
further votes needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

LEVEL = 0.95
MOST = 2_000
"""Maximum number of votes for which `more` is computed."""

SAID = {
    "share": "{share} % of the votes ({votes}) preferred “{name}” to “{other}”; 95 % confidence interval: {low} to "
    "{high} %.",
    "ties": "Ties ({ties}) count as half a vote for each side.",
    "clear": "This is unlikely to be chance.",
    "chance": "This could be chance; about {more} more votes would settle it if the share stays the same.",
    "many": "This could be chance, and it would take very many more votes to settle it.",
}


@dataclass(frozen=True)
class Tally:
    """Votes for one (`wins`), for the other (`losses`), and for neither (`ties`)."""

    wins: int = 0
    ties: int = 0
    losses: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.wins + other.wins, self.ties + other.ties, self.losses + other.losses)

    @property
    def votes(self) -> int:
        return self.wins + self.ties + self.losses

    @property
    def share(self) -> float:
        """The share that preferred it, 0 to 1; a tie counts as one half; 0.5 without votes."""
        return (self.wins + self.ties / 2) / self.votes if self.votes else 0.5

    @property
    def interval(self) -> tuple[float, float]:
        """The exact interval (Clopper and Pearson 1934) of the share at LEVEL. Counting ties as one half makes it
        wider than necessary, never narrower: a tie varies less than a vote."""
        return _interval(self.wins + self.ties / 2, self.votes)

    @property
    def clear(self) -> bool:
        """Whether the interval excludes one half; otherwise the votes could be chance."""
        low, high = self.interval
        return low > 0.5 or high < 0.5

    @property
    def more(self) -> int | None:
        """How many more votes would make it clear if the share stays the same; 0 if it is clear, None above MOST."""
        if self.clear:
            return 0
        for votes in range(max(1, self.votes), MOST + 1):
            low, high = _interval(self.share * votes, votes)
            if low > 0.5 or high < 0.5:
                return votes - self.votes
        return None

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        low, high = self.interval
        return {
            **{"wins": self.wins, "ties": self.ties, "losses": self.losses, "votes": self.votes},
            **{"share": self.share, "low": low, "high": high, "clear": self.clear, "more": self.more},
        }

    def said(self, name: str, other: str) -> list[tuple[str, dict[str, Any]]]:
        """The result in words: sentences of SAID, each with the values to fill in."""
        low, high = self.interval
        percent = {each: f"{100 * value:.0f}" for each, value in (("share", self.share), ("low", low), ("high", high))}
        kind = "clear" if self.clear else "many" if self.more is None else "chance"
        ties = [(SAID["ties"], {"ties": self.ties})] if self.ties else []
        share = {"name": name, "other": other, "votes": self.votes, **percent}
        return [(SAID["share"], share), *ties, (SAID[kind], {"more": self.more})]


def _interval(successes: float, votes: int) -> tuple[float, float]:
    """The interval of `successes`, not necessarily an integer, among `votes`."""
    from scipy.special import betaincinv  # all hosts have it, with k-diffusion; late: it takes a second to load

    tail = (1 - LEVEL) / 2
    low = betaincinv(successes, votes - successes + 1, tail) if successes > 0 else 0.0
    high = betaincinv(successes + 1, votes - successes, 1 - tail) if successes < votes else 1.0
    return float(low), float(high)
