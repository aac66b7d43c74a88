"""What a kernel is given, what it gives, and what it must say of itself."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from lib_pladis.math.rule import Mix


@dataclass(frozen=True)
class Problem:
    """One attention without its numbers: what a kernel can be chosen by, and what a build of it depends on."""

    device: str  # "cpu", "cuda" (ROCm too), "mps", ...
    capability: tuple[int, int] | str | None  # of a CUDA device (major, minor), of a ROCm one its gfx name
    dtype: torch.dtype
    batch: int
    heads: int
    queries: int
    keys: int
    dim: int
    value_dim: int
    mask: str  # "none", "bool" or "float"
    mix: Mix
    lse: bool = False

    @classmethod
    def of(cls, query: Tensor, key: Tensor, value: Tensor, mix: Mix, mask: Tensor | None, lse: bool = False) -> Problem:
        """The problem that these tensors are; shapes as `pladis_attention`."""
        kind = "none" if mask is None else "bool" if mask.dtype == torch.bool else "float"
        batch, heads, queries, dim = query.shape
        keys, value_dim = value.shape[2:]
        shapes = (batch, heads, queries, keys, dim, value_dim)
        return cls(query.device.type, capability_of(query.device), query.dtype, *shapes, kind, mix, lse)

    @property
    def kind(self) -> tuple[object, ...]:
        """What a failure speaks of: another α, head size or number of keys is another build."""
        build = (self.mix.alpha, self.mix.rescale > 0, self.mix.change, self.lse)
        return self.device, self.capability, self.dtype, self.keys, self.dim, self.value_dim, self.mask, *build


@functools.cache
def capability_of(device: torch.device) -> tuple[int, int] | str | None:
    """(major, minor) of a CUDA device, "gfx1100" or the like of a ROCm one, None of others."""
    if device.type != "cuda":
        return None
    if torch.version.hip:
        return str(torch.cuda.get_device_properties(device).gcnArchName).split(":")[0]
    return torch.cuda.get_device_capability(device)


@dataclass(frozen=True)
class Want:
    """What is to be given besides the output. Nothing is computed that isn't wanted.

    tokens: key columns whose weights are looked at. lse: the log-sum-exp of each row's logits.
    """

    tokens: tuple[int, ...] = ()
    lse: bool = False


NOTHING = Want()


@dataclass(frozen=True)
class TokenWeights:
    """Where the attention went: fp32, averaged over the heads. "Blended" is before any rescaling.

    blended, dense: (B, Lq, T) weights of the T key columns that were asked for, λ α-entmax + (1 − λ) softmax, and
        softmax. kept: (B, Lq) how many keys the sparse map keeps. entropy_dense, entropy_sparse: (B, Lq) in nats.
    """

    blended: Tensor
    dense: Tensor
    kept: Tensor
    entropy_dense: Tensor
    entropy_sparse: Tensor


@dataclass(frozen=True)
class Result:
    """The output, (B, H, Lq, Dv) in the dtype of query, and the name of the kernel that computed it.

    note: what a person should know of how it went ("" as a rule).
    lse: (B, H, Lq) fp32, log Σ exp z of each row; -inf where no key is left. None where it wasn't wanted.
    token_weights: None where they weren't wanted.
    """

    out: Tensor
    kernel: str
    note: str = ""
    lse: Tensor | None = None
    token_weights: TokenWeights | None = None


class Kernel(Protocol):
    """One way to compute the attention."""

    @property
    def name(self) -> str:
        """As on the settings page and in the report."""

    def why_not(self, problem: Problem) -> str:
        """Why this kernel can't take the problem here ("" if it can). Compiles and runs nothing."""

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mix: Mix,
        mask: Tensor | None,
        scale: float,
        lse: bool = False,
    ) -> Result:
        """What `mix` says, on z = scale Q Kᵀ + mask and arguments that were checked; with `Result.lse` where wanted.

        May raise whatever its compiler or driver raises; torch.cuda.OutOfMemoryError where memory ran out.
        """
