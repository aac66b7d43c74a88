"""Rules of the study's own for how sparse and dense attention become one output. No web UI has them.

A rule is written as its name and a number, such as `cap 1.2`; λ, α and temperature are the point's.

- `gag η`: Geometry-Aware Attention Guidance (arXiv 2603.02531), as its abstract tells it and with λ as ours: of the
  difference between sparse and dense only the part p along the sparse output goes on, no further than η times the
  dense norm: S + (λ − 1) min(1, η ‖D‖ / ‖p‖) p.
- `cap τ`: the blend, no longer than τ times the dense output (the first half of NAG's normalization, arXiv 2505.21179,
  in the L2 norm).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from lib_pladis.kernels.base import NOTHING, Result, Want
from lib_pladis.kernels.choice import Kernels, plain
from lib_pladis.math.rule import Mix

SMALLEST = 1e-12


def gag(dense: Tensor, sparse: Tensor, scale: float, eta: float) -> Tensor:
    """All of shape (..., D); see above."""
    along = (sparse - dense).mul(sparse).sum(-1, keepdim=True) / sparse.square().sum(-1, keepdim=True).clamp(SMALLEST)
    part = along * sparse
    size = part.norm(dim=-1, keepdim=True).clamp(SMALLEST)
    limit = eta * dense.norm(dim=-1, keepdim=True) / size
    return sparse + (scale - 1.0) * limit.clamp(max=1.0) * part


def cap(dense: Tensor, sparse: Tensor, scale: float, tau: float) -> Tensor:
    """All of shape (..., D); see above."""
    blend = dense + scale * (sparse - dense)
    limit = tau * dense.norm(dim=-1, keepdim=True) / blend.norm(dim=-1, keepdim=True).clamp(SMALLEST)
    return blend * limit.clamp(max=1.0)


RULES = {"gag": gag, "cap": cap}


class RuleKernels(Kernels):
    """What the product's kernels compute, dense and sparse, brought together by a rule of `RULES`.

    Raises ValueError for a rule that there is not.
    """

    def __init__(self, rule: str) -> None:
        super().__init__()
        name, _, number = rule.partition(" ")
        try:
            self.rule, self.number = RULES[name], float(number)
        except (KeyError, ValueError):
            raise ValueError(f"rule: got {rule!r}, allowed: one of {', '.join(RULES)} and a number") from None

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
        """As `Kernels.attend`; φ of the mix counts for nothing, and what is wanted besides is not given."""
        dense = plain(query, key, value, mask, scale)
        sparse = super().attend(query, key, value, replace(mix, scale=1.0, rescale=0.0), mask, scale)
        return replace(sparse, out=self.rule(dense, sparse.out, mix.scale, self.number))


class MeasuringKernels(Kernels):
    """The product's own, with notes of how much longer each output is than the dense one.

    `ratios`: of each call, in its order, ‖out‖ / ‖dense‖ of every row, head and query, flat.
    """

    def __init__(self) -> None:
        super().__init__()
        self.ratios: list[Tensor] = []

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
        """As `Kernels.attend`."""
        result = super().attend(query, key, value, mix, mask, scale, want)
        dense = plain(query, key, value, mask, scale)
        self.ratios.append(torch.flatten(result.out.norm(dim=-1) / dense.norm(dim=-1).clamp(SMALLEST)))
        return result
