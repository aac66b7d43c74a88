"""SD.Next, whose models are diffusers pipelines: the always-on script there, around `apply_pladis`.

The passes of a picture are calls of pipelines, which the host chooses late. A pass begins when the host prepares a
pipeline's arguments; PLADIS is applied to it until the next pass or the end of the generation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from typing import Any

import gradio as gr
import torch.nn.functional as F
from fastapi import HTTPException
from modules import script_callbacks, scripts

from lib_pladis.diffusers import AppliedPladis
from lib_pladis.hosts.diffusers import IN_LAYER, networks_of
from lib_pladis.hosts.sdpa import ATTENTION
from lib_pladis.models import find_layers
from lib_pladis.presets import BUILT_IN, PRESET_SETS
from lib_pladis.run.report import PassReport, Report
from lib_pladis.settings import BESIDE, TABLE, Settings, SettingsError, panel_rows
from lib_pladis.webui import api, arguments, infotext, options
from lib_pladis.webui.control import control
from lib_pladis.webui.generation import refuse, say

processing_diffusers: Any = import_module("modules.processing_diffusers")

PLACE = "set_pipeline_args"
"""The function of `modules.processing_diffusers` that every pass begins with; it is given `p` and the pipeline."""

ENCODED = "SD.Next doesn't tell which of this model's text tokens are padding"
"""Of Flux and SD3: they are mostly padding, and the host keeps texts that it has encoded before."""

NONE = "Choose a preset"


class _TorchAttention:
    """Restores torch's own attention in hooked layers if SD.Next has replaced it by one in slices, or by another
    kernel."""

    def __init__(self) -> None:
        self._theirs: Any = F.scaled_dot_product_attention

        def pladis(*args: Any, **kwargs: Any) -> Any:
            stands = F.scaled_dot_product_attention is pladis  # else SD.Next's, put in the meantime, is above this one
            return (self._theirs if stands and not IN_LAYER.get() else ATTENTION)(*args, **kwargs)

        self._ours = F.scaled_dot_product_attention = pladis  # type: ignore[assignment]

    def give_back(self) -> None:
        """Restore the original, unless another one has replaced ours."""
        if F.scaled_dot_product_attention is self._ours:
            F.scaled_dot_product_attention = self._theirs


@dataclass(eq=False)
class _Generation:
    """A generation with PLADIS in progress."""

    p: Any
    settings: Settings
    report: Report
    applied: AppliedPladis | None = None
    stage: str = "first"
    blended: int = 0
    attention: _TorchAttention | None = None

    def begin_pass(self, model: Any) -> None:
        """Apply PLADIS to `model`, a pipeline, which is about to be called."""
        hires, settings = bool(getattr(self.p, "is_hr_pass", False)), self.settings
        if hires and settings.hr_override:
            settings = replace(settings, scale=settings.hr_scale, alpha=settings.hr_alpha)
        self.report.why_idle = settings.why_idle()
        networks = networks_of(model)
        if not networks:
            self.report.why_idle = f"this model ({type(model).__name__}) has no network that PLADIS knows"
        if any(layer.encoded for network in networks for layer in find_layers(network).values()):
            self.report.why_idle = ENCODED
        if not self.report.why_idle:
            self.applied, self.attention = (
                AppliedPladis(model, settings, options.kernel()).__enter__(),
                _TorchAttention(),
            )
            self.stage = "hires" if hires else "first"

    def end_pass(self) -> None:
        """Remove PLADIS from the pipeline and collect its report."""
        if self.applied is None:
            return
        applied, self.applied = self.applied, None
        applied.__exit__(None, None, None)
        if self.attention is not None:
            self.attention.give_back()
        self.report.why_idle = applied.report.why_idle
        for done in applied.report.passes:
            done.stage = self.stage
            self.report.passes.append(done)
            self.blended += done.calls_blended


class Generations:
    """The generations of this web UI. While there are any, our function replaces the one at PLACE."""

    def __init__(self) -> None:
        self.last = Report()
        self._open: list[_Generation] = []  # innermost last
        self._theirs: Callable[..., Any] | None = None

    def begin(self, p: Any, args: Sequence[Any]) -> None:
        """`Script.process`; again for a `p` that is drawn again within the same generation, as by the detailer."""
        infotext.remove(p)
        if self._of(p) is not None:
            infotext.write(p, self._open[-1].settings)
            return
        report = Report()
        if self._open:
            self._open[-1].report.nested.append(report)
        else:
            self.last = report
        try:
            settings = replace(arguments.read(args), compare=False, look=False)
        except SettingsError as error:
            report.error = str(error)
            refuse(p, HTTPException(422, str(error)))
            return
        report.enabled, report.settings = settings.enabled, asdict(settings)
        report.why_idle = settings.why_idle()
        if not settings.enabled:
            return
        infotext.write(p, settings)
        if self._theirs is None:
            self._theirs = getattr(processing_diffusers, PLACE)
            setattr(processing_diffusers, PLACE, self._place)
        self._open.append(_Generation(p, settings, report))

    def _place(self, p: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
        for generation in self._open:
            generation.end_pass()
        found = self._of(p)
        if found is not None:
            found.begin_pass(model)
        assert self._theirs is not None
        return self._theirs(p, model, *args, **kwargs)

    def _of(self, p: Any) -> _Generation | None:
        return next((each for each in self._open if each.p is p), None)

    def end_batch(self, p: Any) -> None:
        """`Script.postprocess_batch`, before the batch's pictures get their texts."""
        generation = self._of(p)
        if generation is None:
            return
        done = len(generation.report.passes)
        generation.end_pass()
        for line in map(PassReport.line, generation.report.passes[done:]):
            say(line)
        if not generation.blended and infotext.remove(p):
            say(f"PLADIS: not applied to this picture ({generation.report.why_idle or 'see above'})")
        generation.blended = 0

    def end(self, p: Any) -> None:
        """`on_after_process`, also after an error."""
        while self._of(p) is not None:
            self._open.pop().end_pass()
        if not self._open and self._theirs is not None:
            setattr(processing_diffusers, PLACE, self._theirs)
            self._theirs = None


generations = Generations()


def controls(tab: str) -> dict[str, Any]:
    """The panel of a tab, made here: a component for each setting, by name. Settings without a use here are hidden."""
    made: dict[str, Any] = {}
    elem_id = f"pladis_sdnext_{tab}_{{}}".format
    with gr.Accordion("PLADIS", open=False, elem_id=elem_id("panel")):
        for names in panel_rows().values():
            with gr.Row():
                for name in names:
                    made[name] = control(TABLE[name], elem_id=elem_id(name), visible=name not in BESIDE)
        presets = gr.Dropdown([NONE, *BUILT_IN], value=NONE, label="Preset", elem_id=elem_id("preset"))
        presets.change(_chosen, [presets], [made[name] for name in PRESET_SETS])
    return made


def _chosen(name: str) -> list[Any]:
    preset = BUILT_IN.get(name)
    return [gr.update(value=preset.sets[each]) if preset else gr.update() for each in PRESET_SETS]


class PladisScript(scripts.Script):
    def title(self) -> str:
        return "PLADIS"

    def show(self, is_img2img: bool) -> Any:
        return scripts.AlwaysVisible

    def ui(self, is_img2img: bool) -> list[Any]:
        made = controls(getattr(self, "parent", None) or ("img2img" if is_img2img else "txt2img"))
        self.infotext_fields = [(made[name], infotext.READERS[name]) for name in TABLE]
        return [made[name] for name in TABLE]

    def process(self, p: Any, *args: Any) -> None:
        generations.begin(p, args)

    def postprocess_batch(self, p: Any, *args: Any, **kwargs: Any) -> None:
        generations.end_batch(p)


def app_started(demo: Any, app: Any) -> None:
    api.offer(app, {"report": lambda: generations.last.as_dict()})


script_callbacks.on_after_process(generations.end)
script_callbacks.on_app_started(app_started)
