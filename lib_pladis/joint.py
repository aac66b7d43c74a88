"""PLADIS where text and image share one attention: only what an image query spends on the text is blended anew.

FLUX, SD3 and their kind attend over text and image at once. Of a row's dense weights, m lies on the text:

    w[text] = m ((1 − λ) softmax(z_text) + λ α-entmax(z_text)),   w[image] unchanged,

so the row still sums to 1. Without a score matrix over all keys:

    out = dense + m λ (α-entmax − softmax)(z_text) V_text,   m = exp(lse_text − lse_all).

Keys that are no part of the prompt (padding) belong to the rest: α-entmax's threshold would count every one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from lib_pladis.attention import attend, check_call, check_mask, check_tensors, standing_kernels
from lib_pladis.kernels.base import NOTHING, Result, TokenWeights, Want
from lib_pladis.kernels.choice import PLAIN, Kernels
from lib_pladis.kernels.dense import plain, plain_with_lse
from lib_pladis.kernels.look import token_weights
from lib_pladis.math.rule import Mix
from lib_pladis.math.sparse import without_autocast

Keys = slice | Tensor
"""Key columns: a slice, or their indices, int64."""

CHUNK_BYTES = {"cpu": 16 << 20}
"""Of the change at once: heads are taken in groups that need no more."""

CHUNK_BYTES_ACCELERATOR = 64 << 20


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
    """Attention over text and image in which image queries' weights on text keys are blended, their sum kept.

    query: (B, H, Lq, D). key: (B, H, Lk, D). value: (B, H, Lk, D). As `pladis_attention`.
    text_keys: which keys are the prompt's own tokens: a slice, or a bool mask (Lk,) or (B, Lk). All others,
        padding too, keep their weights.
    image_queries: which queries are blended, a slice; the others attend as they would.
    rescale: phi, of the part of the output that comes from the text keys.
    pladis_scale, alpha, temperature, attn_mask, scale, backend: as `pladis_attention`.

    Returns (B, H, Lq, D) in the dtype of query. The result carries no gradient.
    Raises ValueError that names the argument, what it was, and what is allowed.
    """
    kernels, mix = standing_kernels(backend), check_call(pladis_scale, alpha, temperature, rescale)
    if not isinstance(image_queries, slice):
        raise ValueError(f"image_queries: got {image_queries!r}, allowed: a slice")
    check_tensors(query, key, value)
    check_mask(attn_mask, query, key)
    text = _each_row(text_keys, len(query), key.shape[2])
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
    want: Want = NOTHING,
) -> Result:
    """The same by kernels of one's own. text: of all rows, or one entry for each row of the batch; a row with none is
    left as it is. `want.tokens` are key columns; those that aren't a row's text have weights of zero there."""
    if scale is None:
        scale = 1.0 / math.sqrt(query.shape[-1])
    if mix.why_plain:
        return Result(plain(query, key, value, mask, scale), PLAIN)
    with torch.no_grad(), without_autocast(query.device.type):
        out, lse = plain_with_lse(query, key, value, mask, scale, image)
        result = Result(out, PLAIN)
        looked = _Looked(want.tokens, query, image)
        for rows, keys in _groups(text, len(query), key.shape[2]):
            inputs = (query[rows, :, image], key[rows][:, :, keys], value[rows][:, :, keys])
            part_mask = None if mask is None else _of(mask, query, key, rows, image, keys)
            mass = torch.empty_like(lse[rows]) if want.tokens else None
            result = _add(
                out[rows, :, image], lse[rows], kernels, inputs, replace(mix, change=True), part_mask, scale, mass
            )
            looked.add(rows, keys, inputs, mix, part_mask, scale, mass)
    return Result(out, result.kernel, result.note, token_weights=looked.weights)


def _add(
    out: Tensor,
    lse: Tensor,
    kernels: Kernels,
    inputs: tuple[Tensor, Tensor, Tensor],
    mix: Mix,
    mask: Tensor | None,
    scale: float,
    mass: Tensor | None,
) -> Result:
    """Add the change to `out`, a view of the output, some heads at a time; fill `mass`."""
    batch, heads, queries, dim = out.shape
    limit = CHUNK_BYTES.get(out.device.type, CHUNK_BYTES_ACCELERATOR)
    step = max(1, min(heads, limit // max(1, batch * queries * dim * out.element_size())))
    result = Result(out, PLAIN)
    for start in range(0, heads, step):
        part = slice(start, start + step)
        query, key, value = (each[:, part] for each in inputs)
        part_mask = mask[:, part] if mask is not None and mask.shape[1] > 1 else mask
        result = attend(kernels, query, key, value, mix, part_mask, scale, Want(lse=True))
        assert result.lse is not None
        share = (result.lse - lse[:, part]).exp_().nan_to_num_(0.0)
        if mass is not None:
            mass[:, part] = share
        out[:, part].add_(result.out.mul_(share.unsqueeze(-1).to(out.dtype)))
    return result


class _Looked:
    """Token weights of a joint attention, put together from its rows."""

    def __init__(self, tokens: tuple[int, ...], query: Tensor, image: slice) -> None:
        self.tokens = tokens
        self.weights: TokenWeights | None = None
        if tokens:
            shape = (len(query), len(range(query.shape[2])[image]))
            by_token = [torch.zeros(*shape, len(tokens), device=query.device) for _ in range(2)]
            self.weights = TokenWeights(*by_token, *(torch.zeros(shape, device=query.device) for _ in range(3)))

    def add(
        self,
        rows: slice,
        keys: Keys,
        inputs: tuple[Tensor, Tensor, Tensor],
        mix: Mix,
        mask: Tensor | None,
        scale: float,
        mass: Tensor | None,
    ) -> None:
        if self.weights is None:
            return
        query, key, _ = inputs
        columns = list(range(keys.start or 0, (keys.start or 0) + key.shape[2])) if isinstance(keys, slice) else None
        columns = keys.tolist() if columns is None else columns  # type: ignore[union-attr]
        here = [(place, columns.index(token)) for place, token in enumerate(self.tokens) if token in columns]
        found = token_weights(query, key, mix, mask, scale, tuple(column for _, column in here), mass)
        for place, (token, _) in enumerate(here):
            self.weights.blended[rows, :, token] = found.blended[..., place]
            self.weights.dense[rows, :, token] = found.dense[..., place]
        for name in ("kept", "entropy_dense", "entropy_sparse"):
            getattr(self.weights, name)[rows] = getattr(found, name)


def _groups(text: Keys | Sequence[Keys], batch: int, keys: int) -> list[tuple[slice, Keys]]:
    """Stretches of rows with the same text keys; slices with their ends named."""
    if isinstance(text, (slice, Tensor)):
        text = [text] * batch
    groups: list[tuple[slice, Keys]] = []
    for row, columns in enumerate(text):
        if isinstance(columns, slice):
            span = range(keys)[columns]
            columns = slice(span.start, span.stop)
            if not len(span):
                continue
        elif not len(columns):
            continue
        last = groups[-1] if groups else None
        if last is not None and last[0].stop == row and _same(last[1], columns):
            groups[-1] = (slice(last[0].start, row + 1), columns)
        else:
            groups.append((slice(row, row + 1), columns))
    return groups


def _same(one: Keys, other: Keys) -> bool:
    return one is other or (isinstance(one, slice) and isinstance(other, slice) and one == other)


def _of(mask: Tensor, query: Tensor, key: Tensor, rows: slice, image: slice, keys: Keys) -> Tensor:
    """The part of a mask that these rows, queries and keys have; a head dim of 1 stays."""
    while mask.dim() < 4:
        mask = mask.unsqueeze(0)
    mask = mask.expand(len(query), mask.shape[1], query.shape[2], key.shape[2])
    return mask[rows, :, image][..., keys]


def _each_row(text_keys: object, batch: int, keys: int) -> Keys | list[Keys]:
    """A slice as it is; of a mask the indices, of each row where it has rows."""
    if isinstance(text_keys, slice):
        if text_keys.step not in (None, 1):
            raise ValueError(f"text_keys: got {text_keys}, allowed: a slice without a step, or a bool mask")
        return text_keys
    if not isinstance(text_keys, Tensor) or text_keys.dtype != torch.bool:
        got = text_keys.dtype if isinstance(text_keys, Tensor) else type(text_keys).__name__
        raise ValueError(f"text_keys: got {got}, allowed: a slice, or a bool mask (Lk,) or (B, Lk)")
    if tuple(text_keys.shape) not in ((keys,), (batch, keys)):
        raise ValueError(f"text_keys: got shape {tuple(text_keys.shape)}, allowed: ({keys},) or ({batch}, {keys})")
    if text_keys.dim() == 1:
        return text_keys.nonzero().flatten()
    return [row.nonzero().flatten() for row in text_keys]
