"""The kernels, and the choice among them: each is planned, proved on the device, and replaced if it fails."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from lib_pladis.kernels.base import AttentionInputs, Kernel, Problem, Result, signature
from lib_pladis.kernels.cuda.kernel import Cuda
from lib_pladis.kernels.dense import plain
from lib_pladis.kernels.entmax_package import EntmaxPackage
from lib_pladis.kernels.proof import PROOFS, Proofs, Verdict, first_line, short_of_memory
from lib_pladis.kernels.torch_chunked import Chunked
from lib_pladis.kernels.triton_fused import Fused

LOG = logging.getLogger("pladis")

FALLBACK: Kernel = Chunked()
"""Runs everywhere."""

KERNELS: dict[str, Kernel] = {kernel.name: kernel for kernel in (Fused(), Cuda(), FALLBACK, EntmaxPackage())}
"""All kernels by name."""

AUTO: dict[str, tuple[Kernel, ...]] = {"cuda": (KERNELS["triton"], KERNELS["cuda"])}
"""The kernels that `auto` tries on a type of device, in this order, before `FALLBACK`."""

NAMES = ("auto", *KERNELS)

PLAIN = "sdpa"
"""The kernel's name in a result that is plain attention, computed by torch's own function."""

MOST_PLANS = 256
"""Maximum number of plans that are kept. Every length of prompt needs its own."""


@dataclass(frozen=True)
class Plan:
    """How calls of one signature are computed: the kernel, the result of its `plan`, and a remark for the user.

    result: the result of this call if a kernel was being proved on it; such a plan is not kept.
    """

    kernel: Kernel
    launch: Any
    note: str = ""
    result: Result | None = None


class Kernels:
    """Computes the attention of one generation with proved kernels, and with `FALLBACK` if there is none.

    wanted: one of `NAMES`. say: receives a line when a kernel is being proved, and when another one than the requested
    ran; each line once. proofs: the verdicts; the process's own by default. Raises ValueError for an unknown name.
    """

    def __init__(
        self, wanted: str = "auto", say: Callable[[str], None] = LOG.warning, proofs: Proofs | None = None
    ) -> None:
        self.wanted = check_name(wanted)
        self._say = say
        self._proofs = PROOFS if proofs is None else proofs
        self._plans: dict[object, Plan] = {}
        self._said: set[str] = set()

    def attend(self, inputs: AttentionInputs, lse: bool = False) -> Result:
        """PLADIS attention by the chosen kernel, or by `FALLBACK` if that one fails. Raises the ValueErrors of
        `pladis_attention` about tensors and mask."""
        query, key, value, mask, mix, scale = inputs
        if mix.why_plain and not mix.change and not lse:
            Problem.of(inputs)
            return Result(plain(query, key, value, mask, scale), PLAIN)
        at = signature(inputs, lse)
        plan = self._plans.get(at)
        if plan is None:
            plan = self._plan(inputs, lse)
            if plan.result is not None:
                return plan.result
            if len(self._plans) >= MOST_PLANS:
                self._plans.clear()
            self._plans[at] = plan
        try:
            result = plan.kernel.attend(plan.launch, inputs)
        except torch.cuda.OutOfMemoryError:
            raise
        except Exception as error:
            if plan.kernel is FALLBACK:
                raise
            problem = Problem.of(inputs, lse)
            self._say_refused(plan.kernel, first_line(error))
            if not short_of_memory(error):
                self._proofs.reject(plan.kernel, problem, query.device, first_line(error))
                self._plans.clear()
            return FALLBACK.attend(FALLBACK.plan(problem), inputs)
        result.note = result.note or plan.note
        return result

    def _plan(self, inputs: AttentionInputs, lse: bool) -> Plan:
        problem, device = Problem.of(inputs, lse), inputs.query.device
        reasons = []
        for kernel in self._candidates(problem):
            reason = kernel.why_not(problem)
            if not reason:
                verdict = self._proofs.known(kernel, problem, device)
                if verdict is None:
                    return self._prove(kernel, problem, inputs)
                reason = self._why_not(verdict)
            if not reason and verdict is not None:
                try:
                    return Plan(kernel, kernel.plan(problem), f"proved here: {verdict.times}")
                except Exception as error:  # noqa: BLE001 (what a compiler raises is not known beforehand)
                    reason = first_line(error)
                    self._proofs.reject(kernel, problem, device, reason)
            reasons.append(f"not {kernel.name}: {reason}")
            if self.wanted != "auto":
                self._say_refused(kernel, reason)
        return Plan(FALLBACK, FALLBACK.plan(problem), "; ".join(reasons))

    def _prove(self, kernel: Kernel, problem: Problem, inputs: AttentionInputs) -> Plan:
        self._say_once(f"PLADIS: trying kernel {kernel.name} on this device; this takes some seconds, once")
        verdict, shown = self._proofs.prove(kernel, FALLBACK, problem, inputs)
        if verdict is not None and self._why_not(verdict):
            self._say_refused(kernel, self._why_not(verdict))
        return Plan(FALLBACK, None, result=shown)

    def _why_not(self, verdict: Verdict) -> str:
        """Why a kernel is not used. One requested by name need not be the fastest."""
        return verdict.why_not if self.wanted == "auto" else verdict.wrong

    def _say_refused(self, kernel: Kernel, reason: str) -> None:
        self._say_once(f"PLADIS: kernel {kernel.name} is not used for such layers ({reason}); using {FALLBACK.name}")

    def _say_once(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            self._say(line)

    def _candidates(self, problem: Problem) -> list[Kernel]:
        """The kernels to try on a problem before `FALLBACK`, in order."""
        wanted = AUTO.get(problem.device, ()) if self.wanted == "auto" else (KERNELS[self.wanted],)
        return [kernel for kernel in wanted if kernel is not FALLBACK]


def check_name(name: object) -> str:
    """Raises ValueError unless `name` is one of `NAMES`; returns it."""
    if not isinstance(name, str) or name not in NAMES:
        raise ValueError(f"backend: got {name!r}, allowed: {', '.join(NAMES)}")
    return name
