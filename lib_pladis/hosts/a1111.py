"""AUTOMATIC1111: wrap `forward` of each `attn2` instance, whatever optimizer the class uses."""

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
        self.kind = model_kind(sd_model)
        self.diffusion_model: torch.nn.Module = sd_model.model.diffusion_model
        self._project_context = project_context
        self._upcast = upcast
        self._hooks: list[_Hook] = []

    @cached_property
    def layers(self) -> Mapping[LayerName, CrossAttentionLayer]:
        return find_layers(self.diffusion_model)

    def same_as(self, other: HostModel) -> bool:
        return isinstance(other, A1111Model) and other.diffusion_model is self.diffusion_model

    def serves(self, other: HostModel) -> bool:
        return self.same_as(other) and bool(self._hooks) and all(hook.in_place() for hook in self._hooks)

    def install(self, names: Sequence[LayerName], blend: Blend) -> Installed:
        outcome = Installed()
        for name in names:
            module = self.layers[name].module
            foreign = vars(module).get("forward")
            if foreign is not None and not _adds_to_softmax(module):
                outcome.foreign[name] = _owner(foreign)
                continue
            self._hooks.append(_Hook(module, foreign, blend, self._project_context, self._upcast))
            outcome.hooked.append(name)
            if foreign is not None:
                outcome.chained.append(name)
        return outcome

    def remove(self) -> None:
        while self._hooks:
            self._hooks.pop().remove()


def _adds_to_softmax(module: torch.nn.Module) -> bool:
    """Whether the foreign `forward` is softmax attention plus something: sd-webui-controlnet's IP-Adapter."""
    return hasattr(module, "ipadapter_hacks")


def _owner(function: Any) -> str:
    return str(getattr(function, "__module__", None) or type(function).__name__)


class _Hook:
    """`forward` of one attn2 instance, replaced; calls the host's own wherever it doesn't blend."""

    def __init__(
        self,
        module: torch.nn.Module,
        foreign: Callable[..., Tensor] | None,
        blend: Blend,
        project_context: ProjectContext,
        upcast: Callable[[], bool],
    ) -> None:
        self.module = module
        self.foreign = foreign
        self.blend = blend
        self.project_context = project_context
        self.upcast = upcast
        self.alive = True

        def forward(*args: Any, **kwargs: Any) -> Tensor:  # a plain function: extensions look at its module
            return self.call(*args, **kwargs)

        self.forward = forward
        module.forward = forward  # type: ignore[method-assign]

    def in_place(self) -> bool:
        return vars(self.module).get("forward") is self.forward

    def remove(self) -> None:
        self.alive = False  # should somebody have wrapped us, we are passed through
        if not self.in_place():
            return
        if self.foreign is None:
            del self.module.forward
        else:
            self.module.forward = self.foreign  # type: ignore[method-assign]

    def host_forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """The forward that would run without us: another extension's, or the class's as it is now."""
        if self.foreign is not None:
            return self.foreign(*args, **kwargs)
        return type(self.module).forward(self.module, *args, **kwargs)

    def call(self, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None, **kwargs: Any) -> Tensor:
        """`forward(x, context, mask)` of ldm; sgm adds `additional_tokens` and cross-frame attention."""
        host_kwargs = dict(kwargs, context=context)
        if mask is not None:
            host_kwargs["mask"] = mask
        if not self.alive:
            return self.host_forward(x, **host_kwargs)
        tokens = kwargs.pop("additional_tokens", None)
        batch = x.shape[0]
        if context is None or context.shape[0] != batch or any(v is not None and v != 0 for v in kwargs.values()):
            self.blend.pass_by(f"a call without its own context or with {', '.join(kwargs) or 'another batch'}")
            return self.host_forward(x, **host_kwargs)

        rows = self.blend.rows(self.blend.positive_in_order(self, batch), batch)
        if self.foreign is None and len(rows) == batch:
            return self.blended(x, context, mask, tokens)
        out = self.host_forward(x, **host_kwargs)
        if rows:
            index = torch.tensor(rows, device=x.device)
            part = self.blended(
                x[index],
                context[index],
                None if mask is None else mask[index],
                None if tokens is None else tokens[index],
            ).to(out.dtype)
            out = out.clone()
            out[index] = part if self.foreign is None else out[index] + part
        return out

    def blended(self, x: Tensor, context: Tensor, mask: Tensor | None, tokens: Tensor | None) -> Tensor:
        """The layer's output, blended; over another extension's forward, what is to be added to its output."""
        module: Any = self.module
        inputs = x if tokens is None else torch.cat([tokens, x], dim=1)
        context_k, context_v = self.project_context(context)
        query = split_heads(module.to_q(inputs), module.heads)
        key = split_heads(module.to_k(context_k), module.heads)
        value = split_heads(module.to_v(context_v), module.heads)
        dtype = query.dtype
        if self.upcast():
            query, key, value = query.float(), key.float(), value.float()
        attn_mask = None if mask is None else mask.bool().flatten(1)[:, None, None, :]
        attend = self.blend.attend if self.foreign is None else self.blend.change
        inner = merge_heads(attend(query, key, value, attn_mask, getattr(module, "scale", None))).to(dtype)
        out = module.to_out(inner)
        if self.foreign is not None:
            # to_out is affine, so its bias cancels: to_out(a + change) = to_out(a) + to_out(change) - to_out(0)
            out = out - module.to_out(torch.zeros_like(inner[:, :1]))
        return out if tokens is None else out[:, tokens.shape[1] :]
