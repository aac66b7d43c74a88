"""The proof said over: whether two drawings that share nothing agree."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks.align import repeated, second
from benchmarks.align.statistics import Estimate
from benchmarks.align.store import Record


def found(difference: float, half: float, pictures: int = 512) -> Estimate:
    return Estimate(0.8, difference, difference - half, difference + half, pictures, pictures // 4)


def test_errors_of_two_drawings_add_as_independent_ones_do() -> None:
    assert repeated.difference(found(-0.01, 0.03), found(0.02, 0.04)) == pytest.approx((0.03, -0.02, 0.08))


def test_its_interval_leaves_out_no_change_as_rarely_as_it_says() -> None:
    rng = np.random.default_rng(5)
    halves = 1.96 * np.array([0.02, 0.03])
    missed = 0
    for _ in range(2000):
        before, after = rng.normal(0.01, [0.02, 0.03])
        _, low, high = repeated.difference(found(before, halves[0]), found(after, halves[1]))
        missed += low > 0 or high < 0
    assert 0.035 < missed / 2000 < 0.065


@pytest.fixture
def scores() -> Any:
    """In the proof PLADIS changes nothing; said over, Steady is always right at CFG 7, and off half the time."""
    made: dict[str, list[Record]] = {"many-steps": [], "few-steps": []}
    for comparison in second.COMPARISONS:
        if comparison.name not in (*repeated.FIRST, repeated.AGAIN):
            continue
        for model in comparison.models:
            experiment = comparison.experiment(model)
            for point in experiment.points:
                for prompt, seed in experiment.plan.pairs:
                    better = comparison.name == repeated.AGAIN and point.rescale and point.cfg == 7
                    values = {"all right": 1.0 if better else float(seed % 2), "fit": 0.5}
                    made[model].append(Record(point, prompt.text, prompt.kind, seed, values, ""))
    return made


def test_the_table_sets_the_second_drawing_against_the_first(scores: Any) -> None:
    rows = repeated.table(scores).splitlines()
    assert rows[0] == "| settings | CFG 1 | CFG 3 | CFG 5 | CFG 7 | 4 steps |"
    same, better = "+0.0 (+0.0 … +0.0)", "**+50.0 (+50.0 … +50.0)**"
    assert rows[2] == f"| λ=0.5 φ=1 | {same} | {same} | {same} | {better} | {same} |"
    assert rows[3] == f"| λ=1 | {same} | – | – | – | – |", "which the proof has at CFG 1 only"
    assert rows[4] == f"| λ=2 |{f' {same} |' * 5}"


def test_the_proofs_larger_drawing_counts(scores: Any) -> None:
    at = {(setting, column.title): pair for (setting, column), pair in repeated.pairs(scores).items()}
    before, after = at[second.PAPER, "CFG 1"]
    assert (before.pictures, after.pictures) == (2048, 512)
