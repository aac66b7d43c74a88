"""Differences against PLADIS off, paired by prompt and seed, with bootstrap intervals."""

from __future__ import annotations

import math
import zlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.stats import bootstrap

from .point import Point
from .store import Record

RESAMPLES = 10_000
LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A score at a point: its mean over `pictures`, and the mean difference from off with its interval."""

    mean: float
    difference: float
    low: float
    high: float
    pictures: int
    prompts: int

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


def estimate(records: Iterable[Record], point: Point, score: str, against: Point | None = None) -> Estimate | None:
    """The estimate of a score at a point from the records that have a partner at `against`; None if there are none.

    `against` is PLADIS off at the same CFG scale where it is not given.

    The interval is the percentile bootstrap's, 95%. Prompts are resampled, not pictures: pictures of one
    prompt resemble each other, and it is other prompts that the figure is to hold for.
    """
    on, off = _values(records, point, against or point.off, score)
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
    return Estimate(mean, mean - before, low, high, len(pairs), len(by_prompt))


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
    records: Iterable[Record], point: Point, against: Point, score: str
) -> tuple[dict[tuple[str, int], float], dict[tuple[str, int], float]]:
    """(prompt, seed) -> score, at the point and at `against`."""
    on: dict[tuple[str, int], float] = {}
    off: dict[tuple[str, int], float] = {}
    for record in records:
        for values, wanted in ((on, point), (off, against)):
            if record.point == wanted and score in record.scores:
                values[record.prompt, record.seed] = record.scores[score]
    return on, off
