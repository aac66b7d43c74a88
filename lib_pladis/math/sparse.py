"""The sparse map of PLADIS: alpha-entmax for 1 <= alpha <= 2, exact, without a sort.

alpha-entmax of a row z (Peters, Niculae & Martins, ACL 2019, equation 9) is

    p_i = max((alpha - 1) z_i - tau, 0) ^ beta,   beta = 1 / (alpha - 1),   sum_i p_i = 1.

alpha = 1 is softmax (the limit), alpha = 2 is sparsemax. `newton` finds tau.
"""

from __future__ import annotations

import contextlib
import math

import torch
from torch import Tensor

from lib_pladis.math.newton import solve

_COMPUTE_DTYPE = {
    torch.float16: torch.float32,
    torch.bfloat16: torch.float32,
    torch.float32: torch.float32,
    torch.float64: torch.float64,
}


def entmax(scores: Tensor, alpha: float, dim: int = -1) -> Tensor:
    """alpha-entmax of `scores` along `dim`.

    scores: any shape, fp16, bf16, fp32 or fp64; -inf marks a masked entry.
    alpha: 1 (softmax) to 2 (sparsemax), any value between.
    Returns a tensor of the shape and dtype of `scores`, computed in fp32 (fp64 for fp64 scores).
    Rows are >= 0 and sum to 1 within 1e-5 before they are cast. A fully masked row, all -inf, gives
    zeros. A row with a NaN gives NaN. Not differentiable: the result carries no gradient.
    Raises ValueError for an alpha outside the range, for other dtypes, and for a `dim` that the
    scores lack or that is empty.
    """
    check_alpha(alpha)
    if not isinstance(scores, Tensor) or scores.dtype not in _COMPUTE_DTYPE:
        got = scores.dtype if isinstance(scores, Tensor) else type(scores).__name__
        raise ValueError(f"scores: got {got}, allowed: a tensor of fp16, bf16, fp32 or fp64")
    rank = scores.dim()
    if isinstance(dim, bool) or not isinstance(dim, int) or not -rank <= dim < rank:
        raise ValueError(f"dim: got {dim!r}, allowed: a dimension of shape {tuple(scores.shape)}")
    if scores.shape[dim] == 0:
        raise ValueError(f"scores: got shape {tuple(scores.shape)}, allowed: entries along {dim}")
    if not scores.numel():
        return scores.detach().clone()
    with torch.no_grad(), without_autocast(scores.device.type):
        shifted = scores.to(_COMPUTE_DTYPE[scores.dtype], copy=True)
        fully_masked = shift_(shifted, dim)
        if alpha == 1:
            result = torch.softmax(shifted, dim)
        else:
            weights, factor = solve(shifted, float(alpha), dim)
            result = weights.mul_(factor)
        return result.masked_fill_(fully_masked, 0.0).to(scores.dtype)


def check_alpha(alpha: object) -> None:
    """Raises ValueError unless `alpha` is a number from 1 to 2."""
    number = isinstance(alpha, (int, float)) and not isinstance(alpha, bool)
    if not number or not 1.0 <= alpha <= 2.0:  # type: ignore[operator]
        raise ValueError(f"alpha: got {alpha!r}, allowed: a number from 1 to 2")


def shift_(logits: Tensor, dim: int) -> Tensor:
    """Subtract each row's maximum in place; fully masked rows become zeros.

    Returns which rows are fully masked: bool, of size 1 along `dim`.
    """
    top = logits.amax(dim, keepdim=True)
    fully_masked = top == -math.inf
    logits.sub_(top).masked_fill_(fully_masked, 0.0)
    return fully_masked


def without_autocast(device_type: str) -> contextlib.AbstractContextManager[None]:
    """Switches autocast off: the web UIs sample under it, and it would compute fp32 products in half precision."""
    try:
        enabled = torch.is_autocast_enabled(device_type)
    except TypeError:  # torch before 2.4: a function for each device type, this one for CUDA's
        asked = {"cpu": torch.is_autocast_cpu_enabled, "cuda": torch.is_autocast_enabled}.get(device_type)
        enabled = asked is not None and asked()
    except RuntimeError:  # a device type that has no autocast
        enabled = False
    return torch.autocast(device_type, enabled=False) if enabled else contextlib.nullcontext()
