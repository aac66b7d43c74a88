"""Which steps are blended, and λ at each of them."""

from __future__ import annotations

import math
from collections.abc import Callable

SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda t: 1.0,
    "linear up": lambda t: t,
    "linear down": lambda t: 1 - t,
    "cosine": lambda t: (1 + math.cos(math.pi * t)) / 2,
}
"""The factor of λ at t in (0, 1), the position between start and end. A schedule is one line."""

_EPSILON = 1e-9  # fractions such as 0.3 of 10 steps are not exact in binary


def active_steps(total: int, start: float, end: float) -> range:
    """The steps i (0-based) of `total` with start ≤ i / total < end; start and end in [0, 1]."""
    return range(math.ceil(start * total - _EPSILON), math.ceil(end * total - _EPSILON))


def step_scale(scale: float, schedule: str, step: int, total: int, start: float, end: float) -> float:
    """λ at one step: λ times `SCHEDULES[schedule](t)`, t in (0, 1) the middle of the step in the active range.

    `step`: calls of the denoiser so far. `total`: the expected number (a second-order sampler makes two a step); if
    there are more, the last step continues. Returns 0 outside the active range. Raises ValueError for an unknown
    schedule.
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule: got {schedule!r}, allowed: {', '.join(SCHEDULES)}")
    total = max(total, 1)
    step = min(step, total - 1)
    active = active_steps(total, start, end)
    if step not in active:
        return 0.0
    return scale * SCHEDULES[schedule]((step - active.start + 0.5) / len(active))
