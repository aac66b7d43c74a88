"""PLADIS attention in plain torch operations, a chunk of queries at a time.

Scores are kept transposed, keys x queries: reductions over keys then run along the memory, many
queries at once, and each query's tau or sum is a row that is broadcast without a copy. A chunk is
small enough to stay in cache (CPU) and large enough to pay for its launches (accelerators), so the
extra memory is fixed whatever the resolution. No sort.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from .. import sparse

CHUNK_ELEMENTS = {"cpu": 1024 * 1024}
"""Scores per chunk (heads x keys x queries), by device type. Two fp32 buffers of that size exist."""

CHUNK_ELEMENTS_ACCELERATOR = 2 * 1024 * 1024
"""The same where a launch costs more: with what else a chunk needs, about 40 MiB at most."""


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
    """(lambda alpha-entmax(z / temperature) + (1 - lambda) softmax(z)) V, z = scale Q K^T + mask.

    Shapes of `scaled_dot_product_attention`. The result is laid out (B, Lq, H, Dv) in memory, as
    the hosts want it next, and returned as (B, H, Lq, Dv).
    """
    batch, heads, queries, _ = query.shape
    keys, value_dim = value.shape[2:]
    out = query.new_empty(batch, queries, heads, value_dim).transpose(1, 2)
    scaled_key = key.float() * scale
    value = value.float()
    mask = None if attn_mask is None else attn_mask.expand(batch, heads, queries, keys)
    limit = CHUNK_ELEMENTS.get(query.device.type, CHUNK_ELEMENTS_ACCELERATOR)
    buffers: tuple[Tensor, ...] = ()
    width = max(keys, query.shape[3], value_dim)
    for b, h, q in _chunks(batch, heads, queries, width, limit):
        query_chunk = query[b, h, q].float().flatten(0, 1)
        shape = (query_chunk.shape[0], keys, query_chunk.shape[1])
        if not buffers or buffers[0].shape != shape:
            buffers = tuple(scaled_key.new_empty(shape) for _ in range(2))
        weights, row_scale = _weights(
            query_chunk,
            scaled_key[b, h].flatten(0, 1),
            None if mask is None else mask[b, h, q].flatten(0, 1),
            pladis_scale,
            alpha,
            temperature,
            buffers,
        )
        result = torch.bmm(weights.transpose(1, 2), value[b, h].flatten(0, 1))
        target = out[b, h, q]
        target.copy_(result.mul_(row_scale.transpose(1, 2)).view(target.shape))
    return out


def _chunks(batch: int, heads: int, queries: int, width: int, limit: int) -> Iterator[tuple[slice, slice, slice]]:
    """Cut the queries, then the heads, then the batch, until `width` numbers a query are at most `limit`."""
    rows = max(1, min(queries, limit // width))
    if rows == queries:
        head_step = max(1, min(heads, limit // (width * queries)))
    else:
        head_step = 1
    batch_step = max(1, min(batch, limit // (width * queries * heads))) if head_step == heads else 1
    for b in range(0, batch, batch_step):
        for h in range(0, heads, head_step):
            for q in range(0, queries, rows):
                yield (
                    slice(b, min(b + batch_step, batch)),
                    slice(h, min(h + head_step, heads)),
                    slice(q, min(q + rows, queries)),
                )


def _weights(
    query: Tensor,
    scaled_key: Tensor,
    mask: Tensor | None,
    pladis_scale: float,
    alpha: float,
    temperature: float,
    buffers: tuple[Tensor, ...],
) -> tuple[Tensor, Tensor]:
    """lambda entmax + (1 - lambda) softmax, transposed: (G, keys, queries), and what each query's
    row is still to be multiplied by: (G, 1, queries).

    With e = exp(z - max z): (1 - lambda) / sum(e) * (e + lambda sum(e) / (1 - lambda) entmax), which
    saves a pass, as the result has fewer columns than there are keys.
    """
    logits, work = buffers
    torch.bmm(scaled_key, query.transpose(1, 2), out=logits)
    dead = None
    if mask is None:
        logits.sub_(logits.amax(1, keepdim=True))
    else:
        _apply_mask_(logits, mask.transpose(1, 2))
        dead = sparse.shift_(logits, 1)
    weight: Tensor | float
    if alpha == 1.0:
        weights = torch.mul(logits, 1.0 / temperature, out=work).exp_()
        weight = pladis_scale / weights.sum(1, keepdim=True)
    else:
        weights, factor = sparse.solve(logits, alpha, 1, temperature=temperature, work=work)
        weight = pladis_scale * factor
    if pladis_scale == 1.0:
        row_scale = torch.full_like(logits[:, :1], 1.0).mul_(weight)
    else:
        partition = logits.exp_().sum(1, keepdim=True)
        row_scale = (1.0 - pladis_scale) / partition
        weights = logits.addcmul_(weights, weight / row_scale)
    if dead is not None:
        row_scale.masked_fill_(dead, 0.0)
    return weights, row_scale


def _apply_mask_(logits: Tensor, mask: Tensor) -> None:
    """Bool: True takes part, False gives -inf. Float: added."""
    if mask.dtype == torch.bool:
        logits.masked_fill_(~mask, -math.inf)
    else:
        logits.add_(mask)
