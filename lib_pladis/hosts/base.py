"""What a session needs of a host's model, and how a hooked layer answers one call."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from lib_pladis.models.base import Layer, LayerName
from lib_pladis.run.probe import Probe
from lib_pladis.run.step import Now, Positive

Current = Callable[[], Now | None]
"""What holds now; None while nothing is to be blended, and for ever after the session has ended."""

Part = tuple[Sequence[slice], slice]
"""Of a joint attention: the text keys of each row, and the queries that look at them."""


class Attend(Protocol):
    """Attention over query, key, value, mask and scale; shapes as `pladis_attention`. part: of a joint attention."""

    def __call__(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        scale: float | None,
        part: Part | None = None,
    ) -> Tensor: ...


@dataclass
class Installed:
    """Outcome of an installation: layers hooked, those of them chained, and those left alone (with owner).

    why_none: why no layer of this model can be hooked, whoever owns it; "" usually.
    """

    hooked: list[LayerName] = field(default_factory=list)
    chained: list[LayerName] = field(default_factory=list)
    foreign: dict[LayerName, str] = field(default_factory=dict)
    why_none: str = ""


class HostModel(Protocol):
    """The model now in use in a host. Made anew for each step; cheap until `install`."""

    kind: str

    @classmethod
    def knows(cls, sd_model: Any) -> bool:
        """Whether this is a model of this host's."""

    @classmethod
    def of(cls, sd_model: Any) -> HostModel:
        """The adapter, with what it needs of the host's own modules."""

    @property
    def layers(self) -> Mapping[LayerName, Layer]:
        """All layers in which text conditions the picture, by name."""

    def same_as(self, other: HostModel) -> bool:
        """Whether `other` stands for the very same loaded model."""

    def serves(self, other: HostModel) -> bool:
        """Whether this object's hooks are all in place where `other` would put its own."""

    def install(self, names: Sequence[LayerName], current: Current) -> Installed:
        """Hook these layers so that they answer by what holds when they are called."""

    def remove(self) -> None:
        """Take off what `install` put on, and nothing else; safe to call twice."""


class Call(ABC):
    """One call of a hooked layer: what only its host can do for it. Outputs are the layer's, one row a batch entry."""

    batch: int
    adds = False
    """Whether `own` is another extension's: softmax attention plus something, to which the change is added."""
    by_part = False
    """Whether positive rows come part by part of the prompts (AND), the last part first, not picture by picture."""

    @abstractmethod
    def positive(self, now: Now) -> Positive:
        """Which rows are positive."""

    @abstractmethod
    def own(self) -> Tensor:
        """What would come out without us, all rows."""

    @abstractmethod
    def blended(self, rows: Tensor | None, attend: Attend, now: Now) -> Tensor:
        """What comes out with `attend` as the attention: of these rows, or of all (None)."""


def answer(now: Now, layer: LayerName, call: Call) -> Tensor:
    """The output of a hooked layer: blended in the rows that are wanted, the host's own in the others."""

    def attend(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        scale: float | None,
        part: Part | None = None,
    ) -> Tensor:
        if part is not None:
            return now.attend_joint(layer, query, key, value, *part, mask, scale)
        return (now.change if call.adds else now.attend)(layer, query, key, value, mask, scale)

    rows = now.rows(call.batch, lambda: call.positive(now))
    if now.probe is not None and rows:
        look(now.probe, now, layer, call, rows)
    if len(rows) == call.batch and not call.adds:
        return call.blended(None, attend, now)
    out = call.own()
    if not rows:
        return out
    index = torch.tensor(rows, device=out.device)
    part = call.blended(index, attend, now).to(out.dtype)
    out = out.clone()
    out[index] = out[index] + part if call.adds else part
    return out


def look(probe: Probe, now: Now, layer: LayerName, call: Call, rows: Sequence[int]) -> None:
    """Let `probe` see where the blended rows of the positive prompt attend. The call's output is not touched."""
    with probe.clock():
        try:
            for row, picture, part in probe.rows(layer, call.positive(now), call.by_part):
                if row in rows:
                    call.blended(torch.tensor([row]), functools.partial(now.watch, layer, picture, part), now)
        except Exception as error:  # noqa: BLE001 (the picture must not suffer)
            probe.because(f"{type(error).__name__}: {error}")


def model_kind(sd_model: Any, network: torch.nn.Module | None = None) -> str:
    """Short name of a model's family, from the flags that the web UIs set on it; without one, its network's class."""
    for kind in ("sdxl", "sd3", "sd2", "sd1"):
        if getattr(sd_model, f"is_{kind}", False):
            return kind
    return "unknown" if network is None else type(network).__name__


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(B, L, H·D) to (B, H, L, D), without a copy."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """(B, H, L, D) to (B, L, H·D)."""
    return x.transpose(1, 2).flatten(2)


def without_ours(function: Any) -> Any:
    """What a function stands before, if it is one of ours that somebody has kept past its time: each has what it
    replaced in `pladis_before`."""
    while hasattr(function, "pladis_before"):
        function = function.pladis_before
    return function
