"""The interface of a kernel: its problem, its result, and the protocol `Kernel`."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from lib_pladis.math.rule import Mix

DTYPES = (torch.float32, torch.float16, torch.bfloat16)

NO_MASK = (0, 0, 0, 0)


class AttentionInputs(NamedTuple):
    """The inputs of a kernel, shapes as `pladis_attention`: the attention of `mix` (λ is `mix.scale`) with
    z = scale Q Kᵀ + mask; scale > 0."""

    query: Tensor
    key: Tensor
    value: Tensor
    mask: Tensor | None
    mix: Mix
    scale: float


@dataclass(frozen=True)
class Problem:
    """The properties of an attention call by which a kernel is chosen and planned; not the values of λ, φ, temperature
    and scale.

    mask: its dtype; None without a mask. mask_strides: of the mask expanded to (B, H, Lq, Lk). strides: of query, key
    and value. Strides are in elements. tempered: the temperature is not 1. rescaled: φ is not 0. change: `Mix.change`.
    lse: whether each row's log-sum-exp is returned too.
    """

    device: str  # "cpu", "cuda" (ROCm too), "mps", ...
    capability: tuple[int, int] | str | None  # of a CUDA device (major, minor), of a ROCm one its gfx name
    dtype: torch.dtype
    batch: int
    heads: int
    queries: int
    keys: int
    dim: int
    value_dim: int
    alpha: float = 1.5
    tempered: bool = False
    rescaled: bool = False
    change: bool = False
    lse: bool = False
    mask: torch.dtype | None = None
    mask_strides: tuple[int, ...] = NO_MASK
    strides: tuple[tuple[int, ...], ...] = ()

    @classmethod
    def of(cls, inputs: AttentionInputs, lse: bool = False) -> Problem:
        """The problem of these inputs. Raises the ValueErrors of `pladis_attention` about tensors and mask."""
        query, key, value, mask, mix, _ = inputs
        check_tensors(query, key, value)
        check_mask(mask, query, key)
        batch, heads, queries, dim = query.shape
        keys, value_dim = value.shape[2:]
        return cls(
            query.device.type,
            capability_of(query.device),
            query.dtype,
            batch,
            heads,
            queries,
            keys,
            dim,
            value_dim,
            mix.alpha,
            mix.temperature != 1.0,
            mix.rescale != 0.0,
            mix.change,
            lse,
            None if mask is None else mask.dtype,
            NO_MASK if mask is None else mask.expand(batch, heads, queries, keys).stride(),
            (query.stride(), key.stride(), value.stride()),
        )

    @property
    def key_mask(self) -> bool:
        """Whether there is a mask, the same for all queries of a head."""
        return self.mask is not None and self.mask_strides[2] == 0

    @property
    def whole_rows(self) -> bool:
        """Whether rows of query, key and value are contiguous and lie multiples of 16 bytes apart."""
        size = 128 // torch.finfo(self.dtype).bits
        return all(last == 1 and not any(stride % size for stride in rest) for *rest, last in self.strides)

    @property
    def contiguous_rows(self) -> bool:
        """Whether rows of query, key and value are contiguous."""
        return all(strides[3] == 1 for strides in self.strides)

    @property
    def contiguous_mask(self) -> bool:
        """Whether rows of the mask are contiguous."""
        return self.mask_strides[3] == 1

    @property
    def kind(self) -> str:
        """The key under which a kernel is compiled, proved and timed. λ is not part of it.

        Keys are rounded up to a multiple of 16, queries to a power of two.
        """
        mask = "" if self.mask is None else f" {self.mask}" + " of keys" * self.key_mask
        flags = ("tempered", "rescaled", "change", "lse", "whole_rows", "contiguous_rows", "contiguous_mask")
        return (
            f"{self.dtype} {self.dim}x{self.value_dim} keys {-(-self.keys // 16) * 16} "
            f"queries 2^{self.queries.bit_length()} alpha {self.alpha:g}{mask}"
            + "".join(f" {flag}" for flag in flags if getattr(self, flag))
        ).replace("torch.", "")


def signature(inputs: AttentionInputs, lse: bool) -> tuple[object, ...]:
    """Distinguishes problems without constructing them: inputs with the same signature share a plan."""
    query, key, value, mask, mix, _ = inputs
    return (
        (query.shape, query.stride(), query.dtype, query.device),
        (key.shape, key.stride(), key.dtype, key.device),
        (value.shape, value.stride(), value.dtype, value.device),
        None if mask is None else (mask.shape, mask.stride(), mask.dtype, mask.device),
        (mix.alpha, mix.temperature != 1.0, mix.rescale != 0.0, mix.change, lse),
    )


@functools.cache
def capability_of(device: torch.device) -> tuple[int, int] | str | None:
    """(major, minor) of a CUDA device, a name such as "gfx1100" of a ROCm device, None of others."""
    if device.type != "cuda":
        return None
    if torch.version.hip:
        return str(torch.cuda.get_device_properties(device).gcnArchName).split(":")[0]
    return torch.cuda.get_device_capability(device)


@dataclass
class Result:
    """The output, (B, H, Lq, Dv) in the dtype of query, and the name of the kernel that computed it.

    note: a remark for the user, usually "".
    lse: (B, H, Lq) fp32, log Σ exp z of each row, natural logarithm; -inf in fully masked rows; None if not requested.
    """

    out: Tensor
    kernel: str
    note: str = ""
    lse: Tensor | None = None


def check_tensors(query: Tensor, key: Tensor, value: Tensor) -> None:
    """Raises ValueError unless `pladis_attention` accepts these tensors."""
    for name, tensor in (("query", query), ("key", key), ("value", value)):
        if not isinstance(tensor, Tensor) or tensor.dim() != 4:
            got = f"shape {tuple(tensor.shape)}" if isinstance(tensor, Tensor) else type(tensor).__name__
            raise ValueError(f"{name}: got {got}, allowed: a tensor of shape (B, H, L, D)")
        if tensor.dtype not in DTYPES:
            raise ValueError(f"{name}: got {tensor.dtype}, allowed: fp32, fp16, bf16")
        if tensor.dtype != query.dtype:
            raise ValueError(f"{name}: got {tensor.dtype}, allowed: query's {query.dtype}")
        if tensor.device != query.device:
            raise ValueError(f"{name}: got device {tensor.device}, allowed: query's {query.device}")
    batch, heads, _, dim = query.shape
    if dim == 0:
        raise ValueError(f"query: got shape {tuple(query.shape)}, allowed: D of 1 or more")
    if key.shape[:2] != (batch, heads) or key.shape[3] != dim or key.shape[2] == 0:
        wanted = f"({batch}, {heads}, 1 or more, {dim})"
        raise ValueError(f"key: got shape {tuple(key.shape)}, allowed: {wanted}")
    if value.shape[:3] != key.shape[:3]:
        wanted = f"({batch}, {heads}, {key.shape[2]}, Dv)"
        raise ValueError(f"value: got shape {tuple(value.shape)}, allowed: {wanted}")


def check_mask(mask: object, query: Tensor, key: Tensor) -> None:
    """Raises ValueError unless `pladis_attention` accepts this mask."""
    if mask is None:
        return
    allowed = "a bool or floating-point tensor"
    if not isinstance(mask, Tensor):
        raise ValueError(f"attn_mask: got {type(mask).__name__}, allowed: {allowed}")
    if mask.dtype != torch.bool and not mask.is_floating_point():
        raise ValueError(f"attn_mask: got {mask.dtype}, allowed: {allowed}")
    if mask.device != query.device:
        raise ValueError(f"attn_mask: got device {mask.device}, allowed: query's {query.device}")
    full = (*query.shape[:3], key.shape[2])
    fits = mask.dim() <= 4 and all(have in (1, want) for have, want in zip(reversed(mask.shape), reversed(full)))
    if not fits:
        raise ValueError(f"attn_mask: got shape {tuple(mask.shape)}, allowed: broadcastable to {full}")


class Kernel(Protocol):
    """An implementation of the attention."""

    @property
    def name(self) -> str:
        """Its name on the settings page and in the report."""

    def why_not(self, problem: Problem) -> str:
        """Why this kernel can't compute the problem on this machine; "" if it can. Compiles and runs nothing."""

    def plan(self, problem: Problem) -> Any:
        """Everything that depends on the problem alone, computed once and passed to `attend` as `launch`. May compile,
        and raise any error of the compiler."""

    def attend(self, launch: Any, inputs: AttentionInputs) -> Result:
        """Computes the attention.

        launch: the result of `plan` for the problem of these inputs, which also says whether `Result.lse` is returned.
        Data pointers need not be aligned. May raise any error of the driver, and torch.cuda.OutOfMemoryError.
        """
