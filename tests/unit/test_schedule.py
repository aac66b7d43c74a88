"""Which steps, and which λ."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_pladis.math.schedule import SCHEDULES, active_steps, step_scale

fractions = st.floats(0, 1)


@pytest.mark.parametrize(
    ("total", "start", "end", "steps"),
    [
        (20, 0.0, 1.0, range(20)),
        (20, 0.0, 0.5, range(10)),
        (20, 0.5, 1.0, range(10, 20)),
        (10, 0.3, 0.7, range(3, 7)),  # 0.3 * 10 and 0.7 * 10 are not exact
        (3, 0.5, 1.0, range(2, 3)),
        (4, 0.9, 1.0, range(0)),
        (4, 0.5, 0.5, range(0)),
        (1, 0.0, 0.1, range(1)),
    ],
)
def test_active_steps(total: Any, start: Any, end: Any, steps: Any) -> None:
    assert list(active_steps(total, start, end)) == list(steps)


@given(st.integers(1, 200), fractions, fractions)
def test_two_halves_meet_without_gap_or_overlap(total: Any, cut: Any, _: Any) -> None:
    first, second = active_steps(total, 0, cut), active_steps(total, cut, 1)
    assert [*first, *second] == list(range(total))


@given(st.integers(1, 100), st.sampled_from([*SCHEDULES]), st.floats(0, 5), fractions, fractions)
def test_scale_stays_between_zero_and_lambda(total: Any, schedule: Any, scale: Any, start: Any, end: Any) -> None:
    for step in range(total):
        value = step_scale(scale, schedule, step, total, start, end)
        assert 0 <= value <= scale
        if step not in active_steps(total, start, end):
            assert value == 0


def run(schedule: str, total: int = 4) -> list[float]:
    return [step_scale(2.0, schedule, step, total, 0, 1) for step in range(total)]


def test_shapes_of_the_schedules() -> None:
    assert run("constant") == [2.0] * 4
    assert run("linear up") == pytest.approx([0.25, 0.75, 1.25, 1.75])
    assert run("linear down") == run("linear up")[::-1]
    cosine = run("cosine")
    assert cosine == sorted(cosine, reverse=True)
    assert sum(cosine) == pytest.approx(4.0)  # the mean is λ / 2


def test_more_calls_than_expected_stay_at_the_last_step() -> None:
    assert step_scale(2.0, "linear up", 9, 4, 0, 1) == step_scale(2.0, "linear up", 3, 4, 0, 1)
    assert step_scale(2.0, "constant", 9, 4, 0, 0.5) == 0


def test_unknown_schedule() -> None:
    with pytest.raises(ValueError, match=r"got 'sine', allowed: constant"):
        step_scale(1.0, "sine", 0, 1, 0, 1)
