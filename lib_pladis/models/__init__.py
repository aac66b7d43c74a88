"""What networks look like: where attention with text is, and what its layers are called. No host is known here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lib_pladis.models import diffusers, dit, joint, unet
from lib_pladis.models.base import Architecture, Layer, LayerName

if TYPE_CHECKING:
    import torch

ARCHITECTURES: tuple[Architecture, ...] = (unet.UNET, diffusers.DIFFUSERS, joint.JOINT, dit.DIT)
"""All that are known. One line makes an architecture."""


def find_layers(network: torch.nn.Module) -> Mapping[LayerName, Layer]:
    """The layers of `network` in which text conditions the picture, by name; empty if no architecture knows it."""
    for architecture in ARCHITECTURES:
        layers = architecture.find(network)
        if layers:
            return layers
    return {}
