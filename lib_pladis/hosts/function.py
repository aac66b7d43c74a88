"""Attention that is a function in a Python module, replaced there.

Web UIs' transformers call `attention_function(q, k, v, heads, mask=None, skip_reshape=False, ...)` (Forge and its
forks) or `attention(q, k, v, heads, mask=None)` (SD3) by a name in their own module. During a session our function has
that name. Hooks on the network and on the layers' modules tell it which layer calls; other calls pass through.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lib_pladis.facts import Facts, Positive, picked
from lib_pladis.hosts.base import merge_heads, owner_of, says_nothing, split_heads, without_ours
from lib_pladis.hosts.padding import Own, own_of_rows
from lib_pladis.models.base import Inputs, Layer
from lib_pladis.models.text import own_tokens, rows_of
from lib_pladis.protocol import Attend, Call, Current, Installed, Now, TextAndImage

Function = Callable[..., Tensor]

NAMES = ("attention_function", "attention")
"""The function's name: the first that the module has."""

ELSEWHERE = {"chroma": "flux"}
"""Modules whose blocks call another one's attention: Forge's Chroma calls `flux.attention`."""


FORM = ("heads", "mask", "attn_precision", "skip_reshape", "skip_output_reshape")
"""The function's parameters after query, key and value, in order."""

SILENT = frozenset({"transformer_options", "preferred_attention", "low_precision_attention", "_inside_attn_wrapper"})
"""Further arguments, which do not change what is computed."""

OVERRIDE = "optimized_attention_override"
"""The key in `transformer_options` under which Forge Neo (2.27 and later) passes another attention function."""

CHOSEN = ("sage", "flash", "xformers")
"""Parts of the names of functions that users choose for their speed."""

OVERRIDDEN = f"another extension replaces this attention ({OVERRIDE}); it was left as it is"


Label = Callable[[Inputs, int, Now], Positive]
"""Which rows of an attention with that many rows are positive, in this call of the network."""


class FunctionHooks:
    """Hooks on a network whose attention is a function; a `protocol.Hook`.

    label: determines which rows are positive. own: determines how much of a text is the prompt's own if padding looks
    like text; None in hosts that can't. compiled: whether torch.compile compiles the network. Then functions that read
    the session stay out of its graphs, and the hooks inside are the same for all layers, so that layers share graphs.
    """

    def __init__(self, network: torch.nn.Module, label: Label, own: Own | None = None, compiled: bool = False) -> None:
        self.network = network
        self._label = label
        self._own = own
        self._current: Current = lambda: None
        self._handles: list[Any] = []
        self._places: list[_Place] = []
        self._call: Inputs | None = None
        self._facts: dict[object, Facts | str] = {}  # of this network call
        self._embedded: list[Tensor] = []
        self._compiled = compiled
        self._layers: dict[torch.nn.Module, Layer] = {}
        self._running: torch.nn.Module | None = None
        self._text: Tensor | None = None  # the text that the running layer projected last
        self._calls = 0

    def install(self, layers: Sequence[Layer], current: Current) -> Installed:
        """Hook these layers."""
        outcome = Installed()
        self._current = current
        places: dict[tuple[int, str], _Place] = {}
        for layer in layers:
            place = _Place.of(layer.module)
            owner = place.owner()
            if owner:
                outcome.foreign[layer.name] = owner
                continue
            places.setdefault((id(place.namespace), place.name), place)
            self._layers[layer.module] = layer
            self._handles.append(layer.module.register_forward_pre_hook(self._enter))
            self._handles.append(layer.module.register_forward_hook(self._leave))
            if layer.projects is not None:
                self._handles.append(layer.projects.register_forward_pre_hook(self._project))
            outcome.hooked.append(layer.name)
        if outcome.hooked:
            begin = self._outside(self._begin)
            self._handles.append(self.network.register_forward_pre_hook(begin, with_kwargs=True))
            for embeds in {layer.embeds for layer in layers if layer.embeds is not None}:
                self._handles.append(embeds.register_forward_hook(self._embed))
            self._places = list(places.values())
            for place in self._places:
                place.put(self._function(place.theirs))
        return outcome

    def remove(self) -> None:
        self._current = lambda: None
        self._forget()
        self._layers.clear()
        while self._handles:
            self._handles.pop().remove()
        while self._places:
            self._places.pop().give_back()

    def in_place(self) -> bool:
        return bool(self._places) and all(place.holds_ours() for place in self._places)

    def _begin(self, network: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = dict(zip(inspect.signature(network.forward).parameters, args))
        given.update(kwargs)
        latent, context = (args[0] if args else given.get("x")), given.get("context")
        self._forget()
        if isinstance(latent, Tensor) and isinstance(context, Tensor):
            self._call = Inputs(latent, context, given)

    def _forget(self) -> None:
        self._call, self._running, self._text = None, None, None
        self._facts.clear()
        self._embedded.clear()

    def _embed(self, module: torch.nn.Module, args: Any, text: Any) -> None:
        self._embedded.append(text)

    def _enter(self, module: torch.nn.Module, args: Any) -> None:
        self._running, self._text, self._calls = module, None, 0

    def _project(self, module: torch.nn.Module, args: tuple[Any, ...]) -> None:
        if self._running is not None and args:
            self._text, self._calls = args[0], 0

    def _leave(self, *_: Any) -> None:
        self._running, self._text = None, None

    def _facts_of(self, layer: Layer, now: Now) -> Facts:
        """The facts of this network call; ValueError if they can't be known. If another extension has given the layer
        a text of its own, that text is examined by itself."""
        if self._call is None:
            raise ValueError("the network was called without a text; it was left as it is")
        text = self._text if layer.projects is not None else None
        place = layer.locate, None if text is None else (text.data_ptr(), text.shape, text.stride())
        found = self._facts.get(place)
        if found is None:
            own = text is not None and not self._is_networks(text, self._call)
            found = self._find(layer, self._call, text if own else None, now)
            if not own:
                self._facts[place] = found
        if isinstance(found, str):
            raise ValueError(found)
        return found

    def _is_networks(self, text: Tensor, call: Inputs) -> bool:
        """Whether a text is the network's own, as it was given or as it was embedded."""
        text = rows_of(text)
        known = [rows_of(each) for each in (call.context, *self._embedded)]
        same = [each for each in known if each.shape == text.shape]
        return any(each.data_ptr() == text.data_ptr() or torch.equal(each.to(text), text) for each in same)

    def _find(self, layer: Layer, call: Inputs, text: Tensor | None, now: Now) -> Facts | str:
        """The facts, of the network's text or of this one, or why they can't be known."""
        assert layer.locate is not None
        known: Sequence[int | None] = ()
        try:
            context = rows_of(call.context if text is None else text)
            if text is None and layer.encoded:
                known = [None] * len(context)
                if self._own is not None:
                    known = own_of_rows(context, now.conditions(), self._own)
            keys = tuple(slice(0, count) for count in own_tokens(context, known))
            tokens = layer.locate(self.network, replace(call, keys=keys, length=context.shape[1]))
        except ValueError as error:
            return str(error)
        own = [keys.stop - keys.start for keys in tokens.text]
        if any(count == tokens.length for count, least in zip(own, known) if least is None):
            now.note_reason("how much of a text is padding can't be known here: all its keys are blended")
        if not any(own):
            return "no token of the prompt is in the text that the network is given"
        now.note_text(own, tokens.length)
        asked = now.asks_rows and text is None
        return Facts(self._label(call, len(own), now) if asked else None, text=tokens)

    def _function(self, theirs: Function) -> Function:
        def pladis(query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            layer, now = None if self._running is None else self._layers.get(self._running), self._current()
            if layer is None or now is None:
                return theirs(query, key, value, *args, **kwargs)
            self._calls += 1
            if self._calls - 1 != layer.call:
                return theirs(query, key, value, *args, **kwargs)
            try:
                if OVERRIDE in (kwargs.get("transformer_options") or {}):
                    raise ValueError(OVERRIDDEN)
                call = _FunctionCall(theirs, (query, key, value), args, kwargs, self._facts_of(layer, now), layer)
                call.say_what_is_chosen(now)
                call.by_subprompt = self._call is not None and bool(options_of(self._call))  # Forge and its forks
            except ValueError as error:
                now.skip_call(str(error))
                return theirs(query, key, value, *args, **kwargs)
            return now.answer(layer.name, call)

        ours = self._outside(pladis)
        ours.pladis_before = theirs
        return ours

    def _outside(self, function: Callable[..., Any]) -> Any:
        return torch.compiler.disable(function) if self._compiled else function


def options_of(inputs: Inputs) -> Mapping[str, Any]:
    """`transformer_options` of a network's call; empty in hosts without them."""
    return inputs.given.get("transformer_options") or {}


class _Place:
    """A name in a Python module, and the function that it referred to."""

    def __init__(self, namespace: dict[str, Any], name: str) -> None:
        self.namespace, self.name = namespace, name
        self.theirs: Function = without_ours(namespace[name])
        self._standing: Function = namespace[name]
        self._ours: Function | None = None

    @classmethod
    def of(cls, module: torch.nn.Module) -> _Place:
        """Where the attention function of `module` is looked up."""
        home = type(module).__module__
        package, _, last = home.rpartition(".")
        other = f"{package}.{ELSEWHERE[last]}" if last in ELSEWHERE else home
        namespace = vars(sys.modules[other if other in sys.modules else home])
        return cls(namespace, next(name for name in NAMES if name in namespace))

    def owner(self) -> str:
        """The owner of the function, if it isn't the program that the module is from; otherwise ""."""
        home, theirs = str(self.namespace.get("__name__")), owner_of(self.theirs)
        return "" if home.split(".")[0] == theirs.split(".")[0] else theirs

    def put(self, ours: Function) -> None:
        self._ours = self.namespace[self.name] = ours

    def holds_ours(self) -> bool:
        return self._ours is not None and self.namespace.get(self.name) is self._ours

    def give_back(self) -> None:
        if self.holds_ours():
            self.namespace[self.name] = self._standing


class _FunctionCall(Call):
    """One call of the function. Query, key and value are (B, L, H·D), or (B, H, L, D) with `skip_reshape`."""

    def __init__(
        self,
        theirs: Function,
        inputs: tuple[Tensor, Tensor, Tensor],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        facts: Facts,
        layer: Layer,
    ) -> None:
        assert facts.text is not None
        self._theirs, self._inputs, self._args, self._kwargs = theirs, inputs, args, kwargs
        self.facts, self._tokens = facts, facts.text
        self.batch = len(inputs[0])
        given = {**dict(zip(FORM, args)), **kwargs}
        self._heads, self._mask = int(given.pop("heads")), _mask(given.pop("mask", None))
        self._apart, self._stay_apart = bool(given.pop("skip_reshape", 0)), bool(given.pop("skip_output_reshape", 0))
        self._scale: float | None = given.pop("scale", None)
        given.pop("attn_precision", None)
        given.pop("enable_gqa", None)  # seen by the keys' heads
        queries, keys = (each.shape[2 if self._apart else 1] for each in inputs[:2])
        more = sorted(name for name, value in given.items() if not says_nothing(value) and name not in SILENT)
        if len(args) > len(FORM) or more:
            raise ValueError(f"attention with arguments that PLADIS doesn't know ({', '.join(more)}) was left as it is")
        if len(self._tokens.text) != self.batch:
            raise ValueError(
                f"another extension gives attention {self.batch} texts where the network has {len(self._tokens.text)}; "
                "which is whose can't be known, so it was left as it is"
            )
        if self._tokens.image.stop > queries or max(each.stop for each in self._tokens.text) > keys:
            raise ValueError(
                f"attention over fewer tokens ({queries} and {keys}) than picture and text have was left as it is"
            )
        if layer.projects is not None and keys != self._tokens.length:
            raise ValueError(
                f"attention over {keys} text tokens, where the text has {self._tokens.length}, was left as it is"
            )

    def say_what_is_chosen(self, now: Now) -> None:
        """Note that an attention function chosen for its speed is not used for the image's queries."""
        name = str(getattr(self._theirs, "__name__", ""))
        if any(part in name for part in CHOSEN):
            now.note_reason(
                f"{name} serves what isn't blended; the picture's queries go through torch's attention in blended "
                "layers, as it gives no log-sum-exp"
            )

    def own(self) -> Tensor:
        return self._theirs(*self._inputs, *self._args, **self._kwargs)

    def _host(self, *tensors: Tensor) -> Tensor:
        """The host's function on query, key and value of (B, H, L, D), in the form that it was called in."""
        given = tensors
        if not self._apart:
            forms = (merge_heads if each.dim() == 3 else _between for each in self._inputs)
            given = tuple(form(each) for form, each in zip(forms, tensors))
        out = self._theirs(*given, *self._args, **self._kwargs)
        return out if self._stay_apart else split_heads(out, self._heads)

    def blended(self, rows: Sequence[int] | None, attend: Attend) -> Tensor:
        """Attention of the image's queries over the keys of their own prompt."""
        query, key, value = (picked(each, rows) for each in self._inputs)
        if not self._apart:
            query = query.unflatten(-1, (self._heads, -1)) if query.dim() == 3 else query
            key = key.unflatten(-1, (-1, query.shape[-1])) if key.dim() == 3 else key
            value = value.unflatten(-1, (key.shape[2], -1)) if value.dim() == 3 else value
            query, key, value = (each.transpose(1, 2) for each in (query, key, value))
        if key.shape[1] < query.shape[1]:  # keys that several heads share
            key, value = (each.repeat_interleave(query.shape[1] // key.shape[1], 1) for each in (key, value))
        text = self._tokens.text if rows is None else tuple(self._tokens.text[row] for row in rows)
        mask = self._mask
        if mask is not None and rows is not None and len(mask) > 1:
            mask = picked(mask, rows)
        out = attend(query, key, value, mask, self._scale, TextAndImage(text, self._tokens.image, self._host))
        return out if self._stay_apart else merge_heads(out)


def _between(x: Tensor) -> Tensor:
    """(B, H, L, D) to (B, L, H, D)."""
    return x.transpose(1, 2)


def _mask(mask: Tensor | None) -> Tensor | None:
    """A mask as the hosts broadcast it, (L, S) or (B, L, S), with a dimension for heads."""
    if mask is None or mask.dim() == 4:
        return mask
    return mask[None, None] if mask.dim() == 2 else mask[:, None]
