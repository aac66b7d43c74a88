"""Network architectures: where text conditions the image, and the names of those layers. No host is known here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from lib_pladis.models import diffusers, dit, unet
from lib_pladis.models.base import Layer, LayerName

if TYPE_CHECKING:
    import torch

ARCHITECTURES: tuple[Callable[[torch.nn.Module], Mapping[LayerName, Layer]], ...] = (
    unet.find,
    diffusers.find,
    dit.find,
)
"""Each finds the layers of the networks that it knows, by name, in order; none in others."""


def find_layers(network: torch.nn.Module) -> Mapping[LayerName, Layer]:
    """The layers of `network` in which text conditions the image, by name; empty if no architecture knows it."""
    return next(filter(None, (find(network) for find in ARCHITECTURES)), {})
