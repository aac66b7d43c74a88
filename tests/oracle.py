"""What the product is held against: the paper's equation in fp64, with nothing shared."""

from __future__ import annotations

import math

import torch
from torch import Tensor


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
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    z = query.double() @ key.double().transpose(-1, -2) * scale
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        z = z.masked_fill(~attn_mask, -math.inf)
    elif attn_mask is not None:
        z = z + attn_mask.double()
    fully_masked = (z == -math.inf).all(-1, keepdim=True)
    z = z.masked_fill(fully_masked, 0.0)
    sparse = entmax_by_bisection(z / temperature, alpha)
    dense = torch.softmax(z, -1).masked_fill(fully_masked, 0.0)
    out = (pladis_scale * sparse + (1 - pladis_scale) * dense).masked_fill(fully_masked, 0.0) @ value.double()
    wanted, norm = (x.norm(dim=-1, keepdim=True) for x in (dense @ value.double(), out))
    return out * torch.where(norm > 0, (1 - rescale) + rescale * wanted / norm, 1.0)


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
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    z = query.double() @ key.double().transpose(-1, -2) * scale
    if attn_mask is not None:
        z = z.masked_fill(~attn_mask, -math.inf) if attn_mask.dtype == torch.bool else z + attn_mask.double()
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
