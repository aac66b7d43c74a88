"""A generation beside others: copies of its `p`, what is made inside it, comparisons, scripts that wrap `p.sample`."""

from __future__ import annotations

import copy
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from tests.generations import OFF, ON, P, Result, process_images


def test_a_copy_taken_in_mid_generation_samples_itself(web: Any) -> None:
    p = P()
    copies = []
    web.begin(p, ON)
    web.begin_batch(p)
    p.during = lambda index: copies.append(copy.copy(p))
    p.sample()
    web.end(p)
    assert "sample" not in vars(copies[0])


def test_a_nested_generation_without_the_script_is_left_alone_and_the_outer_goes_on(web: Any) -> None:
    inner = P(model="inner", steps=2)

    def during(index: Any) -> None:
        if index == 1:
            inner.sample()

    p = P()
    p.during = during
    process_images(web, p, ON)
    assert inner.hooked_in_step == [set()] * 2
    assert p.hooked_in_step == [{"first"}] * 4


@pytest.mark.parametrize(("args", "hooks"), [(ON, {"inner"}), (OFF, set())])
def test_a_nested_generation_follows_its_own_arguments(web: Any, args: Any, hooks: Any) -> None:
    inner = P(model="inner", steps=2)

    def during(index: Any) -> None:
        if index == 1:
            process_images(web, inner, args)

    p = P()
    p.during = during
    process_images(web, p, ON)
    assert inner.hooked_in_step == [hooks] * 2
    assert p.hooked_in_step == [{"first"}] * 4


def test_the_plain_half_of_a_comparison_is_plain_and_so_is_what_is_made_inside_it(
    web: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, halves = P(), []

    def draw(half: Any) -> Any:
        halves.append(half)
        half.during = lambda index: process_images(web, inside, ON) if index == 1 else None
        assert process_images(web, half, [True, 2.0, 1.5, {"compare": True}]) == [{}]
        return Result("plain")

    monkeypatch.setitem(sys.modules, "modules.processing", SimpleNamespace(process_images=draw))
    sys.modules["modules"].processing = sys.modules["modules.processing"]  # type: ignore[attr-defined]
    shared: Any = sys.modules["modules.shared"]
    shared.cmd_opts = SimpleNamespace()
    p: Any = P()
    args = [{"compare": True}]
    p.all_seeds = p.all_subseeds = [7]
    result = Result("on")
    web.prepare(p, args)
    web.begin(p, args)
    web.begin_batch(p)
    p.sample()
    web.end_batch(p)
    web.end(p, result)
    web.finish(p, result)
    assert len(halves) == 1 and result.infotexts == ["on", "plain"] and web.last.pairs == [(0, 1)]
    assert p.hooked_in_step == [{"first"}] * 4
    assert halves[0].hooked_in_step == inside.hooked_in_step == [set()] * 4
    assert web.last.as_dict()["nested"] == [] and set(vars(p)) - set(vars(P())) == {"all_seeds", "all_subseeds"}


def test_an_instance_sample_of_another_script_is_kept(web: Any) -> None:
    p: Any = P()
    calls = []
    p.sample = theirs = lambda: calls.append(1)
    process_images(web, p, ON)
    assert calls == [1] and p.sample is theirs


@pytest.mark.parametrize("each_batch", [True, False])
@pytest.mark.parametrize("puts_back", [True, False])
def test_a_wrapper_that_came_after_ours_is_run_in_every_batch(web: Any, each_batch: bool, puts_back: bool) -> None:
    """As often as without us, and ours once a batch, however often it stands there; afterwards theirs alone is left."""
    p: Any = P()
    calls: list[int] = []
    web.begin(p, ON)
    for index in range(3):
        web.begin_batch(p)
        if each_batch or index == 0:
            beneath = p.sample

            def theirs(beneath: Any = beneath, index: int = index) -> None:
                calls.append(index)
                beneath()

            p.sample = theirs
        p.sample()
        if each_batch and puts_back:
            p.sample = beneath
        web.end_batch(p)
    web.end(p)
    assert len(p.hooked_in_step) == 3 * 4 and all(p.hooked_in_step), "one run a batch, all of it with PLADIS"
    assert [each.calls_blended for each in web.last.passes] == [4, 4, 4]
    piled_up = [0, 1, 0, 2, 1, 0]
    assert calls == (([0, 1, 2] if puts_back else piled_up) if each_batch else [0, 0, 0])
    web.begin(p, OFF)
    p.hooked_in_step.clear()
    p.sample()
    assert p.hooked_in_step == [set()] * 4


def test_the_report_is_of_what_the_person_started_with_the_inner_generations_in_it(web: Any) -> None:
    """ADetailer: a generation of its own for each face, after the outer one's sampling."""
    outer, inner = P(), P(model="inner", steps=2)
    process_images(web, outer, ON, after_sampling=lambda: process_images(web, inner, [True, 1.0]))
    report = web.last.as_dict()
    assert [each["calls_blended"] for each in report["passes"]] == [4]
    assert report["settings"]["scale"] == 2.0
    (nested,) = report["nested"]
    assert nested["settings"]["scale"] == 1.0 and [each["calls_blended"] for each in nested["passes"]] == [2]


def test_a_copy_that_is_only_prepared_takes_nothing_from_the_report(web: Any) -> None:
    """ADetailer: `p.scripts.process(copy(p))`, never sampled and never ended."""
    outer = P()
    process_images(web, outer, ON, after_sampling=lambda: web.begin(copy.copy(outer), ON))
    report = web.last.as_dict()
    assert [each["calls_blended"] for each in report["passes"]] == [4] and report["nested"] == []
    after = P()
    process_images(web, after, OFF)
    assert web.last.as_dict()["passes"] == []


def test_a_generation_that_broke_off_is_not_around_the_next_job(web: Any) -> None:
    p = P()
    p.during = lambda index: 1 / 0
    with pytest.raises(ZeroDivisionError):
        process_images(web, p, ON)
    sys.modules["modules.shared"].state.time_start = 2.0
    process_images(web, P(), ON)
    assert [each.calls_blended for each in web.last.passes] == [4] and web.last.nested == []


def test_a_comparison_is_not_kept_past_its_generation(web: Any) -> None:
    p = P()
    web.prepare(p, [{"compare": True}])
    web.begin(p, [{"compare": True, "scale": 0.0}])
    web.end(p)
    assert web._prepared is None
