"""The second part of the study: what is compared, the correction for many comparisons, and the tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks.align import second, seeds, statistics
from benchmarks.align.compared import Compared
from benchmarks.align.point import Point
from benchmarks.align.store import Record
from benchmarks.align.study import EXPERIMENTS, SEEDS, WORTH


def test_claims_share_no_prompt_and_no_seed_with_what_they_were_chosen_on() -> None:
    made = [comparison.experiment("many-steps") for comparison in second.COMPARISONS]
    claims = [one for one in made if one.words]
    others = [*EXPERIMENTS, *(one for one in made if not one.words)]
    proof = ["proof", "proof-near", "proof-paper", "proof-unguided", "again", "proof-negative", "proof-mild"]
    assert [one.name for one in claims] == ["claims", "noise", "noise-guided", *proof]
    texts = {prompt.text for one in claims for prompt in one.prompts}
    seeds = {seed for one in claims for seed in one.seeds}
    for other in others:
        assert not texts & {prompt.text for prompt in other.prompts}, other.name
        assert not seeds & set(other.seeds), other.name


def test_the_proof_shares_no_prompt_and_no_seed_with_anything() -> None:
    made = {one.name: one.experiment("many-steps") for one in second.COMPARISONS}
    proof = made.pop("proof")
    for name in ("proof-near", "proof-paper", "proof-unguided", "proof-negative", "proof-mild"):
        assert set(made.pop(name).plan.pairs) <= set(proof.plan.pairs), "with the same pictures off"
    texts, seeds = {prompt.text for prompt in proof.prompts}, set(proof.seeds)
    assert len(texts) == 512 and len(proof.plan.pairs) == 2048
    for other in (*EXPERIMENTS, *made.values()):
        assert not texts & {prompt.text for prompt in other.prompts}, other.name
        assert not seeds & set(other.seeds), other.name


def test_prompts_with_noise_of_their_own_share_none() -> None:
    noise = next(one for one in second.COMPARISONS if one.name == "noise").experiment("many-steps")
    pairs = noise.plan.pairs
    assert len(pairs) == len({seed for _, seed in pairs}) == len(noise.seeds) == SEEDS * len(noise.prompts)
    assert [prompt for prompt, _ in pairs[:SEEDS]] == [noise.prompts[0]] * SEEDS
    line = EXPERIMENTS[0].plan.pairs
    assert len(line) == SEEDS * len(EXPERIMENTS[0].prompts) and {seed for _, seed in line} == set(EXPERIMENTS[0].seeds)


def test_an_interval_over_seeds() -> None:
    low, high = seeds.interval([1.0, 2.0, 3.0, 4.0])
    assert (low, high) == pytest.approx((2.5 - 3.182446 * 1.290994 / 2, 2.5 + 3.182446 * 1.290994 / 2), abs=1e-4)


def test_every_column_has_its_off_and_every_setting() -> None:
    for comparison in second.COMPARISONS:
        points = {column: comparison.experiment(column.model).points for column in comparison.columns}
        for column, found in points.items():
            assert Point(column.cfg, scale=0.0) in found
            assert all(comparison.point(setting, column) in found for setting in comparison.settings)


def test_names_of_the_study() -> None:
    assert [one.name for one in second.experiments("line, claims")] == ["line", "claims", "claims"]
    drawn = sum(len(comparison.models) for comparison in second.COMPARISONS)
    assert len(second.experiments()) == len(EXPERIMENTS) + drawn + 1, "and what PLADIS is worth in guidance"
    with pytest.raises(ValueError, match="--study: got 'nonsense', allowed: line"):
        second.experiments("nonsense")


def test_holm() -> None:
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([0.9, 0.6]) == [1.0, 1.0] and statistics.holm([]) == []


def test_p_of_no_difference_is_as_often_small_as_it_says() -> None:
    rng = np.random.default_rng(3)
    found = [statistics.sign_flips([np.repeat(one, 4) for one in rng.normal(0, 1, 40)], str(i)) for i in range(200)]
    assert 0.02 <= np.mean(np.array(found) < 0.05) <= 0.09
    assert statistics.sign_flips([np.ones(4)] * 30, "clear") == pytest.approx(1 / (statistics.RESAMPLES + 1))


@pytest.fixture
def compared() -> Any:
    """Two settings; the second is right in one picture of two more, at CFG 5 only, and isn't drawn at CFG 7."""
    comparison = second.Comparison("some", [Point(1.0), Point(1.0, rescale=1.0)], 8)
    scores = {}
    for model in ("many-steps", "few-steps"):
        experiment, found = comparison.experiment(model), []
        for point in experiment.points:
            for prompt in experiment.prompts if not (point.cfg == 7 and point.rescale) else ():
                for seed in experiment.seeds:
                    right = float(seed % 2 or (point.cfg == 5 and point.rescale > 0))
                    found.append(Record(point, prompt.text, prompt.kind, seed, {"all right": right, "fit": 0.5}, ""))
        scores[model] = found
    return Compared(comparison, scores)


def test_tables_say_what_the_scores_say(compared: Any) -> None:
    rows = compared.table().splitlines()
    assert rows[0] == "| settings | CFG 1 | CFG 3 | CFG 5 | CFG 7 | 4 steps |"
    assert rows[2] == "| pictures a point |" + " 128 |" * 5
    assert rows[3] == "| off |" + " 50.0 % |" * 5
    same, better = "+0.0 (+0.0 … +0.0)", "**+50.0 (+50.0 … +50.0)**"
    assert rows[4] == f"| λ=2 |{f' {same} |' * 5}"
    assert rows[5] == f"| λ=2 φ=1 | {same} | {same} | {better} | – | {same} |"
    assert compared.pictures(second.COLUMNS[0]) == 4 * 8 * SEEDS
    one = compared.estimate(compared.comparison.settings[1], second.COLUMNS[2], kind="three")
    assert one and one.pictures == 8 * SEEDS
    assert compared.chances().splitlines()[3].split("|")[4].strip() == "**0.0009**", "nine comparisons, 1e-4 each"


def test_points_of_unequal_size_are_noticed(compared: Any) -> None:
    records = compared._scores["few-steps"]
    compared._scores["few-steps"] = [one for one in records if one.seed > 1000 or not one.point.rescale]
    with pytest.raises(ValueError, match="4 steps: points of"):
        compared.pictures(second.COLUMNS[-1])


def test_what_it_is_worth_in_guidance_shares_no_prompt_and_no_seed_with_anything() -> None:
    assert len(WORTH.points) == 19 and len(WORTH.plan.pairs) == 512
    for other in (*EXPERIMENTS, *(one.experiment("many-steps") for one in second.COMPARISONS)):
        assert not {one.text for one in WORTH.prompts} & {one.text for one in other.prompts}, other.name
        assert not set(WORTH.seeds) & set(other.seeds), other.name
