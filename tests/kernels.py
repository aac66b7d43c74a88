"""Kernels that tests put in the place of one that needs a GPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import Tensor

from lib_pladis.kernels.base import Problem, Result
from lib_pladis.kernels.choice import FALLBACK
from lib_pladis.math.rule import Mix


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

    def attend(
        self, launch: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, mix: Mix, scale: float
    ) -> Result:
        self.calls += 1
        result = replace(FALLBACK.attend(launch, query, key, value, mask, mix, scale), kernel=self.name)
        return self.what(result) or result
