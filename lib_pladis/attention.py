"""PLADIS attention as a function: `scaled_dot_product_attention` with a blend of a sparse and a dense map.

Equation 9 of the paper (Kim & Sim, "PLADIS", arXiv 2503.07677):

    PLADIS(Q, K, V) = (lambda alpha-entmax(z) + (1 - lambda) softmax(z)) V,   z = Q K^T / sqrt(d).

This file checks the arguments; `lib_pladis.kernels.choice` chooses the kernel.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable

import torch
from torch import Tensor

from lib_pladis.kernels.base import NOTHING, Result, Want
from lib_pladis.kernels.choice import Kernels, check_name
from lib_pladis.math.rule import Mix
from lib_pladis.math.sparse import check_alpha, without_autocast

DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def pladis_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    pladis_scale: float = 2.0,
    alpha: float = 1.5,
    temperature: float = 1.0,
    rescale: float = 0.0,
    attn_mask: Tensor | None = None,
    scale: float | None = None,
    backend: str = "auto",
) -> Tensor:
    """(lambda alpha-entmax(z / temperature) + (1 - lambda) softmax(z)) V, z = scale Q K^T + mask, rescaled.

    query: (B, H, Lq, D). key: (B, H, Lk, D). value: (B, H, Lk, Dv). One dtype of fp32, fp16, bf16,
        one device, any strides. Both maps are computed in fp32.
    pladis_scale: lambda, any finite number. 0 is the dense map, computed by torch's own
        `scaled_dot_product_attention`; 1 the sparse map alone; above 1 extrapolates past it.
    alpha: 1 (softmax) to 2 (sparsemax), any value between.
    temperature: above 0, finite; divides the logits of the sparse map only.
    rescale: phi, 0 to 1. Each query's and head's output is multiplied by (1 - phi) + phi |dense| / |out|, dense
        being softmax(z) V: 1 gives it the length that plain attention would give it.
    attn_mask: bool (True takes part) or floating point (added to the logits), broadcastable to
        (B, H, Lq, Lk). A query with no key left gives zeros.
    scale: finite; default 1 / sqrt(D).
    backend: auto, triton, torch or entmax. One that this machine cannot run falls back to torch,
        with one line in the log.

    Returns (B, H, Lq, Dv) in the dtype of query. The result carries no gradient.
    Raises ValueError that names the argument, what it was, and what is allowed.
    """
    mix = check_call(pladis_scale, alpha, temperature, rescale)
    return attend(standing_kernels(backend), query, key, value, mix, attn_mask, scale).out


def check_call(pladis_scale: float, alpha: float, temperature: float, rescale: float) -> Mix:
    """The mix that these arguments of `pladis_attention` say. Raises its ValueErrors."""
    pladis_scale = _number("pladis_scale", pladis_scale, "a finite number", lambda x: True)
    check_alpha(alpha)
    temperature = _number("temperature", temperature, "a finite number above 0", lambda x: x > 0)
    rescale = _number("rescale", rescale, "a number from 0 to 1", lambda x: 0 <= x <= 1)
    return Mix(pladis_scale, float(alpha), temperature, rescale)


def attend(
    kernels: Kernels,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mix: Mix,
    attn_mask: Tensor | None = None,
    scale: float | None = None,
    want: Want = NOTHING,
) -> Result:
    """The same by kernels of one's own, with the name of the one that ran, and what is wanted besides; tensors as
    `pladis_attention`. Raises ValueError for token columns that the keys don't have."""
    check_tensors(query, key, value)
    check_mask(attn_mask, query, key)
    if scale is None:
        scale = 1.0 / math.sqrt(query.shape[-1])
    scale = _number("scale", scale, "a finite number or None", lambda x: True)
    keys = key.shape[2]
    for token in want.tokens:
        if not 0 <= token < keys:
            raise ValueError(f"tokens: got {token}, allowed: key columns 0 to {keys - 1}")
    with torch.no_grad(), without_autocast(query.device.type):
        return kernels.attend(query, key, value, mix, attn_mask, scale, want)


def standing_kernels(backend: str) -> Kernels:
    """The kernels of those who call a function by itself: what failed is remembered as long as the process lives.
    Raises ValueError for an unknown name."""
    return _standing(check_name(backend))


_standing = functools.cache(Kernels)


def _number(name: str, value: object, allowed: str, test: Callable[[float], bool]) -> float:
    number = math.nan
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):  # of a whole number that no float is as large as
            number = float(value)
    if not math.isfinite(number) or not test(number):
        raise ValueError(f"{name}: got {value!r}, allowed: {allowed}")
    return number


def check_tensors(query: Tensor, key: Tensor, value: Tensor) -> None:
    """ValueError unless these are tensors as `pladis_attention` takes them."""
    for name, tensor in (("query", query), ("key", key), ("value", value)):
        if not isinstance(tensor, Tensor):
            raise ValueError(f"{name}: got {type(tensor).__name__}, allowed: a tensor")
        if tensor.dim() != 4:
            raise ValueError(f"{name}: got shape {tuple(tensor.shape)}, allowed: (B, H, L, D)")
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
    """ValueError unless this is a mask that `pladis_attention` takes."""
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
