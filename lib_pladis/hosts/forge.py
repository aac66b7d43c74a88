"""Forge, Forge Neo, reForge, Forge Classic: attn2 replacements in the U-Net patcher's `model_options`; for transformers
their attention function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lib_pladis.facts import Facts, Positive, picked, selection
from lib_pladis.hosts.base import merge_heads, model_kind, owner_of, split_heads, without_ours
from lib_pladis.hosts.forward import InsideForward, foreign_forward, modules_of_class
from lib_pladis.hosts.function import OVERRIDDEN, OVERRIDE, FunctionHooks, options_of
from lib_pladis.hosts.padding import padded
from lib_pladis.models.base import Inputs, LayerName
from lib_pladis.models.unet import CLIP_CHUNK
from lib_pladis.protocol import Attend, Call, Current, HostModel, Installed, Now

PlainAttention = Callable[..., Tensor]
"""Takes query, key, value, heads, and by name those of FOR_ATTENTION that the host passes on."""

Replacement = Callable[[Tensor, Tensor, Tensor, dict[str, Any]], Tensor]

FOR_ATTENTION = ("attn_precision",)
"""Entries of `extra_options` that belong to the attention function (reForge)."""

UNGUARDED = "guard_filter_fn"
"""Forge Neo's torch.compile preset in which a compiled U-Net does not notice that attention has been replaced."""

SAME = 1e-3
"""Largest difference between keys of the same token, relative to the largest key: products may round differently."""


def torch_attention(query: Tensor, key: Tensor, value: Tensor, heads: int, **_: Any) -> Tensor:
    """Softmax attention over (B, L, H·D)."""
    q, k, v = (split_heads(x, heads) for x in (query, key, value))
    return merge_heads(torch.nn.functional.scaled_dot_product_attention(q, k, v))


class ForgeModel(HostModel):
    """The U-Net patcher in use (`sd_model.forge_objects.unet`).

    `install` replaces its `model_options` by a copy that shares everything but the path to our entries; `clone()` would
    deep-copy other extensions' objects. plain_attention: the host's own, for rows that aren't blended.
    """

    def __init__(self, sd_model: Any, plain_attention: PlainAttention = torch_attention) -> None:
        self.unet = sd_model.forge_objects.unet
        self.network = self.unet.model.diffusion_model
        self.kind = model_kind(sd_model, self.network)
        self._plain_attention = plain_attention
        self._replaced: list[torch.nn.Module] = []
        engine = getattr(sd_model, "text_processing_engine_t5", getattr(sd_model, "text_processing_engine_gemma", None))
        clip = getattr(sd_model, "text_processing_engine_l", None) if self.kind == "sd3" else None
        self._own_tokens = padded(engine, clip) if hasattr(engine, "id_pad") else None
        self._theirs: dict[str, Any] | None = None
        self._ours: dict[str, Any] | None = None

    def serves(self, other: HostModel) -> bool:
        if not (isinstance(other, ForgeModel) and other.unet is self.unet):
            return False
        if self._ours is None:
            return super().serves(other)
        # Forge doesn't call `forward` where there is a replacement: a foreign one set meanwhile would have no effect
        foreign = any(map(_foreign, self._replaced))
        return self.unet.model_options is self._ours and not foreign and all(hook.in_place() for hook in self.hooks)

    def _patched(self) -> bool:
        """Whether another extension changes what the layers are given."""
        patches = self.unet.model_options.get("transformer_options", {}).get("patches", {})
        return bool(patches.get("attn2_patch"))

    def install(self, names: Sequence[LayerName], current: Current) -> Installed:
        compiled = is_compiled(self.unet.model)
        if all(self.layers[name].locate for name in names):
            functions = FunctionHooks(self.network, _label, self._own_tokens, compiled)
            self.hooks = [functions]
            return functions.install([self.layers[name] for name in names], current)
        if UNGUARDED in getattr(self.unet.model, "_torch_compile_config", ()):
            return Installed(
                why_none="a U-Net compiled with guard_filter_fn can't be changed; choose another torch.compile preset"
            )
        outcome, calls = Installed(), _NetworkCalls(self._patched)
        inside: list[InsideForward] = []
        options = dict(self.unet.model_options)
        transformer = options["transformer_options"] = dict(options.get("transformer_options", {}))
        replace = transformer["patches_replace"] = dict(transformer.get("patches_replace", {}))
        attn2 = replace["attn2"] = dict(replace.get("attn2", {}))
        for name in names:
            side, number, depth = self.layers[name].place
            place = (side, number if side != "middle" else 0, depth)
            foreign = without_ours(attn2.get(place, attn2.get(place[:2])))  # like Forge, the longer key first
            if foreign is not None and not _adds_to_softmax(foreign):
                outcome.foreign[name] = owner_of(foreign)
                continue
            module = self.layers[name].module
            forward = _foreign(module) if foreign is None else None
            if forward is not None and compiled:
                outcome.foreign[name] = owner_of(forward)
                continue
            if forward is not None:
                inside.append(InsideForward(name, module, current))
            else:
                replacement = _replacement(name, current, foreign, self._plain_attention, calls)
                attn2[place] = torch.compiler.disable(replacement) if compiled else replacement
                self._replaced.append(module)
            outcome.hooked.append(name)
            if foreign is not None or forward is not None:
                outcome.chained.append(name)
        self.hooks = inside
        if outcome.hooked:
            self._theirs, self._ours = self.unet.model_options, options
            self.unet.model_options = options
        return outcome

    def remove(self) -> None:
        super().remove()
        if self._ours is not None and self.unet.model_options is self._ours:
            self.unet.model_options = self._theirs
        self._theirs = self._ours = None
        self._replaced.clear()


def model_of(sd_model: Any) -> ForgeModel | None:
    """The adapter for a model of Forge's or its forks', with the host's own attention."""
    return ForgeModel(sd_model, _host_attention()) if hasattr(sd_model, "forge_objects") else None


def _foreign(module: torch.nn.Module) -> Callable[..., Tensor] | None:
    """Another extension's `forward` of an attn2, set on the instance or on the class; None if there is none."""
    of_class = type(module).forward
    return foreign_forward(module) or (None if owner_of(of_class) in modules_of_class(module) else of_class)


def is_compiled(model: Any) -> bool:
    """Whether the network is compiled (reForge), or will be in its next call (Forge Neo). Our functions must stay out
    of its graphs, because they depend on the settings."""
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
    name: LayerName,
    current: Current,
    foreign: Replacement | None,
    plain_attention: PlainAttention,
    calls: _NetworkCalls,
) -> Replacement:
    # a closure, not an object: deepcopy of model_options (UnetPatcher.clone) leaves functions as they are
    def pladis(query: Tensor, key: Tensor, value: Tensor, extra_options: dict[str, Any]) -> Tensor:
        call = _Call(query, key, value, extra_options, foreign, plain_attention)
        now = current()
        if now is None:
            calls.forget()
            return call.own()
        if OVERRIDE in extra_options:
            now.skip_call(OVERRIDDEN)
            return call.own()
        call.facts = calls.facts(name, call, now)
        return now.answer(name, call)

    pladis.pladis_before = foreign  # type: ignore[attr-defined]
    return pladis


class _NetworkCalls:
    """The facts of each network call, read once from the keys of its first layer: all layers' keys come from one text.

    A call is new where its list of labels is another object, or where a layer is called again. Where others change what
    a layer is given (`attn2_patch`), each layer's own keys are read.
    """

    def __init__(self, patched: Callable[[], bool]) -> None:
        self._patched = patched
        self._seen: set[LayerName] = set()
        self._of: tuple[object, ...] = ()
        self._facts = Facts()

    def facts(self, name: LayerName, call: _Call, now: Now) -> Facts:
        of = (call.extra_options.get("cond_or_uncond"), call.batch, call.key.shape[1])
        same = len(self._of) == len(of) and self._of[0] is of[0] and self._of[1:] == of[1:]
        if not same or name in self._seen or self._patched():
            self._seen.clear()
            rows = labelled_rows(call.extra_options, call.batch)
            self._of, self._facts = of, Facts(rows, own_keys(call.key, call.value, rows, now))
        self._seen.add(name)
        return self._facts

    def forget(self) -> None:
        """Release the last call's tensors."""
        self._seen.clear()
        self._of, self._facts = (), Facts()


@dataclass(eq=False)
class _Call(Call):
    """One call of a replacement: projected query, key and value, (B, L, H·D)."""

    query: Tensor
    key: Tensor
    value: Tensor
    extra_options: dict[str, Any]
    foreign: Replacement | None
    plain_attention: PlainAttention
    by_subprompt = True

    def __post_init__(self) -> None:
        self.batch, self.adds = len(self.query), self.foreign is not None

    def own(self) -> Tensor:
        if self.foreign is not None:
            return self.foreign(self.query, self.key, self.value, self.extra_options)
        given = {name: self.extra_options[name] for name in FOR_ATTENTION if name in self.extra_options}
        if OVERRIDE in self.extra_options:
            given["transformer_options"] = self.extra_options
        return self.plain_attention(self.query, self.key, self.value, self.extra_options["n_heads"], **given)

    def blended(self, rows: Sequence[int] | None, attend: Attend) -> Tensor:
        """Rows with keys that only repeat others are blended without those."""
        heads = self.extra_options["n_heads"]
        query, key, value = (picked(part, rows) for part in (self.query, self.key, self.value))
        own = self.facts.own_keys
        if rows is not None and own:
            own = tuple(own[row] for row in rows)
        if set(own) <= {key.shape[1]}:
            q, k, v = (split_heads(x, heads) for x in (query, key, value))
            return merge_heads(attend(q, k, v, None, None, None))
        out = torch.empty_like(query)
        for count in dict.fromkeys(own):
            group = selection(tuple(row for row, keys in enumerate(own) if keys == count), query.device)
            q, k, v = (split_heads(x, heads) for x in (query[group], key[group, :count], value[group, :count]))
            out[group] = merge_heads(attend(q, k, v, None, None, None))
        return out


def labelled_rows(extra_options: Mapping[str, Any], batch: int) -> Positive:
    """Which rows are positive, from `cond_or_uncond`: 0 = positive, one entry for each chunk of the batch.

    The labels are valid for the host's own batch, which has as many rows per chunk as there are `sigmas`. If an
    extension has made a batch of another size (tiles, regions), the rows are unknown.
    """
    chunks = extra_options.get("cond_or_uncond")
    if not chunks or batch % len(chunks):
        return None
    rows = batch // len(chunks)
    sigmas = extra_options.get("sigmas")
    if sigmas is not None and len(sigmas) != rows:
        return None
    return tuple(chunk == 0 for chunk in chunks for _ in range(rows))


def _label(call: Inputs, batch: int, now: Now) -> Positive:
    return labelled_rows(options_of(call), batch)


def own_keys(key: Tensor, value: Tensor, positive: Positive, now: Now) -> tuple[int, ...]:
    """The number of each row's own keys, which come first, if all others repeat them; () if no row has repeats.

    Forge and some extensions repeat the shorter prompt's tokens to the length of the longer one. This does not change
    softmax, but it changes α-entmax, whose threshold depends on every key. A known row has its prompt's length; an
    unknown one may have any number of CLIP's chunks.
    """
    batch, keys = key.shape[:2]
    own = [keys] * batch
    conditions = now.conditions()
    wanted: list[tuple[int, ...]]
    if positive is None:
        wanted = [tuple(range(CLIP_CHUNK, keys, CLIP_CHUNK))] * batch
    else:
        wanted = [(conditions.tokens(is_positive) or keys,) for is_positive in positive]
    for count in sorted({count for counts in wanted for count in counts if count < keys and keys % count == 0}):
        repeats = _repeats(key, count) & _repeats(value, count)
        for row, (repeated, counts) in enumerate(zip(repeats.tolist(), wanted)):
            if repeated and count in counts:
                own[row] = min(own[row], count)
    return () if set(own) == {keys} else tuple(own)


def _repeats(x: Tensor, period: int) -> Tensor:
    """Which rows of (B, L, C) repeat their first `period` entries to the end: bool (B,)."""
    difference = (x[:, period:] - x[:, :-period]).abs().amax((1, 2))
    return difference <= SAME * x.abs().amax((1, 2))
