"""AUTOMATIC1111: wrap `forward` of each `attn2` instance, whatever optimizer the class uses; for SD3 its attention
function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lib_pladis.facts import Conditions, Facts, Positive, picked
from lib_pladis.hosts.base import merge_heads, model_kind, says_nothing, split_heads
from lib_pladis.hosts.forward import ForwardHook, InsideForward, foreign_forward
from lib_pladis.hosts.function import FunctionHooks, Label
from lib_pladis.hosts.padding import in_two_parts
from lib_pladis.models.base import Inputs, LayerName
from lib_pladis.protocol import Attend, Call, Current, HostModel, Installed, Now

HOSTS_OWN = frozenset({"modules.sd_hijack_optimizations"})
"""Modules other than an attention's own that contain AUTOMATIC1111's forwards."""

ProjectContext = Callable[[Tensor], tuple[Tensor, Tensor]]


def same_context(context: Tensor) -> tuple[Tensor, Tensor]:
    """The contexts for K and V of a host without hypernetworks."""
    return context, context


class A1111Model(HostModel):
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
        self.network = sd_model.model.diffusion_model
        self.kind = model_kind(sd_model, self.network)
        self.project_context = project_context
        self.upcast = upcast
        encoder = getattr(sd_model, "cond_stage_model", None)
        engines = [getattr(encoder, name, None) for name in ("model_lg", "model_t5")]
        known = all(hasattr(engine, "tokenize_line") for engine in engines)
        self._own_tokens = in_two_parts(*engines) if known else None

    def install(self, names: Sequence[LayerName], current: Current) -> Installed:
        rows = RowsByContext()
        if all(self.layers[name].locate for name in names):
            functions = FunctionHooks(self.network, _label(rows), self._own_tokens)
            self.hooks = [functions]
            return functions.install([self.layers[name] for name in names], current)
        outcome = Installed()
        hooks: list[ForwardHook] = []
        for name in names:
            module = self.layers[name].module
            foreign = foreign_forward(module, HOSTS_OWN)
            adapter = foreign is not None and _adds_to_softmax(module, foreign)
            if foreign is None or adapter:
                hooks.append(_Hook(name, module, current, self, rows, adds=adapter))
            else:
                hooks.append(InsideForward(name, module, current))
            outcome.hooked.append(name)
            if foreign is not None:
                outcome.chained.append(name)
        self.hooks = hooks
        return outcome


def model_of(sd_model: Any) -> A1111Model | None:
    """The adapter for a model of AUTOMATIC1111's, with what it needs of the host's own modules."""
    if not hasattr(getattr(sd_model, "model", None), "diffusion_model"):
        return None
    from modules import shared
    from modules.hypernetworks import hypernetwork

    return A1111Model(
        sd_model,
        project_context=lambda context: hypernetwork.apply_hypernetworks(shared.loaded_hypernetworks, context),
        upcast=lambda: bool(getattr(shared.opts, "upcast_attn", False)),
    )


def _adds_to_softmax(module: torch.nn.Module, forward: Callable[..., Tensor]) -> bool:
    """Whether a foreign `forward` adds something to softmax attention: sd-webui-controlnet's for IP-Adapter, while
    there are adapters. It is recognized by the function, because its attributes stay on the module afterwards."""
    function = getattr(forward, "__func__", forward)
    name = (str(getattr(function, "__module__", "")).rpartition(".")[2], getattr(function, "__name__", ""))
    return name == ("plugable_ipadapter", "attn_forward_hacked") and bool(getattr(module, "ipadapter_hacks", None))


class RowsByContext:
    """Which rows of a network call are positive: those whose context begins like the positive prompt's condition.

    This is right for any calls within a step, in any order: unequal lengths, PAG, tiles. All layers of a call get the
    same context object, so the comparison is made once per call.
    """

    def __init__(self) -> None:
        self._asked: tuple[Tensor | None, ...] = ()
        self._answer: Positive = None

    def of(self, context: Tensor, conditions: Conditions) -> Positive:
        """context: (B, L, C). None if a row is neither prompt's, or if the prompts can't be distinguished."""
        asked = (context, conditions.positive, conditions.negative)
        if len(asked) != len(self._asked) or any(a is not b for a, b in zip(asked, self._asked)):
            self._asked, self._answer = asked, _rows_by_context(context, conditions)
        return self._answer

    def forget(self) -> None:
        """Hold no tensors any longer."""
        self._asked, self._answer = (), None


def _rows_by_context(context: Tensor, conditions: Conditions) -> Positive:
    if conditions.positive is None:
        return None
    positive = _begins_as(context, conditions.positive)
    if conditions.negative is None:
        return tuple(positive) if all(positive) else None
    negative = _begins_as(context, conditions.negative)
    if all(a != b for a, b in zip(positive, negative)):
        return tuple(positive)
    count = len(conditions.positive)
    if len(context) == count + len(conditions.negative) and all(positive[:count]) and all(negative[count:]):
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
    """text: (rows, tokens, C). sd-webui-controlnet puts a token of 1024 or -1024 before each prompt's condition, and
    removes it before the network."""
    marked = text.shape[1] > 1 and bool((text[:, 0].abs() == 1024).all())
    return text[:, 1:] if marked else text


def _label(rows: RowsByContext) -> Label:
    """Determines the positive rows of a transformer by its context."""

    def label(call: Inputs, batch: int, now: Now) -> Positive:
        positive = rows.of(call.context, now.conditions())
        return positive if positive is not None and len(positive) == batch else None

    return label


class _Hook(ForwardHook):
    """Replaces `forward` of one attn2 instance; the original runs for what is not blended."""

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
            now.skip_call(f"attention {with_what} was left as it is")
            return self.theirs(x, **host_kwargs)
        facts = Facts(self.rows.of(context, now.conditions()) if now.asks_rows else None)
        return now.answer(self.name, _Call(self, x, context, mask, tokens, host_kwargs, facts))


@dataclass(eq=False)
class _Call(Call):
    """One call of a hooked `forward`."""

    hook: _Hook
    x: Tensor
    context: Tensor
    mask: Tensor | None
    tokens: Tensor | None
    host_kwargs: dict[str, Any]
    facts: Facts

    def __post_init__(self) -> None:
        self.batch, self.adds = len(self.x), self.hook.adds

    def own(self) -> Tensor:
        return self.hook.theirs(self.x, **self.host_kwargs)

    def blended(self, rows: Sequence[int] | None, attend: Attend) -> Tensor:
        """Over another extension's forward: what is to be added to its output."""
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
        inner = merge_heads(attend(query, key, value, attn_mask, getattr(module, "scale", None), None)).to(dtype)
        out = module.to_out(inner)
        if self.adds:
            # to_out is affine, so its bias cancels: to_out(a + change) = to_out(a) + to_out(change) - to_out(0)
            out = out - module.to_out(torch.zeros_like(inner[:, :1]))
        return out if tokens is None else out[:, tokens.shape[1] :]
