"""The `entmax` package's way: whole score matrix in memory, sort or bisection. Readable, slow."""

from __future__ import annotations

import importlib.util
import math

import torch
from torch import Tensor

from lib_pladis.kernels.base import Problem, Result
from lib_pladis.kernels.dense import masked
from lib_pladis.math.rule import Mix


class EntmaxPackage:
    """The reference kernel: what the equation says, line by line."""

    name = "entmax"

    def why_not(self, problem: Problem) -> str:
        """As `base.Kernel`."""
        return "" if importlib.util.find_spec("entmax") else "not installed"

    def plan(self, problem: Problem) -> bool:
        """As `base.Kernel`: whether the log-sum-exp is wanted."""
        return problem.lse

    def attend(
        self, launch: bool, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, mix: Mix, scale: float
    ) -> Result:
        """As `base.Kernel`."""
        logits = torch.matmul(query.float(), key.float().transpose(-1, -2)) * scale
        if mask is not None:
            logits = masked(logits, mask)
        row_lse = torch.logsumexp(logits, -1) if launch else None
        fully_masked = logits.amax(-1, keepdim=True) == -math.inf
        logits = logits.masked_fill(fully_masked, 0.0)
        dense = torch.softmax(logits, -1)
        weights = mix.scale * _sparse(logits / mix.temperature, mix.alpha) + (1.0 - mix.scale) * dense
        out = torch.matmul(weights.masked_fill(fully_masked, 0.0), value.float())
        if mix.rescale:
            target = torch.matmul(dense, value.float()).norm(dim=-1, keepdim=True)
            norm = out.norm(dim=-1, keepdim=True)
            out = torch.where(norm > 0, out * ((1.0 - mix.rescale) + mix.rescale * target / norm), out)
        if mix.change:
            out = out - torch.matmul(dense.masked_fill(fully_masked, 0.0), value.float())
        return Result(out.to(query.dtype), self.name, lse=row_lse)


def _sparse(logits: Tensor, alpha: float) -> Tensor:
    import entmax

    if alpha == 1.0:
        return torch.softmax(logits, -1)
    if alpha == 1.5:
        return entmax.entmax15(logits, dim=-1)
    if alpha == 2.0:
        return entmax.sparsemax(logits, dim=-1)
    return entmax.entmax_bisect(logits, alpha=alpha, dim=-1)
