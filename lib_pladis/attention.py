"""PLADIS attention: `scaled_dot_product_attention` with a blend of a sparse and a dense map.

Equation 9 of the paper (Kim & Sim, "PLADIS", arXiv 2503.07677):

    PLADIS(Q, K, V) = (lambda alpha-entmax(z) + (1 - lambda) softmax(z)) V,   z = Q K^T / sqrt(d).

This file checks the arguments and chooses a kernel; the kernels are in `lib_pladis.kernels`.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
import math
import os
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .kernels import entmax_package, torch_chunked
from .sparse import check_alpha, without_autocast

BACKENDS = ("auto", "triton", "torch", "entmax")
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
LOG = logging.getLogger("pladis")

TRITON_MAX_KEYS = 512
"""The fused kernel holds a query's scores with all keys in registers."""

_failed: dict[str, str] = {}
_said: set[str] = set()
_last: str | None = None


def pladis_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    pladis_scale: float = 2.0,
    alpha: float = 1.5,
    temperature: float = 1.0,
    attn_mask: Tensor | None = None,
    scale: float | None = None,
    backend: str = "auto",
) -> Tensor:
    """(lambda alpha-entmax(z / temperature) + (1 - lambda) softmax(z)) V, z = scale Q K^T + mask.

    query: (B, H, Lq, D). key: (B, H, Lk, D). value: (B, H, Lk, Dv). One dtype of fp32, fp16, bf16,
        one device, any strides. Both maps are computed in fp32.
    pladis_scale: lambda, any finite number. 0 is the dense map, computed by torch's own
        `scaled_dot_product_attention`; 1 the sparse map alone; above 1 extrapolates past it.
    alpha: 1 (softmax) to 2 (sparsemax), any value between.
    temperature: above 0, finite; divides the logits of the sparse map only.
    attn_mask: bool (True takes part) or floating point (added to the logits), broadcastable to
        (B, H, Lq, Lk). A query with no key left gives zeros.
    scale: finite; default 1 / sqrt(D).
    backend: auto, triton, torch or entmax. One that this machine cannot run falls back to torch,
        with one line in the log; `last_backend` tells which one ran.

    Returns (B, H, Lq, Dv) in the dtype of query. The result carries no gradient.
    Raises ValueError that names the argument, what it was, and what is allowed.
    """
    global _last
    _check_tensors(query, key, value)
    pladis_scale = _number("pladis_scale", pladis_scale, "a finite number", lambda x: True)
    check_alpha(alpha)
    alpha = float(alpha)
    temperature = _number("temperature", temperature, "a finite number above 0", lambda x: x > 0)
    _check_mask(attn_mask, query, key)
    if scale is None:
        scale = 1.0 / math.sqrt(query.shape[-1])
    scale = _number("scale", scale, "a finite number or None", lambda x: True)
    _check_backend(backend)
    with torch.no_grad(), without_autocast(query.device.type):
        if pladis_scale == 0.0 or (alpha == 1.0 and temperature == 1.0):
            _last = "sdpa"
            mask = attn_mask
            if mask is not None and mask.dtype != torch.bool:
                mask = mask.to(query.dtype)
            return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)
        arguments: dict[str, Any] = {
            "pladis_scale": pladis_scale,
            "alpha": alpha,
            "temperature": temperature,
            "attn_mask": attn_mask,
            "scale": scale,
        }
        chosen = choose_backend(query, key, value, backend=backend)
        if backend not in ("auto", chosen):
            reason = _why_not_triton(query, key, value) if backend == "triton" else "not installed"
            if reason != _failed.get("triton"):
                _say(f"PLADIS: kernel {backend} cannot be used ({reason}); using {chosen}")
        return _run(chosen, query, key, value, arguments)


def choose_backend(
    query: Tensor, key: Tensor | None = None, value: Tensor | None = None, *, backend: str = "auto"
) -> str:
    """The name of the kernel that `pladis_attention` would use: triton, torch or entmax.

    auto takes triton on a CUDA or ROCm device where Triton is installed, has not failed before,
    and the shapes are ones that it handles, else torch. A named backend is taken if it can run
    here, else torch. Nothing is compiled or run to find out.
    """
    _check_backend(backend)
    if backend == "entmax":
        return "entmax" if entmax_package.available() else "torch"
    if backend == "triton" or (backend == "auto" and query.device.type == "cuda"):
        return "torch" if _why_not_triton(query, key, value) else "triton"
    return "torch"


def last_backend() -> str | None:
    """The kernel of the last call: triton, torch, entmax, or sdpa where nothing was to be mixed."""
    return _last


def reset_backends() -> None:
    """Forget which kernels failed, and which lines were logged about it."""
    _failed.clear()
    _said.clear()


def _why_not_triton(query: Tensor, key: Tensor | None, value: Tensor | None) -> str | None:
    """Why the fused kernel cannot take these tensors here, or None if it can."""
    if "triton" in _failed:
        return _failed["triton"]
    if not _installed("triton"):
        return "Triton is not installed"
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    if query.device.type != "cuda" and not interpreted:
        return f"no kernel for {query.device.type}"
    if key is not None and key.shape[2] > TRITON_MAX_KEYS:
        return f"more than {TRITON_MAX_KEYS} keys"
    return None


@functools.cache
def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _run(name: str, query: Tensor, key: Tensor, value: Tensor, arguments: dict[str, Any]) -> Tensor:
    """Run a kernel; if the fused one fails, remember it, say so once, and run the torch one.

    What a compiler may raise is not known beforehand: Triton's own errors, those of the C compiler
    that it calls, of the driver. Running out of memory is not the kernel's fault and is raised.
    """
    global _last
    if name == "triton":
        try:
            result = _triton_attend()(query, key, value, **arguments)
        except torch.cuda.OutOfMemoryError:
            raise
        except Exception as error:  # noqa: BLE001
            reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
            _failed["triton"] = reason
            _say(f"PLADIS: kernel triton failed ({reason}); using torch from here on")
            name = "torch"
        else:
            _last = name
            return result
    _last = name
    attend = entmax_package.attend if name == "entmax" else torch_chunked.attend
    return attend(query, key, value, **arguments)


def _triton_attend() -> Callable[..., Tensor]:
    from .kernels import triton_fused

    return triton_fused.attend


def _say(line: str) -> None:
    """Log a line the first time."""
    if line not in _said:
        _said.add(line)
        LOG.warning(line)


def _number(name: str, value: object, allowed: str, test: Callable[[float], bool]) -> float:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not test(value):  # type: ignore[arg-type]
        raise ValueError(f"{name}: got {value!r}, allowed: {allowed}")
    return float(value)  # type: ignore[arg-type]


def _check_backend(backend: object) -> None:
    if not isinstance(backend, str) or backend not in BACKENDS:
        raise ValueError(f"backend: got {backend!r}, allowed: {', '.join(BACKENDS)}")


def _check_tensors(query: Tensor, key: Tensor, value: Tensor) -> None:
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


def _check_mask(mask: object, query: Tensor, key: Tensor) -> None:
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
