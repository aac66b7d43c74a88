"""Forge, Forge Neo, reForge, Forge Classic: attn2 replacements in the U-Net patcher's `model_options`; for transformers
their attention function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from lib_pladis.hosts.base import (
    Attend,
    Call,
    Current,
    HostModel,
    Installed,
    answer,
    merge_heads,
    model_kind,
    without_ours,
)
from lib_pladis.hosts.base import split_heads as split
from lib_pladis.hosts.function import FunctionHooks, NetworkCall
from lib_pladis.hosts.prompts import by_prompt, padded
from lib_pladis.models import find_layers
from lib_pladis.models.base import Layer, LayerName
from lib_pladis.models.unet import CLIP_CHUNK
from lib_pladis.run.step import Now, Positive

PlainAttention = Callable[..., Tensor]
"""query, key, value, heads; by name what the host hands to replacements for it, of FOR_ATTENTION."""

Replacement = Callable[[Tensor, Tensor, Tensor, dict[str, Any]], Tensor]

FOR_ATTENTION = ("attn_precision",)
"""What a replacement is given that is for the attention function, of hosts that have it: reForge."""

UNGUARDED = "guard_filter_fn"
"""Forge Neo's preset of torch.compile in which a compiled U-Net doesn't notice that attention was replaced, or is not
any more."""

SAME = 1e-3
"""Keys of one token differ by less than this, as part of the largest, where a product rounds them differently."""


def torch_attention(query: Tensor, key: Tensor, value: Tensor, heads: int, **_: Any) -> Tensor:
    """Softmax attention over (B, L, H·D)."""
    q, k, v = (split(x, heads) for x in (query, key, value))
    return merge_heads(torch.nn.functional.scaled_dot_product_attention(q, k, v))


class ForgeModel:
    """The U-Net patcher in use (`sd_model.forge_objects.unet`).

    Its `model_options` is replaced by a copy that shares everything but the path to our entries, and put
    back by `remove`; `clone()` would deep-copy other extensions' objects. `plain_attention` is the host's
    own attention function, for the rows that are not blended.
    """

    def __init__(self, sd_model: Any, plain_attention: PlainAttention = torch_attention) -> None:
        self.unet = sd_model.forge_objects.unet
        self.kind = model_kind(sd_model, self.unet.model.diffusion_model)
        self._plain_attention = plain_attention
        self._functions: FunctionHooks | None = None
        engine = getattr(sd_model, "text_processing_engine_t5", getattr(sd_model, "text_processing_engine_gemma", None))
        clip = getattr(sd_model, "text_processing_engine_l", None) if self.kind == "sd3" else None
        self._find_own = by_prompt(padded(engine, clip) if hasattr(engine, "id_pad") else None)
        self._theirs: dict[str, Any] | None = None
        self._ours: dict[str, Any] | None = None

    @classmethod
    def knows(cls, sd_model: Any) -> bool:
        """As `HostModel`."""
        return hasattr(sd_model, "forge_objects")

    @classmethod
    def of(cls, sd_model: Any) -> ForgeModel:
        """As `HostModel`."""
        return cls(sd_model, _host_attention())

    @cached_property
    def layers(self) -> Mapping[LayerName, Layer]:
        """As `HostModel`."""
        return find_layers(self.unet.model.diffusion_model)

    def same_as(self, other: HostModel) -> bool:
        """As `HostModel`."""
        return isinstance(other, ForgeModel) and other.unet.model is self.unet.model

    def serves(self, other: HostModel) -> bool:
        """As `HostModel`."""
        return isinstance(other, ForgeModel) and other.unet is self.unet and self._in_place()

    def _in_place(self) -> bool:
        if self._functions is not None:
            return self._functions.in_place()
        return self._ours is not None and self.unet.model_options is self._ours

    def install(self, names: Sequence[LayerName], current: Current) -> Installed:
        """As `HostModel`."""
        if all(self.layers[name].locate for name in names):
            self._functions = FunctionHooks(self.unet.model.diffusion_model, _label, self._find_own)
            return self._functions.install([self.layers[name] for name in names], current)
        if UNGUARDED in getattr(self.unet.model, "_torch_compile_config", ()):
            return Installed(
                why_none="a U-Net compiled with guard_filter_fn can't be hooked; take another preset there"
            )
        compiled = is_compiled(self.unet.model)
        outcome = Installed()
        options = dict(self.unet.model_options)
        transformer = options["transformer_options"] = dict(options.get("transformer_options", {}))
        replace = transformer["patches_replace"] = dict(transformer.get("patches_replace", {}))
        attn2 = replace["attn2"] = dict(replace.get("attn2", {}))
        for name in names:
            side, number, depth = self.layers[name].place
            place = (side, number if side != "middle" else 0, depth)
            foreign = without_ours(attn2.get(place, attn2.get(place[:2])))  # Forge, too, takes the longer key first
            if foreign is not None and not _adds_to_softmax(foreign):
                outcome.foreign[name] = str(getattr(foreign, "__module__", "unknown"))
                continue
            replacement = _replacement(name, current, foreign, self._plain_attention)
            attn2[place] = torch.compiler.disable(replacement) if compiled else replacement
            outcome.hooked.append(name)
            if foreign is not None:
                outcome.chained.append(name)
        if outcome.hooked:
            self._theirs, self._ours = self.unet.model_options, options
            self.unet.model_options = options
        return outcome

    def remove(self) -> None:
        """As `HostModel`."""
        if self._functions is not None:
            self._functions.remove()
            self._functions = None
        if self._in_place():
            self.unet.model_options = self._theirs
        self._theirs = self._ours = None


def is_compiled(model: Any) -> bool:
    """Whether torch.compile's is the network (reForge), or will be for each call (Forge Neo). Its graphs leave our
    functions out: what these look at changes with every setting."""
    return hasattr(model.diffusion_model, "_orig_mod") or bool(getattr(model, "_torch_compile_config", None))


def _host_attention() -> PlainAttention:
    try:
        from backend.attention import attention_function
    except ImportError:
        try:
            from ldm_patched.ldm.modules.attention import optimized_attention as attention_function
        except ImportError:
            return torch_attention
    return attention_function


def _adds_to_softmax(replacement: Any) -> bool:
    """Whether a replacement is softmax attention plus something: IP-Adapter's CrossAttentionPatch."""
    return hasattr(replacement, "set_new_condition")


def _replacement(
    name: LayerName, current: Current, foreign: Replacement | None, plain_attention: PlainAttention
) -> Replacement:
    # a closure, not an object: deepcopy of model_options (UnetPatcher.clone) leaves functions as they are
    def pladis(query: Tensor, key: Tensor, value: Tensor, extra_options: dict[str, Any]) -> Tensor:
        call = _Call(query, key, value, extra_options, foreign, plain_attention)
        now = current()
        return call.own() if now is None else answer(now, name, call)

    pladis.pladis_before = foreign  # type: ignore[attr-defined]
    return pladis


class _Call(Call):
    """One call of a replacement: projected query, key and value, (B, L, H·D)."""

    by_part = True

    def __init__(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        extra_options: dict[str, Any],
        foreign: Replacement | None,
        plain_attention: PlainAttention,
    ) -> None:
        self.query, self.key, self.value = query, key, value
        self.extra_options = extra_options
        self.foreign = foreign
        self.plain_attention = plain_attention
        self.batch = len(query)
        self.adds = foreign is not None

    def positive(self, now: Now) -> Positive:
        """As `Call`: from `cond_or_uncond`."""
        return labelled_rows(self.extra_options, self.batch)

    def own(self) -> Tensor:
        """As `Call`."""
        if self.foreign is not None:
            return self.foreign(self.query, self.key, self.value, self.extra_options)
        given = {name: self.extra_options[name] for name in FOR_ATTENTION if name in self.extra_options}
        return self.plain_attention(self.query, self.key, self.value, self.extra_options["n_heads"], **given)

    def blended(self, rows: Tensor | None, attend: Attend, now: Now) -> Tensor:
        """As `Call`: rows with keys that only repeat others are blended without those."""
        heads = self.extra_options["n_heads"]
        parts = (self.query, self.key, self.value)
        query, key, value = parts if rows is None else (part[rows] for part in parts)
        positive = labelled_rows(self.extra_options, self.batch)
        if positive is not None and rows is not None:
            positive = tuple(positive[row] for row in rows.tolist())
        own = own_keys(key, value, positive, now)
        if set(own) == {key.shape[1]}:
            return merge_heads(attend(split(query, heads), split(key, heads), split(value, heads), None, None))
        out = torch.empty_like(query)
        for count in dict.fromkeys(own):
            group = torch.tensor([row for row, keys in enumerate(own) if keys == count], device=query.device)
            q, k, v = (split(x, heads) for x in (query[group], key[group, :count], value[group, :count]))
            out[group] = merge_heads(attend(q, k, v, None, None))
        return out


def labelled_rows(extra_options: Mapping[str, Any], batch: int) -> Positive:
    """Which rows are positive, from `cond_or_uncond`: 0 = positive, one entry for each chunk of the batch.

    The labels are for the batch that the host made, of as many rows a chunk as there are `sigmas`. A batch of
    another size was made of it by somebody else (tiles, regions), and how isn't said: its rows are unknown.
    """
    chunks = extra_options.get("cond_or_uncond")
    if not chunks or batch % len(chunks):
        return None
    rows = batch // len(chunks)
    sigmas = extra_options.get("sigmas")
    if sigmas is not None and len(sigmas) != rows:
        return None
    return tuple(chunk == 0 for chunk in chunks for _ in range(rows))


def _label(call: NetworkCall, batch: int, now: Now) -> Positive:
    return labelled_rows(call.options, batch)


def own_keys(key: Tensor, value: Tensor, positive: Positive, now: Now) -> list[int]:
    """How many keys of each row are its own: the first ones, where all others are seen to repeat them.

    Forge repeats the shorter prompt's tokens to the length of the longer's, and so do others who make rows.
    Softmax attention doesn't change by that, but α-entmax does: its threshold counts every key. A row that is
    known has the length of its prompt; one that isn't may have any number of CLIP's chunks.
    """
    batch, keys = key.shape[:2]
    own = [keys] * batch
    texts = now.step.texts()
    wanted: list[tuple[int, ...]]
    if positive is None:
        wanted = [tuple(range(CLIP_CHUNK, keys, CLIP_CHUNK))] * batch
    else:
        wanted = [(texts.tokens(is_positive) or keys,) for is_positive in positive]
    for count in sorted({count for counts in wanted for count in counts if count < keys and keys % count == 0}):
        repeats = _repeats(key, count) & _repeats(value, count)
        for row, (repeated, counts) in enumerate(zip(repeats.tolist(), wanted)):
            if repeated and count in counts:
                own[row] = min(own[row], count)
    return own


def _repeats(x: Tensor, period: int) -> Tensor:
    """Which rows of (B, L, C) repeat their first `period` entries to the end: bool (B,)."""
    difference = (x[:, period:] - x[:, :-period]).abs().amax((1, 2))
    return difference <= SAME * x.abs().amax((1, 2))
