"""AUTOMATIC1111: wrap `forward` of each `attn2` instance, whatever optimizer the class uses; for SD3 its attention
function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from lib_pladis.facts import Facts, Positive, Texts, picked
from lib_pladis.hosts.base import merge_heads, model_kind, says_nothing, split_heads
from lib_pladis.hosts.forward import ForwardHook, InsideForward, foreign_forward
from lib_pladis.hosts.function import FunctionHooks, Label, NetworkCall
from lib_pladis.hosts.prompts import by_prompt, in_two_parts
from lib_pladis.models import find_layers
from lib_pladis.models.base import Layer, LayerName
from lib_pladis.protocol import Attend, Call, Current, HostModel, Installed, Now

HOSTS_OWN = frozenset({"modules.sd_hijack_optimizations"})
"""Where else than at its class AUTOMATIC1111 has forwards of its own."""

ProjectContext = Callable[[Tensor], tuple[Tensor, Tensor]]


def same_context(context: Tensor) -> tuple[Tensor, Tensor]:
    """The contexts for K and V of a host without hypernetworks."""
    return context, context


class A1111Model:
    """The model in use in AUTOMATIC1111 (`ldm` for SD1 and SD2, `sgm` for SDXL).

    `project_context` gives the separate contexts for K and V (hypernetworks), `upcast` tells whether the
    host's "Upcast cross attention layer to float32" is on.
    """

    def __init__(
        self,
        sd_model: Any,
        project_context: ProjectContext = same_context,
        upcast: Callable[[], bool] = lambda: False,
    ) -> None:
        self.diffusion_model: torch.nn.Module = sd_model.model.diffusion_model
        self.kind = model_kind(sd_model, self.diffusion_model)
        self.project_context = project_context
        self.upcast = upcast
        self._hooks: list[ForwardHook] = []
        self._functions: FunctionHooks | None = None
        encoder = getattr(sd_model, "cond_stage_model", None)
        engines = [getattr(encoder, name, None) for name in ("model_lg", "model_t5")]
        known = all(hasattr(engine, "tokenize_line") for engine in engines)
        self._find_own = by_prompt(in_two_parts(*engines) if known else None)

    @classmethod
    def knows(cls, sd_model: Any) -> bool:
        """As `HostModel`."""
        return hasattr(getattr(sd_model, "model", None), "diffusion_model")

    @classmethod
    def of(cls, sd_model: Any) -> A1111Model:
        """As `HostModel`."""
        from modules import shared
        from modules.hypernetworks import hypernetwork

        return cls(
            sd_model,
            project_context=lambda context: hypernetwork.apply_hypernetworks(shared.loaded_hypernetworks, context),
            upcast=lambda: bool(getattr(shared.opts, "upcast_attn", False)),
        )

    @cached_property
    def layers(self) -> Mapping[LayerName, Layer]:
        """As `HostModel`."""
        return find_layers(self.diffusion_model)

    def same_as(self, other: HostModel) -> bool:
        """As `HostModel`."""
        return isinstance(other, A1111Model) and other.diffusion_model is self.diffusion_model

    def serves(self, other: HostModel) -> bool:
        """As `HostModel`."""
        if self._functions is not None:
            return self.same_as(other) and self._functions.in_place()
        return self.same_as(other) and bool(self._hooks) and all(hook.in_place() for hook in self._hooks)

    def install(self, names: Sequence[LayerName], current: Current) -> Installed:
        """As `HostModel`."""
        rows = RowsByContext()
        if all(self.layers[name].locate for name in names):
            self._functions = FunctionHooks(self.diffusion_model, _label(rows), self._find_own)
            return self._functions.install([self.layers[name] for name in names], current)
        outcome = Installed()
        for name in names:
            module = self.layers[name].module
            foreign = foreign_forward(module, HOSTS_OWN)
            adapter = foreign is not None and _adds_to_softmax(module, foreign)
            if foreign is None or adapter:
                self._hooks.append(_Hook(name, module, current, self, rows, adds=adapter))
            else:
                self._hooks.append(InsideForward(name, module, current))
            outcome.hooked.append(name)
            if foreign is not None:
                outcome.chained.append(name)
        return outcome

    def remove(self) -> None:
        """As `HostModel`."""
        if self._functions is not None:
            self._functions.remove()
            self._functions = None
        while self._hooks:
            self._hooks.pop().remove()


def _adds_to_softmax(module: torch.nn.Module, forward: Callable[..., Tensor]) -> bool:
    """Whether a foreign `forward` is softmax attention plus something: sd-webui-controlnet's for IP-Adapter, while
    adapters are there. Judged by the function: what it puts on the module stays there when it has gone."""
    function = getattr(forward, "__func__", forward)
    name = (str(getattr(function, "__module__", "")).rpartition(".")[2], getattr(function, "__name__", ""))
    return name == ("plugable_ipadapter", "attn_forward_hacked") and bool(getattr(module, "ipadapter_hacks", None))


class RowsByContext:
    """Which rows of a network call are positive, told by their context: it begins as the prompt's condition does.

    So it is right whatever is called in a step, and in which order: unequal lengths, PAG, tiles. All layers of a
    call are given the same context object, so it is compared once a call.
    """

    def __init__(self) -> None:
        self._asked: tuple[Tensor | None, ...] = ()
        self._answer: Positive = None

    def of(self, context: Tensor, texts: Texts) -> Positive:
        """context: (B, L, C). None where a row is neither prompt's, or where the two can't be told apart."""
        asked = (context, texts.positive, texts.negative)
        if len(asked) != len(self._asked) or any(a is not b for a, b in zip(asked, self._asked)):
            self._asked, self._answer = asked, _rows_by_context(context, texts)
        return self._answer

    def forget(self) -> None:
        """Hold no tensors any longer."""
        self._asked, self._answer = (), None


def _rows_by_context(context: Tensor, texts: Texts) -> Positive:
    if texts.positive is None:
        return None
    positive = _begins_as(context, texts.positive)
    if texts.negative is None:
        return tuple(positive) if all(positive) else None
    negative = _begins_as(context, texts.negative)
    if all(a != b for a, b in zip(positive, negative)):
        return tuple(positive)
    count = len(texts.positive)
    if len(context) == count + len(texts.negative) and all(positive[:count]) and all(negative[count:]):
        return tuple(row < count for row in range(len(context)))  # equal prompts, the whole batch in the host's order
    return None


def _begins_as(context: Tensor, text: Tensor) -> list[bool]:
    """Which rows of `context` begin as one of the rows of `text` does (or are its beginning)."""
    text = _without_mark(text)
    tokens = min(context.shape[1], text.shape[1])
    text = text[:, :tokens].to(context)
    same = [(context[:, :tokens] == row).flatten(1).all(1) for row in text]
    return torch.stack(same).any(0).tolist()


def _without_mark(text: Tensor) -> Tensor:
    """text: (rows, tokens, C). sd-webui-controlnet sets a token of nothing but 1024, or of -1024, before each prompt's
    condition, which it takes off before the network."""
    marked = text.shape[1] > 1 and bool((text[:, 0].abs() == 1024).all())
    return text[:, 1:] if marked else text


def _label(rows: RowsByContext) -> Label:
    """The rows of a transformer: those of its context."""

    def label(call: NetworkCall, batch: int, now: Now) -> Positive:
        positive = rows.of(call.inputs.context, now.texts())
        return positive if positive is not None and len(positive) == batch else None

    return label


class _Hook(ForwardHook):
    """`forward` of one attn2 instance, computed anew; the host's own runs wherever it isn't blended."""

    def __init__(
        self,
        name: LayerName,
        module: torch.nn.Module,
        current: Current,
        host: A1111Model,
        rows: RowsByContext,
        adds: bool,
    ) -> None:
        super().__init__(name, module, current)
        self.host, self.rows, self.adds = host, rows, adds

    def remove(self) -> None:
        """As `ForwardHook`."""
        self.rows.forget()
        super().remove()

    def call(
        self, now: Now, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None, **kwargs: Any
    ) -> Tensor:
        """`forward(x, context, mask)` of ldm; sgm adds `additional_tokens` and cross-frame attention."""
        host_kwargs = dict(kwargs, context=context)
        if mask is not None:
            host_kwargs["mask"] = mask
        tokens = kwargs.pop("additional_tokens", None)
        unknown = [name for name, value in kwargs.items() if not says_nothing(value)]
        if unknown or context is None or context.shape[0] != x.shape[0]:
            with_what = (
                f"with {', '.join(unknown)}, which PLADIS doesn't know," if unknown else "without a text of its own"
            )
            now.pass_by(f"attention {with_what} was left as it is")
            return self.theirs(x, **host_kwargs)
        facts = Facts(self.rows.of(context, now.texts()) if now.asks_rows else None)
        return now.answer(self.name, _Call(self, x, context, mask, tokens, host_kwargs, facts))


class _Call(Call):
    """One call of a hooked `forward`."""

    def __init__(
        self,
        hook: _Hook,
        x: Tensor,
        context: Tensor,
        mask: Tensor | None,
        tokens: Tensor | None,
        host_kwargs: dict[str, Any],
        facts: Facts,
    ) -> None:
        self.hook = hook
        self.x, self.context, self.mask, self.tokens = x, context, mask, tokens
        self.host_kwargs = host_kwargs
        self.batch, self.facts = len(x), facts
        self.adds = hook.adds

    def own(self) -> Tensor:
        """As `Call`."""
        return self.hook.theirs(self.x, **self.host_kwargs)

    def blended(self, rows: Sequence[int] | None, attend: Attend) -> Tensor:
        """As `Call`; over another extension's forward, what is to be added to its output."""
        module: Any = self.hook.module
        x, context = picked(self.x, rows), picked(self.context, rows)
        mask, tokens = (None if part is None else picked(part, rows) for part in (self.mask, self.tokens))
        inputs = x if tokens is None else torch.cat([tokens, x], dim=1)
        # IP-Adapter's forward knows no hypernetworks, so neither does the softmax attention in it
        context_k, context_v = (same_context if self.adds else self.hook.host.project_context)(context)
        query = split_heads(module.to_q(inputs), module.heads)
        key = split_heads(module.to_k(context_k), module.heads)
        value = split_heads(module.to_v(context_v), module.heads)
        dtype = query.dtype
        if self.hook.host.upcast():
            query, key, value = query.float(), key.float(), value.float()
        attn_mask = None if mask is None else mask.bool().flatten(1)[:, None, None, :]
        inner = merge_heads(attend(query, key, value, attn_mask, getattr(module, "scale", None))).to(dtype)
        out = module.to_out(inner)
        if self.adds:
            # to_out is affine, so its bias cancels: to_out(a + change) = to_out(a) + to_out(change) - to_out(0)
            out = out - module.to_out(torch.zeros_like(inner[:, :1]))
        return out if tokens is None else out[:, tokens.shape[1] :]
