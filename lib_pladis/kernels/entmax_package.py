"""The `entmax` package's way: whole score matrix in memory, sort or bisection. Readable, slow."""

from __future__ import annotations

import importlib.util
import math

import torch
from torch import Tensor


def available() -> bool:
    """Whether the `entmax` package is installed."""
    return importlib.util.find_spec("entmax") is not None


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    pladis_scale: float,
    alpha: float,
    temperature: float,
    attn_mask: Tensor | None,
    scale: float,
) -> Tensor:
    """(lambda alpha-entmax(z / temperature) + (1 - lambda) softmax(z)) V, z = scale Q K^T + mask."""
    logits = torch.matmul(query.float(), key.float().transpose(-1, -2)) * scale
    if attn_mask is not None:
        if attn_mask.dtype == torch.bool:
            logits = logits.masked_fill(~attn_mask, -math.inf)
        else:
            logits = logits + attn_mask
    dead = logits.amax(-1, keepdim=True) == -math.inf
    logits = logits.masked_fill(dead, 0.0)
    weights = pladis_scale * _sparse(logits / temperature, alpha)
    weights += (1.0 - pladis_scale) * torch.softmax(logits, -1)
    weights = weights.masked_fill(dead, 0.0)
    return torch.matmul(weights, value.float()).to(query.dtype)


def _sparse(logits: Tensor, alpha: float) -> Tensor:
    import entmax

    if alpha == 1.0:
        return torch.softmax(logits, -1)
    if alpha == 1.5:
        return entmax.entmax15(logits, dim=-1)
    if alpha == 2.0:
        return entmax.sparsemax(logits, dim=-1)
    return entmax.entmax_bisect(logits, alpha=alpha, dim=-1)
