"""Kernels that tests put in the place of one that needs a GPU."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch

from lib_pladis.kernels import choice
from lib_pladis.kernels.base import AttentionInputs, Problem, Result
from lib_pladis.kernels.choice import FALLBACK, KERNELS, Kernels
from lib_pladis.kernels.cuda import kernel as cuda
from lib_pladis.kernels.proof import Proofs, Verdict


class StandIn:
    """The chunked kernel under another name, with something done to each of its results: `what` may change it, give
    another one, or raise. Takes everything; counts its plans and calls."""

    name = "triton"

    def __init__(self, what: Callable[[Result], Result | None] = lambda result: None) -> None:
        self.what = what
        self.plans: list[Problem] = []
        self.calls = 0

    def why_not(self, problem: Problem) -> str:
        return ""

    def plan(self, problem: Problem) -> Any:
        self.plans.append(problem)
        return FALLBACK.plan(problem)

    def attend(self, launch: Any, inputs: AttentionInputs) -> Result:
        self.calls += 1
        result = replace(FALLBACK.attend(launch, inputs), kernel=self.name)
        return self.what(result) or result


@contextmanager
def without_launch(name: str) -> Iterator[Kernels]:
    """Kernels that give tensors on the CPU to `triton` or `cuda`, as proved on a card; all but the launch is done."""
    proofs = Proofs()
    with ExitStack() as patched:
        change = patched.enter_context
        change(mock.patch.dict(choice.AUTO, {"cpu": (KERNELS[name],)}))
        change(mock.patch.object(type(KERNELS[name]), "why_not", lambda self, problem: ""))
        change(mock.patch.object(proofs, "known", lambda *_: Verdict()))
        if name == "cuda":
            function = SimpleNamespace(blocks=84, launch=lambda *_: None)
            change(mock.patch.object(cuda, "_build", lambda *_: cuda.Build(b"", 0)))
            change(mock.patch.object(cuda.Build, "on", lambda *_: function))
            change(mock.patch.object(torch.cuda, "current_stream", lambda device: SimpleNamespace(cuda_stream=0)))
        else:
            by_grid: dict[Any, Any] = defaultdict(lambda: lambda *_, **__: None)
            change(mock.patch("lib_pladis.kernels.triton_kernel.pladis_kernel", by_grid))
        yield Kernels("auto", proofs=proofs)
