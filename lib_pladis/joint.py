"""PLADIS in joint attention: of an image query's weights only those on the text keys are blended, and their sum is
kept.

FLUX, SD3 and similar models attend over text and image at once. Let m be the sum of a row's dense weights on the text:

    w[text] = m ((1 − λ) softmax(z_text) + λ α-entmax(z_text)),   w[image] unchanged,

so the row still sums to 1. Without a score matrix over all keys:

    out = dense + m λ (α-entmax − softmax)(z_text) V_text,   m = exp(lse_text − lse_all).

Padding does not count as text: α-entmax's threshold depends on every key.

If the text is a large part of the keys, its scores are not computed twice. Plain attention is computed over the other
keys alone:

    out = (1 − m) softmax(z_rest) V_rest + m ((1 − λ) softmax + λ α-entmax)(z_text) V_text,

with m = σ(lse_text − lse_rest).

Other queries, and rows without text, use the host's own attention if one is given. It does not return its log-sum-exp,
so the image's queries use torch's, which does. A second call of the host's, for the text's share of each row, would
cost more (docs/kernels.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from lib_pladis import limits
from lib_pladis.attention import attend, check_call, standing_kernels
from lib_pladis.kernels.base import Result, check_mask, check_tensors
from lib_pladis.kernels.choice import PLAIN, Kernels
from lib_pladis.kernels.dense import plain, plain_with_lse
from lib_pladis.kernels.look import TokenWeights, token_weights
from lib_pladis.math.rule import Mix
from lib_pladis.math.sparse import without_autocast
from lib_pladis.text_keys import Keys, all_rows, each_row, groups_of, part_of_mask, rest_of

Plain = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Softmax attention of query, key and value, shapes as `pladis_attention`, without a mask."""


def joint_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    text_keys: slice | Tensor,
    image_queries: slice,
    pladis_scale: float = 2.0,
    alpha: float = 1.5,
    temperature: float = 1.0,
    rescale: float = 0.0,
    attn_mask: Tensor | None = None,
    scale: float | None = None,
    backend: str = "auto",
) -> Tensor:
    """Attention over text and image; image queries' weights on text keys are blended, and their sum is kept.

    query: (B, H, Lq, D). key: (B, H, Lk, D). value: (B, H, Lk, D). As `pladis_attention`.
    text_keys: the keys that are the prompt's own tokens: a slice, or a bool mask (Lk,) or (B, Lk). All others,
        including padding, keep their weights.
    image_queries: the queries to blend, a slice; the others are plain attention.
    rescale: phi, applied to the part of the output that comes from the text keys.
    pladis_scale, alpha, temperature, attn_mask, scale, backend: as `pladis_attention`.

    Returns (B, H, Lq, D) in the dtype of query. The result carries no gradient.
    Raises ValueError that names the argument, what it was, and what is allowed.
    """
    kernels, mix = standing_kernels(backend), check_call(pladis_scale, alpha, temperature, rescale)
    if not isinstance(image_queries, slice) or not (image_queries.step is None or image_queries.step > 0):
        raise ValueError(f"image_queries: got {image_queries!r}, allowed: a slice that runs forwards")
    check_tensors(query, key, value)
    check_mask(attn_mask, query, key)
    text = each_row(text_keys, len(query), key.shape[2])
    return joint(kernels, query, key, value, mix, text, image_queries, attn_mask, scale).out


def joint(
    kernels: Kernels,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mix: Mix,
    text: Keys | Sequence[Keys],
    image: slice,
    mask: Tensor | None = None,
    scale: float | None = None,
    own: Plain | None = None,
) -> Result:
    """The same with the given kernels.

    text: the text keys of all rows, or of each row of the batch; rows without any are plain attention. image: the
    image's queries. own: the host's attention, used for what is not blended if there is no mask; by default torch's.
    """
    if scale is None:
        scale = 1.0 / math.sqrt(query.shape[-1])
    if mask is not None or image.step not in (None, 1):
        own = None
    if mix.why_plain or not range(query.shape[2])[image]:
        return Result(plain(query, key, value, mask, scale) if own is None else own(query, key, value), PLAIN)
    with torch.no_grad(), without_autocast(query.device.type):
        groups = groups_of(text, len(query), key.shape[2])
        rests = {rows.start: None if mask is not None else rest_of(keys, image, key.shape[2]) for rows, keys in groups}
        every_row = sum(rows.stop - rows.start for rows, _ in groups) == len(query)
        if not any(rests.values()) and (every_row or own is None):
            return _changed(kernels, (query, key, value), mix, groups, image, mask, scale, 0, own)
        out = query.new_empty(len(query), query.shape[2], query.shape[1], value.shape[3]).transpose(1, 2)
        used = Result(out, PLAIN)
        for rows, here in all_rows(groups, len(query)):
            inputs = query[rows], key[rows], value[rows]
            rest = rests.get(rows.start) if here else None
            if rest is None:
                result = _changed(kernels, inputs, mix, here, image, None, scale, rows.start, own)
                out[rows] = result.out
            else:
                result = _joined(out[rows], kernels, inputs, mix, here[0][1], rest, image, scale, own)
            used = used if result.kernel == PLAIN else result
    return Result(out, used.kernel, used.note)


def _changed(
    kernels: Kernels,
    inputs: tuple[Tensor, Tensor, Tensor],
    mix: Mix,
    groups: Sequence[tuple[slice, Keys]],
    image: slice,
    mask: Tensor | None,
    scale: float,
    first: int,
    own: Plain | None,
) -> Result:
    """Plain attention over all keys plus the change on the text keys. inputs: tensors of the rows from `first` on;
    groups: of all rows."""
    query, key, value = inputs
    if own is None or (groups and len(range(query.shape[2])[image]) == query.shape[2]):
        out, lse = plain_with_lse(query, key, value, mask, scale, image)
    elif groups:
        out = query.new_empty(len(query), query.shape[2], query.shape[1], value.shape[3]).transpose(1, 2)
        _fill_others(out, inputs, image, own)
        out[:, :, image], lse = plain_with_lse(query[:, :, image], key, value, None, scale, slice(None))
    else:
        return Result(own(query, key, value), PLAIN)
    result = Result(out, PLAIN)
    for these, keys in groups:
        here = slice(these.start - first, these.stop - first)
        parts = (query[here, :, image], key[here][:, :, keys], value[here][:, :, keys])
        part_mask = None if mask is None else part_of_mask(mask, query, key, image)[here][..., keys]
        result = _add(out[here, :, image], lse[here], kernels, parts, replace(mix, change=True), part_mask, scale)
    return Result(out, result.kernel, result.note)


def _joined(
    out: Tensor,
    kernels: Kernels,
    inputs: tuple[Tensor, Tensor, Tensor],
    mix: Mix,
    keys: Keys,
    rest: slice,
    image: slice,
    scale: float,
    own: Plain | None,
) -> Result:
    """Fill `out`: plain attention over the `rest` of the keys and blended attention over the text keys, merged, in
    groups of heads. Other queries attend to all keys."""
    query, key, value = inputs
    _fill_others(out, inputs, image, own or (lambda query, key, value: plain(query, key, value, None, scale)))
    query, text_key, text_value = query[:, :, image], key[:, :, keys], value[:, :, keys]
    key, value = key[:, :, rest], value[:, :, rest]
    result = Result(out, PLAIN)
    for part in _some_heads(query, value.shape[3], 2):
        target = out[:, part, image]
        result = attend(kernels, query[:, part], text_key[:, part], text_value[:, part], mix, None, scale, lse=True)
        if rest.start == rest.stop:
            target.copy_(result.out)
            continue
        others, lse = plain_with_lse(query[:, part], key[:, part], value[:, part], None, scale, slice(None))
        assert result.lse is not None
        share = (result.lse - lse).sigmoid_()
        torch.addcmul(others, result.out.sub_(others), share.unsqueeze(-1).to(out.dtype), out=target)
    return result


def _fill_others(out: Tensor, inputs: tuple[Tensor, Tensor, Tensor], image: slice, own: Plain) -> None:
    """Fill `out` for the queries before and after the image's: plain attention over all keys."""
    query, key, value = inputs
    span = range(query.shape[2])[image]
    for other in (slice(0, span.start), slice(span.stop, query.shape[2])):
        if other.start < other.stop:
            out[:, :, other] = own(query[:, :, other], key, value)


def _some_heads(query: Tensor, width: int, outputs: int) -> Iterator[slice]:
    """Groups of heads such that `outputs` tensors of their output, with `width` channels, fit in
    `limits.ADDED_BYTES`."""
    batch, heads, queries, _ = query.shape
    limit = limits.ADDED_BYTES.get(query.device.type, limits.ADDED_BYTES_ACCELERATOR)
    step = max(1, min(heads, limit // max(1, outputs * batch * queries * width * query.element_size())))
    for start in range(0, heads, step):
        yield slice(start, start + step)


def _add(
    out: Tensor,
    lse: Tensor,
    kernels: Kernels,
    inputs: tuple[Tensor, Tensor, Tensor],
    mix: Mix,
    mask: Tensor | None,
    scale: float,
) -> Result:
    """Add the change to `out`, a view of the output, in groups of heads."""
    result = Result(out, PLAIN)
    for part in _some_heads(inputs[0], out.shape[3], 1):
        query, key, value = (each[:, part] for each in inputs)
        part_mask = mask[:, part] if mask is not None and mask.shape[1] > 1 else mask
        result = attend(kernels, query, key, value, mix, part_mask, scale, lse=True)
        assert result.lse is not None
        share = (result.lse - lse[:, part]).exp_().nan_to_num_(0.0)
        out[:, part].add_(result.out.mul_(share.unsqueeze(-1).to(out.dtype)))
    return result


def text_weights(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mix: Mix,
    text: slice,
    image: slice,
    mask: Tensor | None,
    scale: float,
) -> TokenWeights | None:
    """Weights of the image's queries on the text keys, (B, image's queries, text keys); None without queries or keys.

    Shapes as `pladis_attention`. text: the text keys of all rows of the batch.
    """
    if not range(query.shape[2])[image] or not range(key.shape[2])[text]:
        return None
    if mask is not None:
        mask = part_of_mask(mask, query, key, image)
    query = query[:, :, image]
    _, lse = plain_with_lse(query, key, value, mask, scale, slice(None))
    key, value, mask = key[:, :, text], value[:, :, text], None if mask is None else mask[..., text]
    _, lse_text = plain_with_lse(query, key, value, mask, scale, slice(None))
    return token_weights(query, key, mix, mask, scale, (lse_text - lse).exp_().nan_to_num_(0.0))
