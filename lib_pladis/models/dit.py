"""Transformers with cross-attention to the text: Anima, Wan. A layer's name is b and its block's number: `b0-27`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lib_pladis.models.base import Inputs, Layer, LayerName, Tokens
from lib_pladis.models.joint import by_name
from lib_pladis.models.text import own_tokens, picture_tokens, rows_of

if TYPE_CHECKING:
    import torch

_PATHS = {"b": r"blocks\.(\d+)\.cross_attn"}


def only_text(network: torch.nn.Module, inputs: Inputs) -> Tokens:
    """All keys are text, or fill it up; the queries are the picture's, then those of reference pictures."""
    sizes: Any = getattr(network, "patch_size", None) or getattr(network, "patch_spatial", 2)
    size = sizes if isinstance(sizes, int) else sizes[-1]
    text = tuple(slice(0, own) for own in own_tokens(inputs.context, inputs.own))
    return Tokens(text, slice(0, picture_tokens(inputs.latent, size)), rows_of(inputs.context).shape[1])


class CrossAttention:
    """`base.Architecture` of these transformers."""

    sides = {"b": "block"}  # noqa: RUF012 (read only)

    def find(self, network: torch.nn.Module) -> Mapping[LayerName, Layer] | None:
        """Their cross-attentions by name; None for other networks."""
        embeds = getattr(network, "text_embedding", None)
        if not hasattr(network, "blocks") or not (embeds or hasattr(network, "patch_spatial")):
            return None
        layers = by_name(network, "Wan" if embeds else "Anima", _PATHS, only_text) or {}
        return {name: _with_text(layer, embeds) for name, layer in layers.items()}


def _with_text(layer: Layer, embeds: Any) -> Layer:
    """The layer, with where its text comes from. In picture-to-video models each attends to the picture given first."""
    module: Any = layer.module
    projects = getattr(module, "k_proj", getattr(module, "k", None))
    return replace(layer, call=int(hasattr(module, "k_img")), projects=projects, embeds=embeds)


DIT = CrossAttention()
