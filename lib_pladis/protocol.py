"""The interface between a host's hooks and a session: what each provides, and what a layer's call takes and returns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from lib_pladis.facts import Conditions, Facts
from lib_pladis.models import find_layers
from lib_pladis.models.base import Layer, LayerName


class TextAndImage(NamedTuple):
    """For joint attention: the text keys of each row, the queries of the picture, which are the only ones blended, and
    the host's own attention of query, key and value (shapes as `pladis_attention`) for the others; None for torch's."""

    text: Sequence[slice]
    image: slice
    own: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None


Attend = Callable[[Tensor, Tensor, Tensor, Tensor | None, float | None, TextAndImage | None], Tensor]
"""Attention of query, key, value, mask and scale, shapes as `pladis_attention`; joint attention if the last argument is
given."""


class Call(ABC):
    """One call of a hooked layer: the parts that depend on the host. Outputs are the layer's, one row per batch
    entry."""

    batch: int
    facts: Facts
    adds = False
    """Whether `own` is another extension's function that adds something to softmax attention. Then only the change is
    added to its output."""
    by_subprompt = False
    """Whether positive rows are ordered by subprompt (AND), the last one first, rather than by picture."""

    @abstractmethod
    def own(self) -> Tensor:
        """The output without PLADIS, all rows."""

    @abstractmethod
    def blended(self, rows: Sequence[int] | None, attend: Attend) -> Tensor:
        """The output with `attend` as the attention: of these rows, or of all (None)."""


class Now(Protocol):
    """The state of a session in one step, for the hooks: it answers their calls."""

    @property
    def asks_rows(self) -> bool:
        """Whether it matters which rows are positive."""

    def conditions(self) -> Conditions:
        """The step's conditions, as they are when the network runs."""

    def answer(self, layer: LayerName, call: Call) -> Tensor:
        """The output of a hooked layer's call."""

    def skip_call(self, reason: str) -> None:
        """Count a call that is left to the host's own attention, and note why."""

    def skip_layer(self, layer: LayerName, owner: str) -> None:
        """The same for a layer whose attention another extension (`owner`) computes in a way that can't be blended."""

    def note_reason(self, reason: str) -> object:
        """Note in the report why something is not as expected."""

    def note_text(self, keys: Sequence[int], length: int) -> None:
        """Note for the report how many keys are the prompts' own in each row, and how many the text has."""


Current = Callable[[], "Now | None"]
"""The current step's `Now`; None while nothing is to be blended, and after the session has ended."""


@dataclass
class Installed:
    """The outcome of `HostModel.install`: the hooked layers, those of them chained to another extension's function, and
    the layers left alone, with the owner of their function.

    why_none: why no layer of this model can be hooked; usually "".
    """

    hooked: list[LayerName] = field(default_factory=list)
    chained: list[LayerName] = field(default_factory=list)
    foreign: dict[LayerName, str] = field(default_factory=dict)
    why_none: str = ""


class Hook(Protocol):
    """One of our hooks in a host's model."""

    def in_place(self) -> bool:
        """Whether it is still in place."""

    def remove(self) -> None:
        """Restore the original. A hook that another extension has wrapped stays, and passes its calls through."""


class HostModel(ABC):
    """The model in use in a host. Made anew for each step; cheap until `install`.

    network: where the layers are. kind: a short name of the model's family. hooks: what `install` has put in place.
    """

    network: torch.nn.Module
    kind: str
    hooks: Sequence[Hook] = ()

    @cached_property
    def layers(self) -> Mapping[LayerName, Layer]:
        """All layers in which text conditions the picture, by name."""
        return find_layers(self.network)

    def same_as(self, other: HostModel) -> bool:
        """Whether `other` is the same loaded model."""
        return type(other) is type(self) and other.network is self.network

    def serves(self, other: HostModel) -> bool:
        """Whether this object's hooks are all where `other` would put its own."""
        return self.same_as(other) and bool(self.hooks) and all(hook.in_place() for hook in self.hooks)

    @abstractmethod
    def install(self, names: Sequence[LayerName], current: Current) -> Installed:
        """Hook these layers, so that they answer by the state at the time of the call."""

    def remove(self) -> None:
        """Remove the hooks of `install`, and nothing else; safe to call twice."""
        for hook in reversed(self.hooks):
            hook.remove()
        self.hooks = ()
