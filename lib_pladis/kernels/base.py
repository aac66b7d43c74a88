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

    @classmethod
    def of(cls, query: Tensor, key: Tensor, value: Tensor, mix: Mix, mask: Tensor | None) -> Problem:
        """The problem that these tensors are; shapes as `pladis_attention`."""
        kind = "none" if mask is None else "bool" if mask.dtype == torch.bool else "float"
        batch, heads, queries, dim = query.shape
        keys, value_dim = value.shape[2:]
        shapes = (batch, heads, queries, keys, dim, value_dim)
        return cls(query.device.type, capability_of(query.device), query.dtype, *shapes, kind, mix)

    @property
    def kind(self) -> tuple[object, ...]:
        """What a failure speaks of: another α, head size or number of keys is another build."""
        build = (self.mix.alpha, self.mix.rescale > 0)
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
class Result:
    """The output, (B, H, Lq, Dv) in the dtype of query, and the name of the kernel that computed it.

    note: what a person should know of how it went ("" as a rule).
    """

    out: Tensor
    kernel: str
    note: str = ""


class Kernel(Protocol):
    """One way to compute the attention."""

    @property
    def name(self) -> str:
        """As on the settings page and in the report."""

    def why_not(self, problem: Problem) -> str:
        """Why this kernel can't take the problem here ("" if it can). Compiles and runs nothing."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mix: Mix, mask: Tensor | None, scale: float) -> Result:
        """What `mix` says, on z = scale Q Kᵀ + mask and arguments that were checked.

        May raise whatever its compiler or driver raises; torch.cuda.OutOfMemoryError where memory ran out.
        """
