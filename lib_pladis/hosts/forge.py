"""Forge, reForge, Forge Classic: attn2 replacements in the U-Net patcher's `model_options`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from lib_pladis.blend import Blend
from lib_pladis.hosts.protocol import HostModel, Installed
from lib_pladis.hosts.unet import CrossAttentionLayer, find_layers, merge_heads, model_kind, split_heads
from lib_pladis.layers import LayerName

PlainAttention = Callable[[Tensor, Tensor, Tensor, int], Tensor]
Replacement = Callable[[Tensor, Tensor, Tensor, dict[str, Any]], Tensor]
_SIDES = {"d": "input", "m": "middle", "u": "output"}


def torch_attention(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    """Softmax attention over (B, L, H·D)."""
    return merge_heads(torch.nn.functional.scaled_dot_product_attention(*_split(heads, query, key, value)))


class ForgeModel:
    """The U-Net patcher in use (`sd_model.forge_objects.unet`).

    Its `model_options` is replaced by a copy that shares everything but the path to our entries, and put
    back by `remove`; `clone()` would deep-copy other extensions' objects. `plain_attention` is the host's
    own attention function, for the rows that are not blended.
    """

    def __init__(self, sd_model: Any, plain_attention: PlainAttention = torch_attention) -> None:
        self.kind = model_kind(sd_model)
        self.unet = sd_model.forge_objects.unet
        self._plain_attention = plain_attention
        self._theirs: dict[str, Any] | None = None
        self._ours: dict[str, Any] | None = None

    @cached_property
    def layers(self) -> Mapping[LayerName, CrossAttentionLayer]:
        return find_layers(self.unet.model.diffusion_model)

    def same_as(self, other: HostModel) -> bool:
        return isinstance(other, ForgeModel) and other.unet.model is self.unet.model

    def serves(self, other: HostModel) -> bool:
        return isinstance(other, ForgeModel) and other.unet is self.unet and self._in_place()

    def _in_place(self) -> bool:
        return self._ours is not None and self.unet.model_options is self._ours

    def install(self, names: Sequence[LayerName], blend: Blend) -> Installed:
        outcome = Installed()
        options = dict(self.unet.model_options)
        transformer = options["transformer_options"] = dict(options.get("transformer_options", {}))
        replace = transformer["patches_replace"] = dict(transformer.get("patches_replace", {}))
        attn2 = replace["attn2"] = dict(replace.get("attn2", {}))
        for name in names:
            layer = self.layers[name]
            side, number = _SIDES[layer.side], layer.index if layer.side != "m" else 0
            place = (side, number, name.depth)
            foreign = attn2.get(place, attn2.get((side, number)))  # Forge, too, takes the longer key first
            if foreign is not None and not _adds_to_softmax(foreign):
                outcome.foreign[name] = str(getattr(foreign, "__module__", "unknown"))
                continue
            attn2[place] = _replacement(blend, foreign, self._plain_attention)
            outcome.hooked.append(name)
            if foreign is not None:
                outcome.chained.append(name)
        if outcome.hooked:
            self._theirs, self._ours = self.unet.model_options, options
            self.unet.model_options = options
        return outcome

    def remove(self) -> None:
        if self._in_place():
            self.unet.model_options = self._theirs
        self._theirs = self._ours = None


def _adds_to_softmax(replacement: Any) -> bool:
    """Whether a replacement is softmax attention plus something: IP-Adapter's CrossAttentionPatch."""
    return hasattr(replacement, "set_new_condition")


def _positive(extra_options: Mapping[str, Any], batch: int) -> list[bool] | None:
    """Which rows are positive, from `cond_or_uncond` (0 = positive, one entry per chunk of the batch)."""
    chunks = extra_options.get("cond_or_uncond")
    if not chunks or batch % len(chunks):
        return None
    return [chunk == 0 for chunk in chunks for _ in range(batch // len(chunks))]


def _replacement(blend: Blend, foreign: Replacement | None, plain_attention: PlainAttention) -> Replacement:
    # a closure, not an object: deepcopy of model_options (UnetPatcher.clone) leaves functions as they are
    def pladis(query: Tensor, key: Tensor, value: Tensor, extra_options: dict[str, Any]) -> Tensor:
        heads, (batch, keys) = extra_options["n_heads"], key.shape[:2]
        positive = _positive(extra_options, batch)
        rows = blend.rows(positive, batch)
        groups = blend.by_own_keys(rows, positive, keys)
        if foreign is None and groups == {keys: list(range(batch))}:
            return merge_heads(blend.attend(*_split(heads, query, key, value)))
        if foreign is not None:
            out = foreign(query, key, value, extra_options)
        else:
            out = plain_attention(query, key, value, heads)
        out = out.clone() if rows else out
        for own, chosen in groups.items():
            index = torch.tensor(chosen, device=query.device)
            parts = _split(heads, query[index], key[index, :own], value[index, :own])
            if foreign is not None:
                out[index] += merge_heads(blend.change(*parts)).to(out.dtype)
            else:
                out[index] = merge_heads(blend.attend(*parts)).to(out.dtype)
        return out

    return pladis


def _split(heads: int, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return split_heads(query, heads), split_heads(key, heads), split_heads(value, heads)
