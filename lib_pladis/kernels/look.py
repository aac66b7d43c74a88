"""Attention weights, dense and blended, averaged over heads."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lib_pladis import limits
from lib_pladis.kernels.dense import masked
from lib_pladis.math import newton, sparse
from lib_pladis.math.rule import Mix


@dataclass(frozen=True)
class TokenWeights:
    """Attention weights in fp32, averaged over the heads, before any rescaling.

    blended, dense: (B, Lq, Lk), λ α-entmax + (1 − λ) softmax, and softmax.
    kept: (B, Lq), size of the support of the sparse map. entropy_dense, entropy_sparse: (B, Lq), in nats.
    """

    blended: Tensor
    dense: Tensor
    kept: Tensor
    entropy_dense: Tensor
    entropy_sparse: Tensor


def token_weights(
    query: Tensor,
    key: Tensor,
    mix: Mix,
    mask: Tensor | None,
    scale: float,
    mass: Tensor | None = None,
) -> TokenWeights:
    """Recomputes the maps of an attention, in chunks; shapes as `pladis_attention`.

    mass: (B, H, Lq), a factor for each row's weights: the row's share of a joint attention. 1 if not given.
    Fully masked rows have weights of zero.
    """
    batch, heads, queries, _ = query.shape
    keys = key.shape[2]
    by_token = torch.zeros(2, batch, queries, keys, device=query.device)
    by_row = torch.zeros(3, batch, queries, device=query.device)
    rows = max(1, limits.LOOK_CHUNK_SCORES // (keys * heads))
    for b in range(batch):
        keys_across = key[b].float().transpose(-1, -2)
        for start in range(0, queries, rows):
            part = slice(start, start + rows)
            logits = (query[b, :, part].float() @ keys_across).mul_(scale)
            if mask is not None:
                logits = masked(logits, mask.expand(batch, heads, queries, keys)[b, :, part])
            fully_masked = sparse.shift_(logits, -1)
            dense, sparse_map = _maps(logits, mix, fully_masked)
            share = 1.0 if mass is None else mass[b, :, part, None].float()
            shown = dense * share
            by_token[0, b, part] = shown.mean(0)
            by_token[1, b, part] = (sparse_map * share).sub_(shown).mul_(mix.scale).add_(shown).mean(0)
            by_row[0, b, part] = (sparse_map > 0).sum(-1, dtype=torch.float32).mean(0)
            by_row[1, b, part] = _entropy(dense).mean(0)
            by_row[2, b, part] = _entropy(sparse_map).mean(0)
    return TokenWeights(by_token[1], by_token[0], by_row[0], by_row[1], by_row[2])


def _maps(logits: Tensor, mix: Mix, fully_masked: Tensor) -> tuple[Tensor, Tensor]:
    dense = torch.softmax(logits, -1)
    if mix.alpha == 1.0:
        sparse_map = torch.softmax(logits / mix.temperature, -1)
    else:
        weights, factor = newton.solve(logits, mix.alpha, -1, temperature=mix.temperature)
        sparse_map = weights.mul_(factor)
    return dense.masked_fill_(fully_masked, 0.0), sparse_map.masked_fill_(fully_masked, 0.0)


def _entropy(weights: Tensor) -> Tensor:
    return -torch.xlogy(weights, weights).sum(-1)  # torch.special.entr is missing on some devices
