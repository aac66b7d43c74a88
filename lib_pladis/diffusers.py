"""PLADIS for a diffusers pipeline, in one call:

from lib_pladis.diffusers import apply_pladis

with apply_pladis(pipe, scale=2.0, alpha=1.5, layers="d,u") as pladis:
    image = pipe("a red cube on a blue sphere").images[0]
print(pladis.report)
"""

from __future__ import annotations

import inspect
import logging
from contextlib import ExitStack
from contextvars import ContextVar, Token
from typing import Any

import torch
from torch import Tensor

from lib_pladis.facts import Step
from lib_pladis.hosts.diffusers import DiffusersModel, networks_of
from lib_pladis.hosts.module_hook import ModuleHook
from lib_pladis.hosts.pipeline_texts import PipelineTexts
from lib_pladis.kernels.choice import Kernels, check_name
from lib_pladis.run.report import Report
from lib_pladis.run.session import Session
from lib_pladis.settings import BESIDE, HIRES, TABLE, Settings, SettingsError

logger = logging.getLogger(__name__)

NOT_HERE = BESIDE | HIRES | {"hr_override"}
"""Settings that only web UIs have."""


def apply_pladis(pipe: Any, *, backend: str = "auto", **settings: Any) -> AppliedPladis:
    """A context manager in which `pipe` makes its pictures with PLADIS; `.report` then says what was done.

    pipe: a diffusers pipeline with a `unet` or a `transformer`, compiled or offloaded or not.
    settings: any of the table's by its name: scale (λ, 0 to 5), alpha (1 to 2), start and end (0 to 1, shares of the
        pipeline's steps), schedule, layers ("all", "d,u", "j0-18,s0-37"), target, temperature, rescale; `pladis_scale`
        is scale. The default is the paper's method on all layers.
    backend: the kernel: auto, triton, cuda, torch or entmax.

    It applies to calls made in the thread (more precisely, the `contextvars` context) that has entered it. If several
    apply to one network, the innermost is used. Raises SettingsError, a ValueError, naming every bad setting and what
    is allowed.
    """
    if "pladis_scale" in settings:
        if "scale" in settings:
            raise SettingsError("PLADIS: scale and pladis_scale are one setting; give one of them")
        settings["scale"] = settings.pop("pladis_scale")
    here = [name for name in settings if name in NOT_HERE]
    if here:
        allowed = ", ".join(name for name in TABLE if name not in NOT_HERE)
        raise SettingsError(f"PLADIS: {', '.join(here)}: for web UIs only, allowed: {allowed}")
    if not networks_of(pipe):
        raise ValueError(f"pipe: got {type(pipe).__name__}, allowed: a diffusers pipeline with a unet or a transformer")
    return AppliedPladis(pipe, Settings.from_dict({"enabled": True, **settings}), check_name(backend))


class AppliedPladis:
    """The result of `apply_pladis`."""

    def __init__(self, pipe: Any, settings: Settings, backend: str) -> None:
        self.settings = settings
        self.report = Report(enabled=settings.enabled, settings={name: getattr(settings, name) for name in TABLE})
        self.report.why_idle = settings.why_idle()
        self._pipe = pipe
        self._texts = PipelineTexts(pipe)
        self._session = Session(settings, kernels=Kernels(backend), log=logger.info, comment=logger.warning)
        self.report.passes = self._session.passes
        self._steps = _Steps(pipe)
        self._networks: dict[torch.nn.Module, DiffusersModel] = {}
        self._run = ExitStack()
        self._entered: Token[tuple[AppliedPladis, ...]] | None = None

    def __enter__(self) -> AppliedPladis:
        if self._entered is not None:
            raise RuntimeError("this apply_pladis(...) has been entered already; make another")
        self._entered = _ENTERED.set((*_ENTERED.get(), self))
        self._networks = {network: DiffusersModel(network, self._texts) for network in networks_of(self._pipe)}
        self._texts.listen()
        for network in self._networks:
            ModuleHook.add(network, self)
        return self

    def __exit__(self, *error: object) -> None:
        for network in self._networks:
            ModuleHook.remove(network, self)
        self._run.close()
        self._texts.leave()
        if self._entered is not None:
            _ENTERED.reset(self._entered)
            self._entered = None
        if not self.report.passes and not self.report.why_idle:
            self.report.why_idle = "no network of the pipeline was called in the thread that entered"

    def applies(self, module: torch.nn.Module) -> bool:
        """Whether this is the innermost context in this thread for the network."""
        return next((each for each in reversed(_ENTERED.get()) if module in each._networks), None) is self

    def call(self, module: torch.nn.Module, original: Any, args: Any, kwargs: Any) -> Any:
        """Call a network as part of a step."""
        model = self._networks[module]
        given = dict(zip(inspect.signature(model.network.forward).parameters, args))
        given.update(kwargs)
        if self._steps.is_new_run():
            self._run.close()
            self._run.enter_context(self._session.sampling())
        if self._steps.is_new_step(model, given.get("timestep", given.get("t"))):
            self._session.step(model, Step(self._steps.index, self._steps.total))
        if not self._session.blends:
            return original(*args, **kwargs)
        with model.running(given):
            return model.call_uncompiled(module, original, args, kwargs)


_ENTERED: ContextVar[tuple[AppliedPladis, ...]] = ContextVar("pladis_entered", default=())


class _Steps:
    """Finds the run and step of a call of the network, from the scheduler's timesteps and the call's own.

    A scheduler makes new timesteps for each run. All calls of a step have the same timestep: those for either prompt,
    PAG's, and the second one of Heun.
    """

    def __init__(self, pipe: Any) -> None:
        self._pipe = pipe
        self._timesteps: Any = None
        self._last: tuple[Any, float | None] | None = None
        self.index, self.total = 0, 1

    def is_new_run(self) -> bool:
        """Whether the scheduler has new timesteps since the last call, or this is the first call."""
        timesteps = getattr(getattr(self._pipe, "scheduler", None), "timesteps", None)
        if self._last is not None and timesteps is self._timesteps:
            return False
        self._timesteps, self._last, self.index = timesteps, None, -1
        self.total = self._expected(timesteps)
        return True

    def is_new_step(self, model: DiffusersModel, timestep: Any) -> bool:
        """Whether this call is the first of a step, or of a network in it."""
        value = float(timestep.max()) if isinstance(timestep, Tensor) else timestep
        last = self._last
        self._last = model, value
        if last is None or last[1] != value:
            self.index += 1
            self.total = max(self.total, self.index + 1)
            return True
        return last[0] is not model

    def _expected(self, timesteps: Any) -> int:
        """The number of steps of the run; in image-to-image only those that are used."""
        if not isinstance(timesteps, Tensor) or timesteps.dim() != 1 or not len(timesteps):
            return 1
        taken = getattr(self._pipe, "_num_timesteps", None) or len(timesteps)
        differ = 1 + int((timesteps[1:] != timesteps[:-1]).sum())
        return max(1, round(min(taken, len(timesteps)) * differ / len(timesteps)))
