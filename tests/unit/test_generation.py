"""The life of a generation, against a stand-in for the host's `p`: batches, errors, what it says."""

from __future__ import annotations

import copy
import sys
from typing import Any

import pytest

from lib_pladis.run.probe import Columns, Probe
from lib_pladis.settings import SettingsError
from tests.generations import OFF, ON, FakeModel, P, Result, process_images


def test_hooks_stand_in_every_step_and_not_after(web: Any) -> None:
    p = P()
    process_images(web, p, ON, batches=2)
    assert p.hooked_in_step == [{"first"}] * 8
    assert len(web.last.passes) == 2
    assert set(vars(p)) == set(vars(P())), "p carries nothing of ours afterwards"


def test_off_touches_nothing(web: Any) -> None:
    p = P()
    process_images(web, p, OFF)
    assert p.hooked_in_step == [set()] * 4
    assert p.extra_generation_params == {} and p.comments == []


def test_an_exception_while_sampling_leaves_nothing(web: Any) -> None:
    p = P()
    p.during = lambda index: 1 / 0
    with pytest.raises(ZeroDivisionError):
        process_images(web, p, ON)
    assert FakeModel.hooked == set() and "sample" not in vars(p)
    other = P()
    process_images(web, other, OFF)
    assert other.hooked_in_step == [set()] * 4


def test_bad_settings_refuse_before_any_work(web: Any) -> None:
    p = P()
    p.extra_generation_params = {"PLADIS scale": "2", "Other": 1}
    with pytest.raises(SettingsError, match="Scale") as error:
        process_images(web, p, [True, "abc"])
    assert vars(error.value)["status_code"] == 422
    assert not p.initialised and "init" not in vars(p)
    assert p.extra_generation_params == {"Other": 1}
    process_images(web, p, ON)
    assert p.initialised and p.hooked_in_step == [{"first"}] * 4


def test_infotext_of_an_off_cell_after_an_on_cell_that_shares_its_dict(web: Any) -> None:
    p = P()
    on, off = copy.copy(p), copy.copy(p)
    process_images(web, on, ON)
    process_images(web, off, OFF)
    assert on.extra_generation_params["PLADIS scale"] == "2"
    assert off.extra_generation_params == {}


def test_a_refiner_swap_is_followed(web: Any) -> None:
    p = P()

    def during(index: Any) -> None:
        if index == 1:
            p.sd_model = "refiner"

    p.during = during
    process_images(web, p, ON)
    assert p.hooked_in_step == [{"first"}] * 2 + [{"refiner"}] * 2
    assert [each.steps for each in web.last.passes] == [2, 2]


def test_an_error_of_ours_is_said_once_with_a_count_and_leaves_no_hook(
    web: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(model: Any, names: Any, current: Any) -> None:
        model.hooked.add(model.name)
        raise RuntimeError("no such layer")

    monkeypatch.setattr(FakeModel, "install", broken)
    p = P()
    process_images(web, p, ON)
    said = [text for text in p.comments if "no such layer" in text]
    assert said == ["PLADIS: not applied in 4 steps: RuntimeError: no such layer"]
    assert capsys.readouterr().err.count("Traceback") == 1
    assert web.last.error == "not applied in 4 steps: RuntimeError: no such layer"
    assert p.extra_generation_params == {}


def test_a_picture_that_was_not_blended_does_not_claim_it(web: Any) -> None:
    p = P()
    p.calls_attention = False  # a U-Net that an accelerator replaced as a whole, for one
    p.extra_generation_params = {"Other": 1}
    process_images(web, p, ON)
    assert p.extra_generation_params == {"Other": 1}
    assert any("not applied" in text for text in p.comments)
    on = P()
    process_images(web, on, ON)
    assert on.extra_generation_params["PLADIS scale"] == "2" and on.comments == []


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"scale": 0.0}, "λ is 0"),
        ({"alpha": 1.0}, "α is 1 at temperature 1, which is plain softmax"),
        ({"start": 0.5, "end": 0.5}, "start 0.5 is not before end 0.5"),
    ],
)
def test_settings_that_do_nothing_say_so(web: Any, values: dict[str, Any], said: str) -> None:
    p = P()
    process_images(web, p, [{"enabled": True, **values}])
    assert p.comments == [f"PLADIS: not applied: {said}"]
    cell = P()
    cell.pladis_xyz = values  # type: ignore[attr-defined]
    process_images(web, cell, ON)
    assert cell.comments == [], "in a plot such a cell is the plain picture, and meant to be"


def test_img2img_object_without_hires_fields(web: Any) -> None:
    p = P()
    assert not hasattr(p, "enable_hr") and not hasattr(p, "is_hr_pass")
    process_images(web, p, [{"enabled": True, "hr_override": True}])
    assert web.last.passes[0].stage == "first"


def test_say_writes_on_a_console_without_greek(monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    from lib_pladis.webui import generation

    console = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr(sys, "stdout", console)
    generation.say("PLADIS: λ=2 α=1.5")
    console.flush()
    assert console.buffer.getvalue().strip() == b"PLADIS: lambda=2 alpha=1.5"


def test_png_info_is_written_batch_by_batch(web: Any) -> None:
    """A first batch that was not blended (skipped early, say) doesn't take the second's parameters."""
    p = P()
    p.calls_attention = False

    def next_batch_is_blended() -> None:
        p.calls_attention = True

    first, second = process_images(web, p, ON, batches=2, after_sampling=next_batch_is_blended)
    assert first == {} and second["PLADIS scale"] == "2"
    assert len([text for text in p.comments if "not applied to this picture" in text]) == 1


def test_a_look_is_told_of_when_it_has_ended_and_holds_no_prompts(web: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from lib_pladis.webui import generation

    probes: list[Probe] = []

    def begin_batch(looking: Any, p: Any) -> Probe:
        probes.append(Probe((), lambda index, hires: [[Columns({}, ())]]))
        return probes[-1]

    monkeypatch.setattr(generation.Look, "begin_batch", begin_batch)
    p, seen, result = P(), [], Result("a")
    p.seeds = [7]  # type: ignore[attr-defined]
    p.during = lambda index: seen.append((len(web.beside._looks), len(probes[-1]._now)))
    web.begin(p, [{"look": True}])
    web.begin_batch(p)
    p.sample()
    assert seen == [(0, 1)] * 4
    assert probes[-1]._now == probes[-1]._prompts(0, False) == ()
    web.end(p, result)
    web.finish(p, result)
    ((place, sheet, name, number),) = result.extra_generation_params["PLADIS beside"]["looks"]
    assert (place, sheet, number) == (0, None, 0) and web.beside.look(name).settings.look


def test_what_fails_beside_the_pictures_leaves_nothing_open(web: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from lib_pladis.webui import generation

    def broken(looking: Any, p: Any, processed: Any, places: Any) -> str:
        raise IndexError

    monkeypatch.setattr(generation.Look, "begin_batch", lambda looking, p: None)
    monkeypatch.setattr(generation.Look, "finish", broken)
    p = P()
    web.begin(p, [{"look": True}])
    web.begin_batch(p)
    p.sample()
    web.end(p, Result())
    with pytest.raises(IndexError):
        web.finish(p, Result())
    assert web._open == [] and vars(p).keys() == vars(P()).keys()


def test_cells_of_a_plot_are_each_the_last_report(web: Any) -> None:
    for scale in (1.0, 3.0):
        process_images(web, P(), [True, scale])
        assert web.last.settings["scale"] == scale and web.last.nested == []


def test_a_kernel_that_this_version_lacks_is_auto(web: Any) -> None:
    sys.modules["modules.shared"].opts.data["pladis_backend"] = "of another version"
    p = P()
    process_images(web, p, ON)
    assert p.hooked_in_step == [{"first"}] * 4
