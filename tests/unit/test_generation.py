"""The life of a generation, against a stand-in for the host's `p`: batches, copies, nesting, errors."""

from __future__ import annotations

import copy
import sys
import types
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from lib_pladis.run.probe import Columns, Probe
from lib_pladis.settings import SettingsError

ON, OFF = [True, 2.0, 1.5], [False]


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The extension's generations, in a web UI with models that are names."""
    modules: Any = types.ModuleType("modules")
    shared: Any = types.ModuleType("modules.shared")
    modules.shared = shared
    shared.opts = SimpleNamespace(data={})
    shared.state = SimpleNamespace(time_start=1.0)
    monkeypatch.setitem(sys.modules, "modules", modules)
    monkeypatch.setitem(sys.modules, "modules.shared", shared)
    from lib_pladis.webui import generation

    monkeypatch.setattr(generation, "model_in_use", FakeModel)
    monkeypatch.setattr(generation, "check_layers", lambda model, layers: None)
    FakeModel.hooked.clear()
    generations = generation.Generations()
    P.generations = generations
    yield generations
    assert generations._sampling == []
    assert FakeModel.hooked == set(), "hooks left behind"


class FakeModel:
    """A host model whose hooks are entries of a set."""

    hooked: set[str] = set()  # noqa: RUF012
    current: Any
    kind = "fake"
    layers: dict[Any, Any] = {}  # noqa: RUF012

    def __init__(self, name: str) -> None:
        from lib_pladis.models.base import LayerName

        self.name = name
        self.layers = {LayerName("m", 0, 0): None}

    def same_as(self, other: Any) -> Any:
        return other.name == self.name

    def serves(self, other: Any) -> Any:
        return self.same_as(other) and self.name in self.hooked

    def install(self, names: Any, current: Any) -> Any:
        from lib_pladis.hosts.base import Installed

        self.hooked.add(self.name)
        FakeModel.current = staticmethod(current)
        return Installed(hooked=list(names))

    def remove(self) -> None:
        self.hooked.discard(self.name)


class P:
    """What `process_images` calls on a generation, in its order."""

    generations: Any

    def __init__(self, model: str = "first", steps: int = 4) -> None:
        self.sd_model = model
        self.steps = steps
        self.extra_generation_params: dict[str, Any] = {}
        self.comments: list[str] = []
        self.initialised = False
        self.calls_attention = True
        self.during: Any = lambda index: None
        self.hooked_in_step: list[set[str]] = []

    def comment(self, text: str) -> None:
        self.comments.append(text)

    def init(self) -> None:
        self.initialised = True

    def sample(self) -> None:
        denoiser = SimpleNamespace(p=self, step=0, total_steps=self.steps)
        for index in range(self.steps):
            denoiser.step = index
            self.generations.before_denoiser(
                SimpleNamespace(denoiser=denoiser, sampling_step=0, total_sampling_steps=4, text_cond=None)
            )
            self.hooked_in_step.append(set(FakeModel.hooked))
            if FakeModel.hooked and self.calls_attention:
                FakeModel.current().rows(1, lambda: None)
            self.during(index)


def process_images(web: Any, p: Any, args: Any, batches: int = 1, after_sampling: Any = lambda: None) -> Any:
    """Returns what each batch's pictures carry."""
    web.begin(p, args)
    p.init()
    written = []
    for _ in range(batches):
        web.begin_batch(p)
        p.sample()
        after_sampling()
        written.append(dict(p.extra_generation_params))
    web.end(p)
    return written


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
        return SimpleNamespace(images=[half], infotexts=["plain"], index_of_first_image=0)

    monkeypatch.setitem(sys.modules, "modules.processing", SimpleNamespace(process_images=draw))
    sys.modules["modules"].processing = sys.modules["modules.processing"]  # type: ignore[attr-defined]
    shared: Any = sys.modules["modules.shared"]
    shared.cmd_opts = SimpleNamespace()
    p: Any = P()
    args = [{"compare": True}]
    p.all_seeds = p.all_subseeds = [7]
    result = SimpleNamespace(images=[p], infotexts=["on"], index_of_first_image=0, comments="")
    web.prepare(p, args)
    web.begin(p, args)
    web.begin_batch(p)
    p.sample()
    web.end_batch(p)
    web.end(p, result)
    assert len(halves) == 1 and result.infotexts == ["on", "plain"] and web.last.pairs == [(0, 1)]
    assert p.hooked_in_step == [{"first"}] * 4
    assert halves[0].hooked_in_step == inside.hooked_in_step == [set()] * 4
    assert web.last.as_dict()["nested"] == [] and set(vars(p)) - set(vars(P())) == {"all_seeds", "all_subseeds"}


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


def test_a_look_is_told_of_when_it_has_ended_and_holds_no_prompts(web: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from lib_pladis.webui import generation

    probes: list[Probe] = []

    def begin_batch(looking: Any, p: Any) -> Probe:
        probes.append(Probe((), lambda index, hires: [[Columns({}, ())]]))
        return probes[-1]

    monkeypatch.setattr(generation.Look, "begin_batch", begin_batch)
    monkeypatch.setattr(generation.Look, "finish", lambda looking, processed, places: "")
    before = web.look
    p = P()
    looks = []
    p.during = lambda index: looks.append((web.look.settings.look, len(probes[-1]._now)))
    web.begin(p, [{"look": True}])
    web.begin_batch(p)
    p.sample()
    assert looks == [(False, 1)] * 4 and web.look is not before, "nor is there the last generation's"
    assert probes[-1]._now == probes[-1]._texts(0, False) == ()
    web.end(p, SimpleNamespace(images=[], infotexts=[], index_of_first_image=0, comments=""))
    assert web.look.settings.look


def test_what_fails_beside_the_pictures_leaves_nothing_open(web: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from lib_pladis.webui import generation

    def broken(looking: Any, processed: Any, places: Any) -> str:
        raise IndexError

    monkeypatch.setattr(generation.Look, "begin_batch", lambda looking, p: None)
    monkeypatch.setattr(generation.Look, "finish", broken)
    p = P()
    web.begin(p, [{"look": True}])
    web.begin_batch(p)
    p.sample()
    with pytest.raises(IndexError):
        web.end(p, SimpleNamespace(images=[], infotexts=[], index_of_first_image=0, comments=""))
    assert web._open == [] and vars(p).keys() == vars(P()).keys()


def test_a_comparison_is_not_kept_past_its_generation(web: Any) -> None:
    p = P()
    web.prepare(p, [{"compare": True}])
    web.begin(p, [{"compare": True, "scale": 0.0}])
    web.end(p)
    assert web._prepared is None


def test_cells_of_a_plot_are_each_the_last_report(web: Any) -> None:
    for scale in (1.0, 3.0):
        process_images(web, P(), [True, scale])
        assert web.last.settings["scale"] == scale and web.last.nested == []


def test_a_kernel_that_this_version_lacks_is_auto(web: Any) -> None:
    sys.modules["modules.shared"].opts.data["pladis_backend"] = "of another version"
    p = P()
    process_images(web, p, ON)
    assert p.hooked_in_step == [{"first"}] * 4
