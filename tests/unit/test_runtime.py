"""The life of a generation, against a stand-in for the host's `p`: batches, copies, nesting, errors."""

from __future__ import annotations

import copy
import sys
import types
from types import SimpleNamespace

import pytest

from lib_pladis.settings import SettingsError

ON, OFF = [True, 2.0, 1.5], [False]


@pytest.fixture
def runtime(monkeypatch):
    modules = types.ModuleType("modules")
    modules.shared = types.ModuleType("modules.shared")
    modules.shared.opts = SimpleNamespace(data={})
    monkeypatch.setitem(sys.modules, "modules", modules)
    monkeypatch.setitem(sys.modules, "modules.shared", modules.shared)
    from lib_pladis.webui import runtime

    monkeypatch.setattr(runtime, "host_model", FakeModel)
    monkeypatch.setattr(runtime, "check_layers", lambda model, layers: None)
    FakeModel.hooked.clear()
    assert runtime._sampling == []
    yield runtime
    assert runtime._sampling == []
    assert FakeModel.hooked == set(), "hooks left behind"


class FakeModel:
    """A host model whose hooks are entries of a set."""

    hooked: set[str] = set()  # noqa: RUF012
    kind = "fake"
    layers = {}  # noqa: RUF012

    def __init__(self, name):
        from lib_pladis.layers import LayerName

        self.name = name
        self.layers = {LayerName("m", 0, 0): None}

    def same_as(self, other):
        return other.name == self.name

    def serves(self, other):
        return self.same_as(other) and self.name in self.hooked

    def install(self, names, blend):
        from lib_pladis.hosts.protocol import Installed

        self.hooked.add(self.name)
        FakeModel.blend = blend
        return Installed(hooked=list(names))

    def remove(self):
        self.hooked.discard(self.name)


class P:
    """What `process_images` calls on a generation, in its order."""

    def __init__(self, model="first", steps=4):
        self.sd_model = model
        self.steps = steps
        self.extra_generation_params = {}
        self.comments = []
        self.initialised = False
        self.calls_attention = True
        self.during = lambda index: None
        self.hooked_in_step = []

    def comment(self, text):
        self.comments.append(text)

    def init(self):
        self.initialised = True

    def sample(self):
        denoiser = SimpleNamespace(p=self, step=0, total_steps=self.steps)
        for index in range(self.steps):
            denoiser.step = index
            call_denoiser(denoiser)
            self.hooked_in_step.append(set(FakeModel.hooked))
            if FakeModel.hooked and self.calls_attention:
                FakeModel.blend.rows(None, 1)
            self.during(index)


def call_denoiser(denoiser):
    from lib_pladis.webui import runtime

    runtime.before_denoiser(SimpleNamespace(denoiser=denoiser, sampling_step=0, total_sampling_steps=4, text_cond=None))


def process_images(runtime, p, args, batches=1):
    runtime.begin(p, args)
    p.init()
    for _ in range(batches):
        runtime.begin_batch(p)
        p.sample()
    runtime.end(p)


def test_hooks_stand_in_every_step_and_not_after(runtime):
    p = P()
    process_images(runtime, p, ON, batches=2)
    assert p.hooked_in_step == [{"first"}] * 8
    assert len(runtime.last_report.passes) == 2
    assert set(vars(p)) == set(vars(P())), "p carries nothing of ours afterwards"


def test_off_touches_nothing(runtime):
    p = P()
    process_images(runtime, p, OFF)
    assert p.hooked_in_step == [set()] * 4
    assert p.extra_generation_params == {} and p.comments == []


def test_an_exception_while_sampling_leaves_nothing(runtime):
    p = P()
    p.during = lambda index: 1 / 0
    with pytest.raises(ZeroDivisionError):
        process_images(runtime, p, ON)
    assert FakeModel.hooked == set() and "sample" not in vars(p)
    other = P()
    process_images(runtime, other, OFF)
    assert other.hooked_in_step == [set()] * 4


def test_bad_settings_refuse_before_any_work(runtime):
    p = P()
    p.extra_generation_params = {"PLADIS scale": "2", "Other": 1}
    with pytest.raises(SettingsError, match="Scale") as error:
        process_images(runtime, p, [True, "abc"])
    assert vars(error.value)["status_code"] == 422
    assert not p.initialised and "init" not in vars(p)
    assert p.extra_generation_params == {"Other": 1}
    process_images(runtime, p, ON)
    assert p.initialised and p.hooked_in_step == [{"first"}] * 4


def test_infotext_of_an_off_cell_after_an_on_cell_that_shares_its_dict(runtime):
    p = P()
    on, off = copy.copy(p), copy.copy(p)
    process_images(runtime, on, ON)
    process_images(runtime, off, OFF)
    assert on.extra_generation_params["PLADIS scale"] == "2"
    assert off.extra_generation_params == {}


def test_a_copy_taken_in_mid_generation_samples_itself(runtime):
    p = P()
    copies = []
    runtime.begin(p, ON)
    runtime.begin_batch(p)
    p.during = lambda index: copies.append(copy.copy(p))
    p.sample()
    runtime.end(p)
    assert "sample" not in vars(copies[0])


def test_a_nested_generation_without_the_script_is_left_alone_and_the_outer_goes_on(runtime):
    inner = P(model="inner", steps=2)

    def during(index):
        if index == 1:
            inner.sample()

    p = P()
    p.during = during
    process_images(runtime, p, ON)
    assert inner.hooked_in_step == [set()] * 2
    assert p.hooked_in_step == [{"first"}] * 4


@pytest.mark.parametrize(("args", "hooks"), [(ON, {"inner"}), (OFF, set())])
def test_a_nested_generation_follows_its_own_arguments(runtime, args, hooks):
    inner = P(model="inner", steps=2)

    def during(index):
        if index == 1:
            process_images(runtime, inner, args)

    p = P()
    p.during = during
    process_images(runtime, p, ON)
    assert inner.hooked_in_step == [hooks] * 2
    assert p.hooked_in_step == [{"first"}] * 4


def test_a_refiner_swap_is_followed(runtime):
    p = P()

    def during(index):
        if index == 1:
            p.sd_model = "refiner"

    p.during = during
    process_images(runtime, p, ON)
    assert p.hooked_in_step == [{"first"}] * 2 + [{"refiner"}] * 2
    assert [each.steps for each in runtime.last_report.passes] == [2, 2]


def test_an_error_of_ours_is_said_and_leaves_no_hook(runtime, monkeypatch):
    def broken(model, names, blend):
        model.hooked.add(model.name)
        raise RuntimeError("no such layer")

    monkeypatch.setattr(FakeModel, "install", broken)
    p = P()
    with pytest.raises(RuntimeError):
        process_images(runtime, p, ON)
    assert any("no such layer" in text for text in p.comments)


def test_a_picture_that_was_not_blended_does_not_claim_it(runtime):
    p = P()
    p.calls_attention = False  # a U-Net that an accelerator replaced as a whole, for one
    p.extra_generation_params = {"Other": 1}
    process_images(runtime, p, ON)
    assert p.extra_generation_params == {"Other": 1}
    assert any("not applied" in text for text in p.comments)
    on = P()
    process_images(runtime, on, ON)
    assert on.extra_generation_params["PLADIS scale"] == "2" and on.comments == []


def test_img2img_object_without_hires_fields(runtime):
    p = P()
    assert not hasattr(p, "enable_hr") and not hasattr(p, "is_hr_pass")
    process_images(runtime, p, [{"enabled": True, "hr_override": True}])
    assert runtime.last_report.passes[0].stage == "first"


def test_an_instance_sample_of_another_script_is_kept(runtime):
    p = P()
    calls = []
    p.sample = theirs = lambda: calls.append(1)
    process_images(runtime, p, ON)
    assert calls == [1] and p.sample is theirs


def test_say_writes_on_a_console_without_greek(runtime, monkeypatch, capsys):
    import io

    console = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr(sys, "stdout", console)
    runtime.say("PLADIS: λ=2 α=1.5")
    console.flush()
    assert console.buffer.getvalue().strip() == b"PLADIS: lambda=2 alpha=1.5"
