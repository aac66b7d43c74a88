"""What an architecture says of a network: its layers, their names and places."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch

Place = tuple[str, int, int]
"""Where a layer is, by the network's own counting: kind of block, its index, depth inside it."""


@dataclass(frozen=True, order=True)
class LayerName:
    """One layer as a person names it: the letter of its side, ordinal of its block there, depth inside the block."""

    side: str
    block: int
    depth: int

    def __str__(self) -> str:
        return f"{self.side}{self.block}.{self.depth}"


@dataclass(frozen=True)
class Layer:
    """One layer in which text conditions the picture: its name, its module, and its place."""

    name: LayerName
    module: torch.nn.Module
    place: Place


class Architecture(Protocol):
    """A family of networks."""

    @property
    def sides(self) -> Mapping[str, str]:
        """The letters that its layers' names begin with, and what each stands for."""

    def find(self, network: torch.nn.Module) -> Mapping[LayerName, Layer] | None:
        """The layers of `network` by name, in order; None if it isn't of this family."""
