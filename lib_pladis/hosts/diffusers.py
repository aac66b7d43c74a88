"""diffusers: PLADIS answers a layer's call of torch's `scaled_dot_product_attention`, whatever its processor.

While a session's hooks are on, the layers' modules are called through a `ModuleHook`, in a torch function mode. Nothing
of diffusers' is replaced: processors, `forward`s and the hooks of IP-Adapter, LoRA, PAG and offloading stay and run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from lib_pladis.facts import Positive
from lib_pladis.hosts.module_hook import ModuleHook
from lib_pladis.hosts.pipeline_texts import PipelineTexts, own_keys, split_rows
from lib_pladis.hosts.sdpa import ATTENTION, SdpaCall
from lib_pladis.models.base import Inputs, Layer, LayerName, Locate, TokenRanges
from lib_pladis.models.text import own_tokens
from lib_pladis.protocol import Current, HostModel, Installed, Now

WITHOUT = ("AttnProcessor", "SlicedAttnProcessor", "XFormersAttnProcessor")
"""Processors of diffusers that don't call it. They are replaced by AttnProcessor2_0, which computes the same and does.
"""

CONTEXTS = ("encoder_hidden_states", "cap_feats")
MASKS = ("encoder_attention_mask", "encoder_hidden_states_mask", "attention_mask")
"""Names of the text, and of the mask of its padding, (B, L) or longer, in diffusers' networks."""


class DiffusersModel(HostModel):
    """One network of a pipeline. `texts` identifies the rows of its text."""

    def __init__(self, network: torch.nn.Module, texts: PipelineTexts) -> None:
        self.network = getattr(network, "_orig_mod", network)
        self.kind = type(self.network).__name__
        self._texts = texts
        self._current: Current = lambda: None
        self._hooked: dict[torch.nn.Module, Layer] = {}
        self._eager: list[torch.nn.Module] = []
        self._put_back: list[Callable[[], None]] = []

    def serves(self, other: HostModel) -> bool:
        return self.same_as(other) and bool(self._hooked)

    def install(self, names: Sequence[LayerName], current: Current) -> Installed:
        outcome = Installed()
        self._current = current
        for name in names:
            layer = self.layers[name]
            processor = getattr(layer.module, "processor", None)
            if getattr(processor, "_parallel_config", None) is not None:
                outcome.foreign[name] = "diffusers' context parallelism"
                continue
            self._lead_to_torch(layer.module, processor)
            self._hooked[layer.module] = layer
            outcome.hooked.append(name)
        for module in self.network.modules():
            compiled = vars(module).get(ModuleHook.NAME)
            if (
                compiled is not None
                and not isinstance(compiled, ModuleHook)
                and self._hooked.keys() & set(module.modules())
            ):
                self._eager.append(module)
        for module in (*self._hooked, *self._eager):
            ModuleHook.add(module, self)
        return outcome

    def _lead_to_torch(self, module: Any, processor: Any) -> None:
        """Let the module's processor call torch's attention, if it is one of diffusers' that calls another's."""
        if getattr(processor, "_attention_backend", None) not in (None, "native") or _other_backend(processor):
            theirs = vars(processor).get("_attention_backend", MISSING)
            processor._attention_backend = "native"
            self._put_back.append(lambda: _put_back(processor, "_attention_backend", "native", theirs))
        elif type(processor).__name__ in WITHOUT and type(processor).__module__.startswith("diffusers."):
            from diffusers.models.attention_processor import AttnProcessor2_0

            ours = module.processor = AttnProcessor2_0()
            self._put_back.append(lambda: _put_back(module, "processor", ours, processor))

    def remove(self) -> None:
        self._current = lambda: None
        for module in (*self._hooked, *self._eager):
            ModuleHook.remove(module, self)
        self._hooked, self._eager = {}, []
        while self._put_back:
            self._put_back.pop()()

    def applies(self, module: torch.nn.Module) -> bool:
        """Whether the module is called within a call of the network that this object takes part in."""
        running = _RUNNING.get()
        return running is not None and running.host is self

    def call(self, module: torch.nn.Module, original: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Call a layer and answer its attention; or call a compiled module that contains layers, uncompiled."""
        running, now = _RUNNING.get(), self._current()
        if running is None or now is None:
            return original(*args, **kwargs)
        layer = self._hooked.get(module)
        if layer is None:
            return self.call_uncompiled(module, original, args, kwargs)
        token = IN_LAYER.set(True)
        try:
            with _Attention(layer, running, now) as attention:
                out = self.call_uncompiled(module, original, args, kwargs)
        finally:
            IN_LAYER.reset(token)
        if not attention.calls:
            now.skip_call("attention that isn't torch's scaled_dot_product_attention was left as it is")
        return out

    def call_uncompiled(self, module: torch.nn.Module, original: Any, args: Any, kwargs: Any) -> Any:
        """Call a module without torch.compile's code; if there is any, note that in the report."""
        network = getattr(module, "_orig_mod", module)
        now = self._current()
        if now is not None and (network is not module or original != module._call_impl):
            now.note_reason("torch.compile's code can't be hooked: the original was run in its place")
        return network._call_impl(*args, **kwargs)

    @contextmanager
    def running(self, given: Mapping[str, Any]) -> Iterator[None]:
        """Around a call of the network, with what it is given."""
        token = _RUNNING.set(_NetworkCall(self, self._texts, given))
        try:
            yield
        finally:
            _RUNNING.reset(token)


MISSING = object()


def _put_back(target: Any, name: str, ours: object, theirs: Any) -> None:
    if getattr(target, name) is not ours:
        return
    if theirs is MISSING:
        delattr(target, name)
    else:
        setattr(target, name, theirs)


def _other_backend(processor: Any) -> bool:
    """Whether `attention_backend(...)` of diffusers has selected another backend than torch's."""
    if getattr(processor, "_attention_backend", MISSING) is not None:
        return False
    from diffusers.models.attention_dispatch import _AttentionBackendRegistry

    return str(getattr(_AttentionBackendRegistry._active_backend, "value", "native")) != "native"


def networks_of(pipe: Any) -> list[torch.nn.Module]:
    """The networks of a pipeline that denoise; Wan 2.2 has two."""
    found = (getattr(pipe, name, None) for name in ("unet", "transformer", "transformer_2"))
    return [network for network in found if isinstance(network, torch.nn.Module)]


class _NetworkCall:
    """One call of a network: its arguments, and the places of its text, determined once."""

    def __init__(self, host: DiffusersModel, texts: PipelineTexts, given: Mapping[str, Any]) -> None:
        self.host, self.given = host, given
        self.context = next((given[name] for name in CONTEXTS if given.get(name) is not None), None)
        self._texts = texts
        self._tokens: dict[Locate, TokenRanges | str] = {}

    @cached_property
    def positive(self) -> Positive:
        """Which rows are the positive prompt's."""
        return None if self.context is None else self._texts.positive(self.context)

    def tokens(self, layer: Layer, now: Now) -> TokenRanges | None:
        """The ranges of one of its layers; None if all keys are text. Raises ValueError if they can't be found."""
        if layer.locate is None:
            return None
        if layer.locate not in self._tokens:
            try:
                self._tokens[layer.locate] = layer.locate(self.host.network, self._inputs(layer, now))
            except ValueError as error:
                self._tokens[layer.locate] = str(error)
        found = self._tokens[layer.locate]
        if isinstance(found, str):
            raise ValueError(found)
        return found

    def _inputs(self, layer: Layer, now: Now) -> Inputs:
        if self.context is None:
            raise ValueError("the network was called without a text; it was left as it is")
        rows = split_rows(self.context)
        length = max(len(row) for row in rows)
        keys = self._own(layer, rows, length, now)
        now.note_text([each.stop - each.start for each in keys], length)
        latent = self.given.get("hidden_states", self.given.get("x"))
        return Inputs(latent, self.context, given=self.given, keys=keys, length=length)  # type: ignore[arg-type]

    def _own(self, layer: Layer, rows: Sequence[Tensor], length: int, now: Now) -> Sequence[slice]:
        """Each row's own text tokens: from the mask if there is one, from the encoder's input, or from the context."""
        mask = next((self.given[name] for name in MASKS if isinstance(self.given.get(name), Tensor)), None)
        if mask is not None and mask.dim() == 2 and len(mask) == len(rows) and mask.shape[1] >= length:
            return own_keys(mask[:, :length] > 0)
        seen = self._texts.own(self.context) if layer.encoded else (None,) * len(rows)
        own: list[slice] = []
        for row, keys in zip(rows, seen):
            end = own_tokens(row[None])[0]
            if keys is None and layer.encoded and end == len(row):
                now.note_reason("how much of a text is padding can't be known here: all its keys are blended")
            own.append(slice(0, end) if keys is None else slice(keys.start, min(end, keys.stop)))
        return own


IN_LAYER: ContextVar[bool] = ContextVar("pladis_in_layer", default=False)
"""Whether a hooked layer is running."""

_RUNNING: ContextVar[_NetworkCall | None] = ContextVar("pladis_network_call", default=None)


class _Attention(TorchFunctionMode):
    """Answers, within a layer, the call of torch's attention that attends to the text."""

    def __init__(self, layer: Layer, running: _NetworkCall, now: Now) -> None:
        super().__init__()
        self.calls = 0
        self._layer, self._running, self._now = layer, running, now

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not ATTENTION:
            return func(*args, **(kwargs or {}))
        self.calls += 1
        if self.calls - 1 != self._layer.call:
            return func(*args, **(kwargs or {}))
        try:
            tokens = self._running.tokens(self._layer, self._now)
            rows = self._running.positive if self._now.asks_rows else None
            call = SdpaCall(tokens, rows, *args, **(kwargs or {}))
        except ValueError as error:
            self._now.skip_call(str(error))
            return func(*args, **(kwargs or {}))
        return self._now.answer(self._layer.name, call)
