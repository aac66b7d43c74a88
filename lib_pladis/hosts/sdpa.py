"""One call of torch's own attention, made by other code."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lib_pladis.facts import Facts, Positive, picked
from lib_pladis.kernels.base import DTYPES
from lib_pladis.models.base import TokenRanges
from lib_pladis.protocol import Attend, Call, TextAndImage

ATTENTION = torch._C._nn.scaled_dot_product_attention  # torch's own, whatever stands at its public name


class SdpaCall(Call):
    """tokens: where text is among the keys; None if all keys are text. rows: which rows of the network's batch are
    positive. The rest as `scaled_dot_product_attention`. ValueError for a call that can't be blended."""

    def __init__(
        self,
        tokens: TokenRanges | None,
        rows: Positive,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> None:
        if dropout_p or is_causal or any(x.dim() != 4 for x in (query, key, value)) or query.dtype not in DTYPES:
            raise ValueError("attention with dropout, a causal mask or an unusual dtype was left as it is")
        if torch.is_grad_enabled() and query.requires_grad:
            raise ValueError("attention whose gradient is wanted was left as it is")
        self.key = key
        self._tokens, self._scale = tokens, scale
        self._own = (query, key, value, attn_mask, scale, enable_gqa)
        if key.shape[1] != query.shape[1]:
            key, value = (each.repeat_interleave(query.shape[1] // each.shape[1], 1) for each in (key, value))
        self._inputs = query, key, value
        self.batch = len(query)
        known = rows is not None and len(rows) >= self.batch  # PAG's joint attentions are called for the first rows
        self.facts = Facts(rows[: self.batch] if known and rows else None, text=tokens)
        while attn_mask is not None and attn_mask.dim() < 4:
            attn_mask = attn_mask.unsqueeze(0)
        self._mask = attn_mask
        if tokens is not None:
            self._check(tokens, key)

    def _check(self, tokens: TokenRanges, key: Tensor) -> None:
        """ValueError unless the attention is over the text and image that were found."""
        if len(tokens.text) < self.batch:
            raise ValueError(
                f"attention for {self.batch} texts, where the network has {len(tokens.text)}, was left as it is"
            )
        if max(each.stop for each in tokens.text[: self.batch]) > key.shape[2]:
            raise ValueError(f"attention over fewer tokens ({key.shape[2]}) than the text has was left as it is")

    def own(self) -> Tensor:
        query, key, value, mask, scale, gqa = self._own
        more = {"enable_gqa": True} if gqa else {}  # torch 2.5
        return ATTENTION(query, key, value, attn_mask=mask, scale=scale, **more)

    def blended(self, rows: Sequence[int] | None, attend: Attend) -> Tensor:
        places = list(range(self.batch)) if rows is None else rows
        query, key, value = (picked(each, rows) for each in self._inputs)
        mask = None if self._mask is None else picked(self._mask.expand(self.batch, -1, -1, -1), rows)
        if self._tokens is None:
            return attend(query, key, value, mask, self._scale, None)
        text = [self._tokens.text[place] for place in places]
        images = [self._tokens.images[place] if self._tokens.images else self._tokens.image for place in places]
        if all(image == images[0] for image in images):
            return attend(query, key, value, mask, self._scale, TextAndImage(text, images[0]))
        masks = [None] * len(places) if mask is None else mask.expand(len(places), -1, -1, -1).split(1)
        each = zip(query.split(1), key.split(1), value.split(1), masks, text, images)
        outs = [attend(q, k, v, m, self._scale, TextAndImage([own], image)) for q, k, v, m, own, image in each]
        return torch.cat(outs)
