"""What the product is held against: the paper's equation in fp64. It shares nothing with the product but `Mix`."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from lib_pladis.math.rule import Mix


def entmax_by_bisection(scores: Tensor, alpha: float) -> Tensor:
    """alpha-entmax over the last dim in fp64: tau halved down to the last bit."""
    z = scores.double()
    if alpha == 1.0:
        return torch.softmax(z, -1)
    z = (alpha - 1.0) * (z - z.amax(-1, keepdim=True))
    low, high = torch.full_like(z[..., :1], -1.0), torch.zeros_like(z[..., :1])
    for _ in range(100):
        middle = (low + high) / 2
        too_much = (z - middle).clamp_min(0).pow(1 / (alpha - 1)).sum(-1, keepdim=True) >= 1
        low, high = torch.where(too_much, middle, low), torch.where(too_much, high, middle)
    return (z - low).clamp_min(0).pow(1 / (alpha - 1))


def logits_of(query: Tensor, key: Tensor, attn_mask: Tensor | None = None, scale: float | None = None) -> Tensor:
    """z in fp64."""
    z = query.double() @ key.double().transpose(-1, -2) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if attn_mask is None:
        return z
    return z.masked_fill(~attn_mask, -math.inf) if attn_mask.dtype == torch.bool else z + attn_mask.double()


def reference(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    pladis_scale: float = 2.0,
    alpha: float = 1.5,
    temperature: float = 1.0,
    attn_mask: Tensor | None = None,
    scale: float | None = None,
    rescale: float = 0.0,
) -> Tensor:
    """PLADIS attention in fp64; a row without keys gives zeros."""
    z = logits_of(query, key, attn_mask, scale)
    fully_masked = (z == -math.inf).all(-1, keepdim=True)
    z = z.masked_fill(fully_masked, 0.0)
    sparse = entmax_by_bisection(z / temperature, alpha)
    dense = torch.softmax(z, -1).masked_fill(fully_masked, 0.0)
    out = (pladis_scale * sparse + (1 - pladis_scale) * dense).masked_fill(fully_masked, 0.0) @ value.double()
    wanted, norm = (x.norm(dim=-1, keepdim=True) for x in (dense @ value.double(), out))
    return out * torch.where(norm > 0, (1 - rescale) + rescale * wanted / norm, 1.0)


def with_bound(
    query: Tensor, key: Tensor, value: Tensor, mix: Mix, attn_mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The result in fp64, and what rounding each weight and each number of the result once, cut or rounded, may change
    in it."""
    known: dict[str, Any] = {"alpha": mix.alpha, "temperature": mix.temperature, "attn_mask": attn_mask}
    expected = reference(query, key, value, mix.scale, rescale=mix.rescale, **known)
    if mix.change:
        expected = expected - reference(query, key, value, 0.0, **known)
    summed = abs(mix.scale) * reference(query, key, value.abs(), 1.0, **known)
    summed += abs(1.0 - mix.scale) * reference(query, key, value.abs(), 0.0, **known)
    return expected, torch.finfo(query.dtype).eps * (summed + expected.abs()) + 1e-4


def joint_weights(
    query: Tensor,
    key: Tensor,
    text: Tensor,
    image: Tensor,
    pladis_scale: float = 2.0,
    alpha: float = 1.5,
    temperature: float = 1.0,
    attn_mask: Tensor | None = None,
    scale: float | None = None,
) -> tuple[Tensor, Tensor]:
    """(blended, dense) weights of joint attention, (B, H, Lq, Lk) in fp64. text: bool (B, Lk). image: bool (Lq,)."""
    z = logits_of(query, key, attn_mask, scale)
    dense = torch.softmax(z, -1)
    weights = dense.clone()
    for row in range(len(z)):
        columns = text[row].nonzero().flatten()
        if not len(columns):
            continue
        z_text = z[row][:, :, columns]
        mass = dense[row][:, :, columns].sum(-1, keepdim=True)
        softmax = torch.softmax(z_text, -1)
        sparse = entmax_by_bisection(z_text / temperature, alpha)
        new = mass * (pladis_scale * sparse + (1 - pladis_scale) * softmax)
        weights[row, :, :, columns] = torch.where(image[:, None], new, dense[row][:, :, columns])
    return weights, dense
