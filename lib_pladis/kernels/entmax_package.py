"""The paper's equation line by line, with the whole score matrix in memory: the reference of `check`, and a kernel that
uses the `entmax` package. Slow."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable

import torch
from torch import Tensor

from lib_pladis.kernels.base import AttentionInputs, Problem, Result
from lib_pladis.kernels.dense import masked


class EntmaxPackage:
    """The kernel by the `entmax` package, which sorts or bisects."""

    name = "entmax"

    def why_not(self, problem: Problem) -> str:
        """As `base.Kernel`."""
        return "" if importlib.util.find_spec("entmax") else "not installed"

    def plan(self, problem: Problem) -> bool:
        """As `base.Kernel`: whether the log-sum-exp is wanted."""
        return problem.lse

    def attend(self, launch: bool, inputs: AttentionInputs) -> Result:
        """As `base.Kernel`."""
        out, lse = by_equation(inputs, _sparse)
        return Result(out.to(inputs.query.dtype), self.name, lse=lse if launch else None)


def by_equation(inputs: AttentionInputs, entmax: Callable[[Tensor, float], Tensor]) -> tuple[Tensor, Tensor]:
    """The attention and each row's log-sum-exp, computed in fp64 from fp64 tensors, otherwise in fp32.

    entmax(logits, alpha): the sparse map along the last dimension.
    """
    query, key, value = (x if x.dtype == torch.float64 else x.float() for x in inputs[:3])
    _, _, _, mask, mix, scale = inputs
    logits = torch.matmul(query, key.transpose(-1, -2)) * scale
    if mask is not None:
        logits = masked(logits, mask)
    row_lse = torch.logsumexp(logits, -1)
    fully_masked = logits.amax(-1, keepdim=True) == -math.inf
    logits = logits.masked_fill(fully_masked, 0.0)
    dense = torch.softmax(logits, -1)
    weights = mix.scale * entmax(logits / mix.temperature, mix.alpha) + (1.0 - mix.scale) * dense
    out = torch.matmul(weights.masked_fill(fully_masked, 0.0), value)
    plain = torch.matmul(dense.masked_fill(fully_masked, 0.0), value)
    if mix.rescale:
        norm = out.norm(dim=-1, keepdim=True)
        ratio = plain.norm(dim=-1, keepdim=True) / norm
        out = torch.where(norm > 0, out * ((1.0 - mix.rescale) + mix.rescale * ratio), out)
    return out - plain if mix.change else out, row_lse


def _sparse(logits: Tensor, alpha: float) -> Tensor:
    import entmax

    if alpha == 1.0:
        return torch.softmax(logits, -1)
    if alpha == 1.5:
        return entmax.entmax15(logits, dim=-1)
    if alpha == 2.0:
        return entmax.sparsemax(logits, dim=-1)
    return entmax.entmax_bisect(logits, alpha=alpha, dim=-1)
