"""Which steps, and which λ at which step."""

from __future__ import annotations

import math

_EPSILON = 1e-9  # fractions such as 0.3 of 10 steps are not exact in binary


def active_steps(total: int, start: float, end: float) -> range:
    """The steps i (0-based) of `total` with start ≤ i / total < end; start and end in [0, 1]."""
    return range(math.ceil(start * total - _EPSILON), math.ceil(end * total - _EPSILON))


def step_scale(scale: float, schedule: str, step: int, total: int, start: float, end: float) -> float:
    """λ at one step.

    `step` counts calls of the denoiser from 0, `total` is how many are expected (a second-order sampler
    makes two a step). A sampler that makes more than expected stays at its last step. With t in (0, 1),
    the middle of the step in the active range:

        constant: λ    linear up: λ t    linear down: λ (1 − t)    cosine: λ (1 + cos π t) / 2

    Returns 0 outside the active range. Raises ValueError for an unknown schedule.
    """
    total = max(total, 1)
    step = min(step, total - 1)
    active = active_steps(total, start, end)
    if step not in active:
        return 0.0
    t = (step - active.start + 0.5) / len(active)
    if schedule == "constant":
        return scale
    if schedule == "linear up":
        return scale * t
    if schedule == "linear down":
        return scale * (1 - t)
    if schedule == "cosine":
        return scale * (1 + math.cos(math.pi * t)) / 2
    raise ValueError(f"schedule: got {schedule!r}, allowed: constant, linear up, linear down, cosine")
