"""Differences against PLADIS off, paired by prompt and seed, with bootstrap intervals."""

from __future__ import annotations

import math
import zlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import bootstrap

from .point import Point
from .store import Record

RESAMPLES = 10_000
LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A score at a point: its mean over `pictures`, and the mean difference from off with its interval.

    `chance` is the p value of that difference (`sign_flips`), not corrected for anything.
    """

    mean: float
    difference: float
    low: float
    high: float
    pictures: int
    prompts: int
    chance: float = math.nan

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


def estimate(records: Iterable[Record], point: Point, score: str) -> Estimate | None:
    """The estimate of a score at a point from the records that have an off partner; None if there are none.

    The interval is the percentile bootstrap's, 95%. Prompts are resampled, not pictures: pictures of one
    prompt resemble each other, and it is other prompts that the figure is to hold for.
    """
    on, off = _values(records, point, score)
    pairs = [key for key in on if key in off]
    if not pairs:
        return None
    by_prompt: dict[str, list[float]] = defaultdict(list)
    for prompt, seed in pairs:
        by_prompt[prompt].append(on[prompt, seed] - off[prompt, seed])
    groups = [np.asarray(one) for one in by_prompt.values()]
    low, high = interval(groups, f"{point} {score}")
    mean = float(np.mean([on[key] for key in pairs]))
    before = float(np.mean([off[key] for key in pairs]))
    chance = sign_flips(groups, f"{point} {score}")
    return Estimate(mean, mean - before, low, high, len(pairs), len(by_prompt), chance)


def interval(groups: list[np.ndarray], name: str) -> tuple[float, float]:
    """95% bootstrap interval of the mean over all numbers; whole groups are resampled. `name` seeds it.

    NaNs where there is one group only, which says nothing about others.
    """
    if len(groups) < 2:
        return math.nan, math.nan
    found = bootstrap(
        ([group.sum() for group in groups], [len(group) for group in groups]),
        lambda sums, counts, axis: np.sum(sums, axis) / np.sum(counts, axis),
        n_resamples=RESAMPLES,
        batch=1000,
        paired=True,
        confidence_level=LEVEL,
        method="percentile",
        random_state=np.random.default_rng(zlib.crc32(name.encode())),
    ).confidence_interval
    return float(found.low), float(found.high)


def _values(
    records: Iterable[Record], point: Point, score: str
) -> tuple[dict[tuple[str, int], float], dict[tuple[str, int], float]]:
    """(prompt, seed) -> score, at the point and with PLADIS off."""
    on: dict[tuple[str, int], float] = {}
    off: dict[tuple[str, int], float] = {}
    for record in records:
        for values, wanted in ((on, point), (off, point.off)):
            if record.point == wanted and score in record.scores:
                values[record.prompt, record.seed] = record.scores[score]
    return on, off


def sign_flips(groups: list[np.ndarray], name: str) -> float:
    """Two-sided p of "no difference": how often whole groups with random signs are as far from 0 as they are.

    The share among `RESAMPLES` draws and the data themselves, so never 0. `name` seeds it.
    """
    sums = np.array([group.sum() for group in groups])
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    signs = rng.choice((-1.0, 1.0), (RESAMPLES, len(sums)))
    as_far = np.abs(signs @ sums) >= abs(sums.sum()) - 1e-9
    return float((as_far.sum() + 1) / (RESAMPLES + 1))


def holm(values: Sequence[float]) -> list[float]:
    """p values corrected for their number by Holm's method (1979), in the order given."""
    found = [0.0] * len(values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(values)), key=lambda i: values[i])):
        highest = max(highest, min(1.0, (len(values) - rank) * values[index]))
        found[index] = highest
    return found
