"""PLADIS attention as a function, with the conventions of torch's `scaled_dot_product_attention`.

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

from lib_pladis.kernels.base import AttentionInputs, Result, check_mask, check_tensors
from lib_pladis.kernels.choice import Kernels, check_name
from lib_pladis.math.rule import LARGEST_SCALE, TEMPERATURES, Mix
from lib_pladis.math.sparse import check_alpha, without_autocast

_NOTHING = contextlib.nullcontext()

SMALLEST_SCALE = 1e-12
"""Kernels divide the mask by the scale and add it before scaling. A scale below this is applied to the query
instead."""


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
    pladis_scale: lambda, -1e6 to 1e6. 0 is the dense map, computed by torch's own
        `scaled_dot_product_attention`; 1 the sparse map alone; above 1 extrapolates.
    alpha: 1 (softmax) to 2 (sparsemax), any value between.
    temperature: 1e-6 to 1e6; divides the logits of the sparse map only.
    rescale: phi, 0 to 1. Each query's and head's output is multiplied by (1 - phi) + phi |dense| / |out|, with
        dense = softmax(z) V: 1 restores the norm of plain attention. For values of magnitude 1e-18 to 1e18.
    attn_mask: bool (True takes part) or floating point (added to the logits), broadcastable to
        (B, H, Lq, Lk). A fully masked row gives zeros. Floating-point entries below -2e38 count as -inf.
    scale: finite; default 1 / sqrt(D).
    backend: auto, triton, cuda, torch or entmax. One that this machine cannot run falls back to torch,
        with one line in the log.

    Returns (B, H, Lq, Dv) in the dtype of query. The result carries no gradient.
    Raises ValueError that names the argument, what it was, and what is allowed.
    """
    mix = check_call(pladis_scale, alpha, temperature, rescale)
    return attend(standing_kernels(backend), query, key, value, mix, attn_mask, scale).out


def check_call(pladis_scale: float, alpha: float, temperature: float, rescale: float) -> Mix:
    """The mix for these arguments of `pladis_attention`. Raises its ValueErrors."""
    pladis_scale = _number("pladis_scale", pladis_scale, "a number from -1e6 to 1e6", lambda x: abs(x) <= LARGEST_SCALE)
    check_alpha(alpha)
    temperature = _number(
        "temperature", temperature, "a number from 1e-6 to 1e6", lambda x: TEMPERATURES[0] <= x <= TEMPERATURES[1]
    )
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
    lse: bool = False,
) -> Result:
    """The same with the given kernels. Also returns the name of the kernel that ran, and with `lse` the log-sum-exp of
    each row's logits. Tensors as `pladis_attention`."""
    tensors = isinstance(query, Tensor) and isinstance(key, Tensor) and isinstance(value, Tensor)
    if not tensors or query.dim() != 4:  # the rest is checked where a plan is made
        check_tensors(query, key, value)
    if attn_mask is not None and not isinstance(attn_mask, Tensor):
        check_mask(attn_mask, query, key)
    if scale is None:
        scale = max(query.shape[3], 1) ** -0.5
    else:
        scale = _number("scale", scale, "a finite number or None", lambda x: True)
        if scale < SMALLEST_SCALE:
            query, scale = (-query, -scale) if scale <= -SMALLEST_SCALE else (query * scale, 1.0)
    with torch.no_grad() if torch.is_grad_enabled() else _NOTHING, without_autocast(query.device.type):
        return kernels.attend(AttentionInputs(query, key, value, attn_mask, mix, scale), lse)


def standing_kernels(backend: str) -> Kernels:
    """The kernels for direct calls of the public functions, kept for the life of the process. Raises ValueError for an
    unknown name."""
    return _standing(check_name(backend))


_standing = functools.cache(Kernels)


def _number(name: str, value: object, allowed: str, test: Callable[[float], bool]) -> float:
    number = math.nan
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):  # an integer too large for a float
            number = float(value)
    if not math.isfinite(number) or not test(number):
        raise ValueError(f"{name}: got {value!r}, allowed: {allowed}")
    return number
