"""One generation: hooks on the model in use, following swaps, and everything put back at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from lib_pladis.blend import Blend, Conditioning
from lib_pladis.hosts.protocol import HostModel
from lib_pladis.layers import LayerSelection
from lib_pladis.report import PassReport
from lib_pladis.schedule import step_scale
from lib_pladis.settings import Settings


@dataclass(frozen=True)
class Step:
    """One call of the host's denoiser: its number from 0, how many are expected, and its batch."""

    index: int
    total: int
    hires: bool = False
    conditioning: Conditioning = Conditioning()  # noqa: RUF009 (frozen)


class Session:
    """PLADIS for one generation.

    `comment` takes what a person must see (once each), `log` one line per pass. Hooks stand only between
    `step` and `suspend`, which the host calls in a `finally`: nothing outlives the sampling.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        backend: str = "auto",
        log: Callable[[str], None] = print,
        comment: Callable[[str], None] = print,
    ) -> None:
        self.settings = settings
        self.passes: list[PassReport] = []
        self._selection = LayerSelection.parse(settings.layers)
        self._blend = Blend(settings, backend)
        self._log = log
        self._comment = comment
        self._hooked: HostModel | None = None  # what carries our hooks now
        self._last: tuple[HostModel, Step] | None = None

    @property
    def applied(self) -> bool:
        """Whether any cross-attention call was blended so far."""
        return any(report.calls_blended for report in self.passes)

    @contextmanager
    def sampling(self) -> Iterator[None]:
        """Around one run of the sampler: whatever happens inside, no hook is left after it."""
        self._last = None
        try:
            yield
        finally:
            self.suspend()
            self._end_pass()

    def step(self, model: HostModel, step: Step) -> None:
        """Called before each denoiser call: (re)installs the hooks on the model now in use."""
        if self._starts_pass(model, step):
            self._begin_pass(model, step)
        self._last = model, step
        report = self.passes[-1]
        report.steps += 1
        scale = self._scale_at(step)
        report.step_scales.append(scale)
        if scale == 0.0:
            self.suspend()
            return
        self._blend.begin_step(report, scale, report.alpha, step.conditioning)
        self._install(model, report)
        report.steps_blended += bool(report.layers_hooked)

    def suspend(self) -> None:
        """Take all hooks off; the next `step` puts them back."""
        if self._hooked is not None:
            self._hooked.remove()
            self._hooked = None

    def _starts_pass(self, model: HostModel, step: Step) -> bool:
        if self._last is None:
            return True
        last_model, last_step = self._last
        return not last_model.same_as(model) or step.hires != last_step.hires or step.index < last_step.index

    def _scale_at(self, step: Step) -> float:
        settings = self.settings
        if settings.why_idle(step.hires):
            return 0.0
        scale, _ = settings.for_pass(step.hires)
        return step_scale(scale, settings.schedule, step.index, step.total, settings.start, settings.end)

    def _begin_pass(self, model: HostModel, step: Step) -> None:
        self._end_pass()
        self.suspend()
        stage = "hires" if step.hires else "first"
        scale, alpha = self.settings.for_pass(step.hires)
        report = PassReport(stage, model.kind, len(model.layers), scale, alpha)
        idle = self.settings.why_idle(step.hires)
        if idle:
            report.because(idle)
        self.passes.append(report)

    def _end_pass(self) -> None:
        if self._last is not None:
            self._log(self.passes[-1].line())
        self._last = None

    def _install(self, model: HostModel, report: PassReport) -> None:
        if self._hooked is not None and self._hooked.serves(model):
            return
        self.suspend()
        if not model.layers:
            self._tell(report, f"this model ({model.kind}) has no cross-attention layers that PLADIS knows")
            return
        try:
            names = self._selection.pick(model.layers)
        except ValueError as error:
            self._tell(report, f"Layers: {error}")
            return
        self._hooked = model
        outcome = model.install(names, self._blend)
        report.layers_hooked = [str(name) for name in outcome.hooked]
        report.layers_chained = [str(name) for name in outcome.chained]
        for name, owner in outcome.foreign.items():
            self._tell(report, f"layer {name} belongs to another extension ({owner}) and was left alone")

    def _tell(self, report: PassReport, reason: str) -> None:
        if report.because(reason):
            self._comment(f"PLADIS: {reason}")
