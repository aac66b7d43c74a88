"""Plain attention by torch, and the log-sum-exp of each row's logits, which joint attention needs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lib_pladis import limits


def plain(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float | None) -> Tensor:
    """torch's `scaled_dot_product_attention`; a float mask may have another dtype than the query."""
    if mask is not None and mask.dtype != torch.bool:
        mask = mask.to(query.dtype)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)


def masked(logits: Tensor, mask: Tensor) -> Tensor:
    """The logits with a mask applied that broadcasts to them: where a bool mask is False, -inf; a float mask is
    added."""
    return logits.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else logits + mask


def plain_with_lse(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float, queries: slice
) -> tuple[Tensor, Tensor]:
    """(softmax(z) V, log Σ exp z of the rows in `queries`), z = scale Q Kᵀ + mask; shapes as `pladis_attention`.

    The log-sum-exp is (B, H, rows) in fp32. torch's flash and memory-efficient attention return it. Where neither is
    available, Q Kᵀ is computed once more, in chunks.
    """
    for attention in _WITH_LSE.get(query.device.type, ()):
        try:
            found = attention(query, key, value, mask, scale)
        except torch.cuda.OutOfMemoryError:
            raise
        except (RuntimeError, AttributeError, NotImplementedError):  # not in this torch, or not for this problem
            continue
        if found is not None:
            out, lse = found
            return out, lse[:, :, : query.shape[2]][:, :, queries]
    return plain(query, key, value, mask, scale), _lse(query, key, mask, scale, queries)


def _flash_for_cpu(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float
) -> tuple[Tensor, Tensor] | None:
    if query.shape[3] != value.shape[3] or mask is not None:
        return None
    query, key, value = (x if x.stride(-1) == 1 else x.contiguous() for x in (query, key, value))
    out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(query, key, value, scale=scale)
    return out, lse.float()


def _flash(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float
) -> tuple[Tensor, Tensor] | None:
    dim = query.shape[3]
    if mask is not None or query.dtype == torch.float32 or dim != value.shape[3] or dim % 8 or dim > 256:
        return None
    out = torch.ops.aten._scaled_dot_product_flash_attention(query, key, value, scale=scale)
    return out[0], out[1]


def _efficient(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float
) -> tuple[Tensor, Tensor] | None:
    if mask is not None or query.shape[3] % 8 or value.shape[3] % 8:
        return None
    out = torch.ops.aten._scaled_dot_product_efficient_attention(query, key, value, None, True, scale=scale)
    return out[0], out[1]


_WITH_LSE = {"cpu": (_flash_for_cpu,), "cuda": (_flash, _efficient)}


def _lse(query: Tensor, key: Tensor, mask: Tensor | None, scale: float, queries: slice) -> Tensor:
    batch, heads, count, _ = query.shape
    keys = key.shape[2]
    wanted = range(count)[queries]
    lse = torch.empty(batch, heads, len(wanted), device=query.device)
    rows = max(1, limits.LSE_CHUNK_SCORES // keys)
    for b in range(batch):
        for h in range(heads):
            across = key[b, h].float().t()
            for start in range(0, len(wanted), rows):
                part = wanted[start : start + rows]
                here = slice(part.start, part.stop, part.step)
                logits = (query[b, h, here].float() @ across).mul_(scale)
                if mask is not None:
                    logits = masked(logits, mask.expand(batch, heads, count, keys)[b, h, here])
                lse[b, h, start : start + rows] = torch.logsumexp(logits, -1)
    return lse
