"""A picture drawn as SD.Next does it, with its modules as stand-ins and diffusers' own pipeline, tiny and random."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

pytest.importorskip("gradio", reason="gradio is not installed here")
pytest.importorskip("fastapi", reason="fastapi is not installed here")
from lib_pladis.hosts.diffusers import networks_of
from tests.models import pipelines

ON = {"scale": 2.0}
SIZE = 32


class Host:
    """`modules` of SD.Next, as far as an always-on script meets them, and its order of calls."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pipe = pipelines.sd()
        self.after: list[Callable[[Any], None]] = []
        self.modules = {name: ModuleType(f"modules.{name}") for name in ("processing_diffusers", "scripts", "shared")}
        self.modules["script_callbacks"] = ModuleType("modules.script_callbacks")
        self.callbacks: Any = self.modules["script_callbacks"]
        self.callbacks.on_after_process = self.after.append
        self.callbacks.on_app_started = lambda callback: None
        vars(self.modules["scripts"]).update(Script=object, AlwaysVisible=object(), scripts_data=[])
        vars(self.modules["shared"]).update(opts=SimpleNamespace(data={}), state=None)
        package = ModuleType("modules")
        monkeypatch.setitem(sys.modules, "modules", package)
        for name, module in self.modules.items():
            monkeypatch.setitem(sys.modules, module.__name__, module)
            setattr(package, name, module)
        self.place = lambda p, model, **kwargs: kwargs
        self.processing: Any = self.modules["processing_diffusers"]
        self.processing.set_pipeline_args = self.place
        monkeypatch.delitem(sys.modules, "lib_pladis.webui.sdnext", raising=False)
        self.sdnext: Any = import_module("lib_pladis.webui.sdnext")
        self.script = self.sdnext.PladisScript()

    def draw(self, *args: Any, fails: bool = False, again: bool = False, p: Any = None) -> Tensor:
        """One picture: `process_images` with its `finally`."""
        p = p or SimpleNamespace(extra_generation_params={}, enable_hr=False, init=lambda: None)
        self.p = p
        try:
            self.script.process(p, *args)
            p.init()
            for _ in range(2 if again else 1):
                given = self.processing.set_pipeline_args(p=p, model=self.pipe, num_inference_steps=pipelines.STEPS)
                picture = self.call(given, fails)
            self.script.postprocess_batch(p, [picture])
            return picture
        finally:
            for callback in self.after:
                callback(p)

    def call(self, given: dict[str, Any], fails: bool) -> Tensor:
        if fails:
            raise RuntimeError("out of memory")
        positive, negative = pipelines.PROMPTS
        generator = torch.Generator().manual_seed(0)
        out = self.pipe(
            prompt=positive,
            negative_prompt=negative,
            height=SIZE,
            width=SIZE,
            output_type="latent",
            generator=generator,
            **given,
        )
        return out.images

    @property
    def report(self) -> Any:
        return self.sdnext.generations.last

    def is_as_it_was(self) -> bool:
        modules = (each for network in networks_of(self.pipe) for each in network.modules())
        hooked = [module for module in modules if "_compiled_call_impl" in vars(module)]
        return self.processing.set_pipeline_args is self.place and not hooked


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    attention = F.scaled_dot_product_attention
    yield Host(monkeypatch)
    assert F.scaled_dot_product_attention is attention


def test_a_picture_is_drawn_with_pladis_and_says_so(host: Host) -> None:
    off = host.draw()
    assert not host.p.extra_generation_params and host.report.passes == []
    on = host.draw(ON)
    (done,) = host.report.passes
    assert done.calls_blended == done.calls_seen == done.layers_found * pipelines.STEPS > 0 and done.why_not == []
    assert host.p.extra_generation_params["PLADIS scale"] == "2"
    assert not torch.equal(on, off)
    assert host.is_as_it_was() and torch.equal(host.draw(), off)
    assert torch.equal(host.draw(True, 2.0), on)  # as the panel gives it, and as a list of the API's
    assert torch.equal(host.draw({"scale": 0.0}), off) and host.report.why_idle == "λ is 0"


def test_it_is_the_same_where_sdnext_cuts_attention_into_parts(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its "dynamic attention" stands at torch's name and calls torch's several times."""
    on = host.draw(ON)
    torchs = F.scaled_dot_product_attention

    def in_parts(query: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return torch.cat([torchs(part, *args, **kwargs) for part in query.split(5, 2)], 2)

    with monkeypatch.context() as patch:
        patch.setattr(F, "scaled_dot_product_attention", in_parts)
        parts = host.draw(ON)
        assert F.scaled_dot_product_attention is in_parts
    assert host.report.passes[0].calls_blended == host.report.passes[0].calls_seen > 0
    torch.testing.assert_close(parts, on, atol=1e-4, rtol=1e-4)


def test_an_error_leaves_nothing_behind(host: Host) -> None:
    off = host.draw()
    with pytest.raises(RuntimeError, match="out of memory"):
        host.draw(ON, fails=True)
    assert host.is_as_it_was() and torch.equal(host.draw(), off)


def test_a_bad_value_is_refused_with_422(host: Host) -> None:
    from fastapi import HTTPException

    with pytest.raises(HTTPException, match="got 99, allowed: a number from 0 to 5") as refused:
        host.draw({"scale": 99})
    assert refused.value.status_code == 422 and host.is_as_it_was()


def test_each_call_of_a_pipeline_is_a_pass_and_hires_has_its_own_lambda(host: Host) -> None:
    p = SimpleNamespace(extra_generation_params={}, enable_hr=True, is_hr_pass=False, init=lambda: None)
    theirs = host.call

    def call(given: dict[str, Any], fails: bool) -> Tensor:
        p.is_hr_pass = True
        return theirs(given, fails)

    host.call = call  # type: ignore[method-assign]
    host.draw({"scale": 2.0, "hr_override": True, "hr_scale": 1.0}, again=True, p=p)
    assert [(done.stage, done.scale) for done in host.report.passes] == [("first", 2.0), ("hires", 1.0)]


def test_a_picture_inside_a_picture_has_its_own_settings(host: Host) -> None:
    inner: list[Tensor] = []
    off, theirs = host.draw(), host.call

    def call(given: dict[str, Any], fails: bool) -> Tensor:
        made = theirs(given, fails)
        if not inner:
            inner.append(made)  # no further one inside the next
            inner.append(host.draw())
        return made

    host.call = call  # type: ignore[method-assign]
    on = host.draw(ON, again=True)
    assert torch.equal(inner[1], off) and host.is_as_it_was()
    assert torch.equal(inner[0], on) and not torch.equal(on, off)
    assert [done.calls_blended > 0 for done in host.report.passes] == [True, True]


def test_a_model_that_is_mostly_padding_is_left_alone_and_that_is_said(host: Host) -> None:
    host.pipe = pipelines.flux()
    host.script.process(p := SimpleNamespace(extra_generation_params={}, enable_hr=False), ON)
    host.processing.set_pipeline_args(p=p, model=host.pipe)
    host.script.postprocess_batch(p, [])
    assert host.report.why_idle == host.sdnext.ENCODED and not p.extra_generation_params
    host.after[0](p)
    assert host.is_as_it_was()
