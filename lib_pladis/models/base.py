"""An architecture's description of a network: its layers, their names and places, and which of their keys are text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Place = tuple[str, int, int]
"""A layer's place, as the network counts: kind of block, its index, depth inside it."""

SIDES = {"d": "down", "m": "middle", "u": "up", "j": "double-stream", "s": "single-stream", "b": "block"}
"""The first letters of layers' names, and their meanings."""

FLAT = frozenset("bjs")
"""Sides whose blocks have one layer each, so that their names contain no depth."""


@dataclass(frozen=True, order=True)
class LayerName:
    """One layer by its name: the letter of its side, ordinal of its block there, depth inside the block."""

    side: str
    block: int
    depth: int = 0

    def __str__(self) -> str:
        return f"{self.side}{self.block}" + ("" if self.side in FLAT else f".{self.depth}")


@dataclass(frozen=True)
class Inputs:
    """The inputs of one call of a network.

    latent: (B, C, H, W) or (B, C, T, H, W). context: the text as the network gets it, (B, L, C) or (B, 1, L, C).
    given: all arguments, by name. keys: each row's own text tokens. length: number of text tokens with padding.
    """

    latent: Tensor
    context: Tensor
    given: Mapping[str, Any] = field(default_factory=dict)
    keys: Sequence[slice] = ()
    length: int = 0


@dataclass(frozen=True)
class TokenRanges:
    """The places of text and picture among the tokens of one attention.

    text: for each row of the batch the keys that are the prompt's own; an empty slice if there are none.
    image: the queries that are tokens of the generated picture. images: the same for each row, if they differ.
    length: number of the text's keys with padding.
    """

    text: tuple[slice, ...]
    image: slice
    length: int
    images: Sequence[slice] = ()


def ranges(inputs: Inputs, start: int | Sequence[int], image: slice, images: Sequence[slice] = ()) -> TokenRanges:
    """The ranges if the text begins at token `start`, a number or one for each row."""
    starts = [start] * len(inputs.keys) if isinstance(start, int) else start
    text = tuple(slice(keys.start + first, keys.stop + first) for keys, first in zip(inputs.keys, starts))
    return TokenRanges(text, image, inputs.length, images)


Locate = Callable[["torch.nn.Module", Inputs], TokenRanges]
"""Finds the ranges, from a network and its inputs. Raises ValueError saying why it can't."""


@dataclass(frozen=True)
class Layer:
    """One layer in which text conditions the picture: its name, its module, and its place.

    locate: finds the text among the keys of the attention function that the module calls; None if the module is a
    cross-attention whose keys are all text. call: the index of that call among the module's calls.
    encoded: whether padding has gone through the text encoder, so that it can't be recognized in the context.
    projects: in a cross-attention, the module that projects the text to keys; its input is the text.
    embeds: the network's module that makes that text from the context; None if the text is the context itself.
    """

    name: LayerName
    module: torch.nn.Module
    place: Place
    architecture: str = "U-Net"
    locate: Locate | None = None
    call: int = 0
    encoded: bool = False
    projects: torch.nn.Module | None = None
    embeds: torch.nn.Module | None = None


def modules_of(network: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Module]]:
    """As `network.named_modules()`, without torch.compile's wrappers, of the whole or of blocks."""
    for path, module in network.named_modules():
        if "_orig_mod" not in module._modules:
            yield ".".join(name for name in path.split(".") if name != "_orig_mod"), module


@dataclass(frozen=True)
class Family:
    """A kind of network.

    marks: attributes by which it is recognized; for diffusers, the name of the class. paths: for each side, a pattern
    of its layers' paths, whose group is the block's number. locate, encoded: as in `Layer`.
    """

    name: str
    marks: tuple[str, ...]
    paths: Mapping[str, str]
    locate: Locate | None
    encoded: bool = False

    def layers(self, network: torch.nn.Module) -> dict[LayerName, Layer]:
        """The layers of `network`, by name, in order."""
        found = []
        for path, module in modules_of(network):
            for side, pattern in self.paths.items():
                match = re.fullmatch(pattern, path)
                if match:
                    name = LayerName(side, int(match[1]))
                    place = (side, name.block, 0)
                    found.append(Layer(name, module, place, self.name, self.locate, encoded=self.encoded))
        return {layer.name: layer for layer in sorted(found, key=lambda layer: layer.name)}
