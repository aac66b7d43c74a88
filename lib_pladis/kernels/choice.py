"""Which kernels there are, which one takes a problem, and what becomes of one that fails."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lib_pladis.kernels.base import NOTHING, Kernel, Problem, Result, Want
from lib_pladis.kernels.dense import plain
from lib_pladis.kernels.entmax_package import EntmaxPackage
from lib_pladis.kernels.look import token_weights
from lib_pladis.kernels.torch_chunked import Chunked
from lib_pladis.kernels.triton_fused import Fused
from lib_pladis.math.rule import Mix

LOG = logging.getLogger("pladis")

FALLBACK: Kernel = Chunked()
"""Runs everywhere."""

KERNELS: dict[str, Kernel] = {kernel.name: kernel for kernel in (Fused(), FALLBACK, EntmaxPackage())}
"""All of them by name. One line makes a kernel."""

AUTO: dict[str, tuple[Kernel, ...]] = {"cuda": (KERNELS["triton"],)}
"""What `auto` tries by device, in this order, before `FALLBACK`."""

NAMES = ("auto", *KERNELS)

PLAIN = "sdpa"
"""The name in a result where nothing was to be mixed: torch's own attention."""


class Kernels:
    """The kernels of one generation: chooses by the problem, falls back, and remembers what failed.

    wanted: one of `NAMES`. say: takes a line where a kernel was wanted, or tried, and another one ran;
    once each. A failure is remembered by the kind of problem, so that it doesn't speak for others, and
    for as long as this object lives. Raises ValueError for an unknown name.
    """

    def __init__(self, wanted: str = "auto", say: Callable[[str], None] = LOG.warning) -> None:
        self.wanted = check_name(wanted)
        self._say = say
        self._failed: dict[tuple[object, ...], str] = {}
        self._said: set[str] = set()

    def choose(self, problem: Problem) -> Kernel:
        """The kernel that would take this problem; nothing is compiled or run to find out."""
        return next((kernel for kernel in self._wanted(problem) if not self.why_not(kernel, problem)), FALLBACK)

    def why_not(self, kernel: Kernel, problem: Problem) -> str:
        """Why not this one ("" if it can): what it says itself, or how it failed before on this kind of problem."""
        return kernel.why_not(problem) or self._failed.get((kernel.name, *problem.kind), "")

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mix: Mix,
        mask: Tensor | None,
        scale: float,
        want: Want = NOTHING,
    ) -> Result:
        """PLADIS attention on checked arguments, by the kernel chosen, or by `FALLBACK` if that one fails."""
        result = self._output(query, key, value, mix, mask, scale, want.lse)
        if want.tokens:
            result = replace(result, token_weights=token_weights(query, key, mix, mask, scale, want.tokens))
        return result

    def _output(
        self, query: Tensor, key: Tensor, value: Tensor, mix: Mix, mask: Tensor | None, scale: float, lse: bool
    ) -> Result:
        if mix.why_plain and not mix.change and not lse:
            return Result(plain(query, key, value, mask, scale), PLAIN)
        problem = Problem.of(query, key, value, mix, mask, lse)
        kernel = self.choose(problem)
        arguments: tuple[Any, ...] = (query, key, value, mix, mask, scale, lse)
        if kernel is not FALLBACK:
            try:
                return kernel.attend(*arguments)
            except torch.cuda.OutOfMemoryError:
                raise
            except Exception as error:  # noqa: BLE001 (what a compiler or driver raises is not known beforehand)
                self._note_failure(kernel, problem, error)
        elif self.wanted not in ("auto", kernel.name):
            self._say_once(
                f"PLADIS: kernel {self.wanted} cannot be used ({self.why_not(KERNELS[self.wanted], problem)}); "
                f"using {kernel.name}"
            )
        result = FALLBACK.attend(*arguments)
        return replace(result, note=result.note or self._passed_over(problem))

    def _passed_over(self, problem: Problem) -> str:
        """Why the kernels before `FALLBACK` weren't taken ("" if there were none)."""
        reasons = {each.name: self.why_not(each, problem) for each in self._wanted(problem)}
        return "; ".join(f"not {name}: {reason}" for name, reason in reasons.items() if reason)

    def _wanted(self, problem: Problem) -> list[Kernel]:
        """The kernels to try on this problem before `FALLBACK`, in order."""
        wanted = AUTO.get(problem.device, ()) if self.wanted == "auto" else (KERNELS[self.wanted],)
        return [kernel for kernel in wanted if kernel is not FALLBACK]

    def _note_failure(self, kernel: Kernel, problem: Problem, error: Exception) -> None:
        """Remember it, unless it was only the memory of this moment."""
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        if "out of memory" not in reason.lower():
            self._failed[(kernel.name, *problem.kind)] = reason
        self._say_once(
            f"PLADIS: kernel {kernel.name} failed ({reason}) on {problem.keys} keys, head size {problem.dim}, "
            f"α {problem.mix.alpha:g}; using {FALLBACK.name} for such layers"
        )

    def _say_once(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            self._say(line)


def check_name(name: object) -> str:
    """ValueError unless `name` is one of `NAMES`."""
    if not isinstance(name, str) or name not in NAMES:
        raise ValueError(f"backend: got {name!r}, allowed: {', '.join(NAMES)}")
    return name
