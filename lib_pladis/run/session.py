"""One generation: hooks on the model in use, also after it was swapped, and their removal at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from lib_pladis.facts import Step
from lib_pladis.kernels.choice import Kernels
from lib_pladis.math.rule import Mix
from lib_pladis.math.schedule import step_scale
from lib_pladis.models.base import LayerName
from lib_pladis.models.selection import LayerSelection
from lib_pladis.protocol import HostModel
from lib_pladis.run.now import Now
from lib_pladis.run.probe import Probe
from lib_pladis.run.report import PassReport
from lib_pladis.settings import Settings


class Session:
    """PLADIS for one generation.

    `kernels` compute the attention, `comment` receives messages for the user (each once), `log` one line per pass.
    Hooks are in place only between `step` and `suspend`, which the host calls in a `finally`: nothing outlives the
    sampling. A hook that another extension has kept finds no current step and passes its calls through.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        kernels: Kernels | None = None,
        log: Callable[[str], None] = print,
        comment: Callable[[str], None] = print,
    ) -> None:
        self.settings = settings
        self.passes: list[PassReport] = []
        self.probe: Probe | None = None
        """The probe, from the next step on."""
        self._selection = LayerSelection.parse(settings.layers)
        self._kernels = kernels or Kernels(say=log)
        self._log = log
        self._comment = comment
        self._hooked: HostModel | None = None  # the model with our hooks
        self._last: tuple[HostModel, Step] | None = None
        self._names: list[LayerName] = []  # of the layers hooked
        self._now: Now | None = None

    @contextmanager
    def sampling(self) -> Iterator[None]:
        """Wraps one run of the sampler: whatever happens inside, no hook is left after it."""
        self._last = None
        try:
            yield
        finally:
            self.suspend()
            self._end_pass()

    def step(self, model: HostModel, step: Step) -> None:
        """Called before each denoiser call: hooks the model in use, unless it is hooked."""
        if self._starts_pass(model, step):
            self._begin_pass(model, step)
        self._last = model, step
        report = self.passes[-1]
        report.steps += 1
        mix = self._mix_at(step)
        report.step_scales.append(0.0 if mix.why_plain else mix.scale)
        if mix.why_plain:
            self.suspend()
            return
        self._names = self._install(model, report)
        if self.probe is not None:
            self.probe.at(step.index, step.total, step.hires, step.size)
        self._now = Now(step, mix, self.settings.target, self._kernels, report, self.probe)
        report.steps_blended += bool(self._names)

    @property
    def blends(self) -> bool:
        """Whether the current step is blended in at least one layer."""
        return self._now is not None and bool(self._names)

    def suspend(self) -> None:
        """Remove all hooks; the next `step` puts them back."""
        self._now = None
        if self._hooked is not None:
            self._hooked.remove()
            self._hooked = None

    def _starts_pass(self, model: HostModel, step: Step) -> bool:
        if self._last is None:
            return True
        last_model, last_step = self._last
        return not last_model.same_as(model) or step.hires != last_step.hires or step.index < last_step.index

    def _mix_at(self, step: Step) -> Mix:
        settings = self.settings
        mix = settings.mix(step.hires)
        scale = step_scale(mix.scale, settings.schedule, step.index, step.total, settings.start, settings.end)
        return replace(mix, scale=scale if settings.enabled else 0.0)

    def _begin_pass(self, model: HostModel, step: Step) -> None:
        self._end_pass()
        self.suspend()
        mix = self.settings.mix(step.hires)
        stage = "hires" if step.hires else "first"
        report = PassReport(stage, model.kind, len(model.layers), mix.scale, mix.alpha, mix.temperature, mix.rescale)
        report.architecture = next((layer.architecture for layer in model.layers.values() if layer), "")
        idle = self.settings.why_idle(step.hires)
        if idle:
            report.note_reason(idle)
        self.passes.append(report)

    def _end_pass(self) -> None:
        if self._last is not None:
            report = self.passes[-1]
            self._tell_alone(report)
            self._log(report.line())
            if report.calls_failed:
                self._comment(f"PLADIS: {report.failure}")
        self._last = None

    def _install(self, model: HostModel, report: PassReport) -> list[LayerName]:
        """Hook the selected layers of `model`, unless they are hooked. Returns the names of the hooked layers."""
        if self._hooked is not None and self._hooked.serves(model) and self._now is not None:
            return self._names
        self.suspend()
        if not model.layers:
            self._tell(report, f"this model ({model.kind}) has no cross-attention layers that PLADIS knows")
            return []
        try:
            names = self._selection.pick(model.layers)
        except ValueError as error:
            self._tell(report, f"Layers: {error}")
            return []
        self._hooked = model
        outcome = model.install(names, lambda: self._now)
        report.layers_hooked = [str(name) for name in outcome.hooked]
        report.layers_chained = [str(name) for name in outcome.chained]
        if outcome.why_none:
            self._tell(report, outcome.why_none)
        for name, owner in outcome.foreign.items():
            report.leave(name, owner)
        self._tell_alone(report)
        return outcome.hooked

    def _tell_alone(self, report: PassReport) -> None:
        for owner, theirs in report.alone.items():
            reason = _left_alone(theirs, owner)
            if reason not in report.reasons:
                self._tell(report, reason)

    def _tell(self, report: PassReport, reason: str) -> None:
        if report.note_reason(reason):
            self._comment(f"PLADIS: {reason}")


def _left_alone(names: list[LayerName], owner: str) -> str:
    if len(names) == 1:
        return f"layer {names[0]} belongs to another extension ({owner}) and was left alone"
    return f"{len(names)} layers ({names[0]} to {names[-1]}) belong to another extension ({owner}) and were left alone"
