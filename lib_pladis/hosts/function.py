"""Attention that is a function in a Python module: stood in for there, with the block that is running known.

Web UIs' transformers call `attention_function(q, k, v, heads, mask=None, skip_reshape=False, ...)` (Forge and its
kin) or `attention(q, k, v, heads, mask=None)` (SD3) by a name of the module that their code is in. While a session
has its hooks on, another function stands at that name. It learns from hooks on the network and on the layers' modules
which layer calls, and lets everything else through.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from lib_pladis.hosts.base import Attend, Call, Current, Installed, answer, merge_heads, without_ours
from lib_pladis.models.base import Inputs, Layer, Tokens
from lib_pladis.run.step import Now, Positive

Function = Callable[..., Tensor]

NAMES = ("attention_function", "attention")
"""What the function is called; the first that the module has."""

ELSEWHERE = {"chroma": "flux"}
"""Modules whose blocks call another one's attention: Forge's Chroma calls `flux.attention`."""


@dataclass(frozen=True)
class NetworkCall:
    """One call of a network: what it was given. `options` is `transformer_options`, of hosts that have it."""

    inputs: Inputs
    options: Mapping[str, Any]


Label = Callable[[NetworkCall, int, Now], Positive]
"""Which rows of an attention with so many are positive, in this call of the network."""


FindOwn = Callable[[NetworkCall, Now], "Sequence[int | None]"]
"""How many first tokens of each row's text are its prompt's, where padding looks like text; None where that isn't
known."""


def unknown(call: NetworkCall, now: Now) -> Sequence[int | None]:
    """Of hosts that can't say."""
    return [None] * len(call.inputs.context)


class FunctionHooks:
    """Hooks on a network whose attention is a function. `label` and `own` are the host's ways to tell rows, and
    what of their texts is the prompt's."""

    def __init__(self, network: torch.nn.Module, label: Label, own: FindOwn = unknown) -> None:
        self.network = network
        self._label = label
        self._own = own
        self._current: Current = lambda: None
        self._handles: list[Any] = []
        self._places: list[_Place] = []
        self._call: NetworkCall | None = None
        self._tokens: dict[object, Tokens | str] = {}
        self._running: Layer | None = None
        self._calls = 0

    def install(self, layers: Sequence[Layer], current: Current) -> Installed:
        """As `HostModel.install`."""
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
            self._handles.append(layer.module.register_forward_pre_hook(self._enter(layer)))
            self._handles.append(layer.module.register_forward_hook(self._leave))
            outcome.hooked.append(layer.name)
        if outcome.hooked:
            self._handles.append(self.network.register_forward_pre_hook(self._begin, with_kwargs=True))
            self._places = list(places.values())
            for place in self._places:
                place.put(self._function(place.theirs))
        return outcome

    def remove(self) -> None:
        """As `HostModel.remove`. Should somebody have wrapped our function, it stays, and is passed through."""
        self._current = lambda: None
        self._call, self._running = None, None
        self._tokens.clear()
        while self._handles:
            self._handles.pop().remove()
        while self._places:
            self._places.pop().give_back()

    def in_place(self) -> bool:
        """Whether our functions are all where we put them."""
        return bool(self._places) and all(place.holds_ours() for place in self._places)

    def _begin(self, network: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = dict(zip(inspect.signature(network.forward).parameters, args))
        given.update(kwargs)
        latent, context = (args[0] if args else given.get("x")), given.get("context")
        self._running, self._call = None, None
        self._tokens.clear()
        if isinstance(latent, Tensor) and isinstance(context, Tensor):
            self._call = NetworkCall(Inputs(latent, context), given.get("transformer_options") or {})

    def _enter(self, layer: Layer) -> Callable[..., None]:
        def enter(*_: Any) -> None:
            self._running, self._calls = layer, 0

        return enter

    def _leave(self, *_: Any) -> None:
        self._running = None

    def _located(self, layer: Layer, call: NetworkCall, now: Now) -> Tokens:
        """The layer's tokens, found once a call of the network; ValueError where they can't be."""
        assert layer.locate is not None
        if layer.locate not in self._tokens:
            try:
                inputs = call.inputs
                if layer.encoded:
                    inputs = replace(inputs, own=self._own(call, now))
                tokens = self._tokens[layer.locate] = layer.locate(self.network, inputs)
                if any(
                    own.stop - own.start == tokens.length
                    for own, known in zip(tokens.text, inputs.own)
                    if known is None
                ):
                    now.report.because("how much of a text is padding can't be known here: all its keys are blended")
                if not any(own.stop > own.start for own in tokens.text):
                    raise ValueError("no token of the prompt is in the text that the network is given")
                now.report.note_text([own.stop - own.start for own in tokens.text], tokens.length)
            except ValueError as error:
                self._tokens[layer.locate] = str(error)
        found = self._tokens[layer.locate]
        if isinstance(found, str):
            raise ValueError(found)
        return found

    def _function(self, theirs: Function) -> Function:
        def pladis(query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            layer, now = self._running, self._current()
            if layer is None or now is None:
                return theirs(query, key, value, *args, **kwargs)
            self._calls += 1
            if self._calls - 1 != layer.call:
                return theirs(query, key, value, *args, **kwargs)
            try:
                if self._call is None:
                    raise ValueError("a network that was called without a text")
                tokens = self._located(layer, self._call, now)
                call = _FunctionCall(theirs, (query, key, value), args, kwargs, tokens, self._call, self._label)
            except ValueError as error:
                now.pass_by(str(error))
                return theirs(query, key, value, *args, **kwargs)
            return answer(now, layer.name, call)

        pladis.pladis_before = theirs  # type: ignore[attr-defined]
        return pladis


class _Place:
    """A name in a Python module, and the function that stood there."""

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
        """Whose the function is, if it isn't the program's that the module is from; "" if it is."""
        home, theirs = str(self.namespace.get("__name__")), str(getattr(self.theirs, "__module__", None) or "unknown")
        return "" if home.split(".")[0] == theirs.split(".")[0] else theirs

    def put(self, ours: Function) -> None:
        self._ours = self.namespace[self.name] = ours

    def holds_ours(self) -> bool:
        return self._ours is not None and self.namespace.get(self.name) is self._ours

    def give_back(self) -> None:
        if self.holds_ours():
            self.namespace[self.name] = self._standing


class _FunctionCall(Call):
    """One call of the function: query, key and value with their heads apart or not, heads and mask behind them."""

    def __init__(
        self,
        theirs: Function,
        inputs: tuple[Tensor, Tensor, Tensor],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        tokens: Tokens,
        network: NetworkCall,
        label: Label,
    ) -> None:
        self._theirs, self._inputs, self._args, self._kwargs = theirs, inputs, args, kwargs
        self._tokens, self._network, self._label = tokens, network, label
        self.by_part = bool(network.options)  # of a host that labels its rows
        self.batch = len(inputs[0])
        self._apart = bool(kwargs.get("skip_reshape"))
        self._heads = int(args[0] if args else kwargs["heads"])
        self._mask = _mask(args[1] if len(args) > 1 else kwargs.get("mask"))
        queries, keys = (each.shape[2 if self._apart else 1] for each in inputs[:2])
        if len(args) > 2:
            raise ValueError("a call of an attention function of another form")
        if len(tokens.text) != self.batch:
            raise ValueError(f"a text of {len(tokens.text)} rows, for {self.batch}")
        if tokens.image.stop > queries or max(each.stop for each in tokens.text) > keys:
            raise ValueError(f"{queries} queries and {keys} keys, less than text and picture have")

    def positive(self, now: Now) -> Positive:
        """As `Call`."""
        return self._label(self._network, self.batch, now)

    def own(self) -> Tensor:
        """As `Call`."""
        return self._theirs(*self._inputs, *self._args, **self._kwargs)

    def blended(self, rows: Tensor | None, attend: Attend, now: Now) -> Tensor:
        """As `Call`: the picture's queries, on the keys of their own prompt."""
        inputs: Sequence[Tensor] = self._inputs if rows is None else [each[rows] for each in self._inputs]
        if not self._apart:
            inputs = [each if each.dim() == 4 else each.unflatten(-1, (self._heads, -1)) for each in inputs]
            inputs = [each.transpose(1, 2) for each in inputs]
        text = self._tokens.text if rows is None else tuple(self._tokens.text[row] for row in rows.tolist())
        mask = self._mask if rows is None or self._mask is None or len(self._mask) == 1 else self._mask[rows]
        query, key, value = inputs
        out = attend(query, key, value, mask, None, (text, self._tokens.image))
        return out if self._kwargs.get("skip_output_reshape") else merge_heads(out)


def _mask(mask: Tensor | None) -> Tensor | None:
    """A mask as the hosts broadcast it, (L, S) or (B, L, S), with a dimension for heads."""
    if mask is None or mask.dim() == 4:
        return mask
    return mask[None, None] if mask.dim() == 2 else mask[:, None]
