"""Transformers in which text and picture share one attention: Flux, Chroma, SD3, Lumina, Qwen-Image and their like.

A layer's name is j and its number for a block with separate weights for text and picture (double-stream), s and its
number for one that treats both alike (single-stream): `j0-18,s0-37`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lib_pladis.models.base import Inputs, Layer, LayerName, Locate, Tokens, modules_of
from lib_pladis.models.text import own_tokens, picture_tokens, rows_of

if TYPE_CHECKING:
    import torch


def _patch(network: Any) -> int:
    return int(getattr(network, "patch_size", getattr(network, "patch", 2)))


def text_first(network: torch.nn.Module, inputs: Inputs) -> Tokens:
    """Text, then the picture, then reference pictures."""
    length = rows_of(inputs.context).shape[1]
    text = tuple(slice(0, own) for own in own_tokens(inputs.context, inputs.own))
    return Tokens(text, slice(length, length + picture_tokens(inputs.latent, _patch(network))), length)


def text_after_registers(network: torch.nn.Module, inputs: Inputs) -> Tokens:
    """SD3: learnt registers, if it has any, then text, then the picture."""
    start = int(getattr(network, "register_length", 0))
    length = rows_of(inputs.context).shape[1]
    text = tuple(slice(start, start + own) for own in own_tokens(inputs.context, inputs.own))
    return Tokens(text, slice(start + length, start + length + picture_tokens(inputs.latent, _patch(network))), length)


def text_filled(network: torch.nn.Module, inputs: Inputs) -> Tokens:
    """Lumina 2, Z-Image: text, the latter's filled with a learnt token to a multiple, then the picture, likewise."""
    own = own_tokens(inputs.context, inputs.own)
    length = rows_of(inputs.context).shape[1]
    length += -length % (getattr(network, "pad_tokens_multiple", None) or 1)
    image = slice(length, length + picture_tokens(inputs.latent, _patch(network)))
    return Tokens(tuple(slice(0, each) for each in own), image, length)


def text_last(network: torch.nn.Module, inputs: Inputs) -> Tokens:
    """ERNIE-Image: the picture, then text."""
    picture = picture_tokens(inputs.latent, _patch(network))
    text = tuple(slice(picture, picture + own) for own in own_tokens(inputs.context, inputs.own))
    return Tokens(text, slice(0, picture), rows_of(inputs.context).shape[1])


def text_cut(network: torch.nn.Module, inputs: Inputs) -> Tokens:
    """PiD: as much of the text as it takes, then the picture."""
    context = rows_of(inputs.context)[:, : int(getattr(network, "txt_max_length", 1 << 30))]
    return text_first(network, replace(inputs, context=context))


@dataclass(frozen=True)
class _Family:
    """Networks that have these attributes; where their layers are, by side, the number as the pattern's group."""

    name: str
    has: tuple[str, ...]
    paths: Mapping[str, str]
    locate: Locate = text_first
    encoded: bool = False


_FLUX = {"j": r"double_blocks\.(\d+)", "s": r"single_blocks\.(\d+)"}

FAMILIES = (
    _Family("Chroma", ("double_blocks", "single_blocks", "distilled_guidance_layer"), _FLUX, encoded=True),
    _Family("Flux.2", ("double_blocks", "single_blocks", "double_stream_modulation_img"), _FLUX, encoded=True),
    _Family("Flux", ("double_blocks", "single_blocks", "img_in"), _FLUX, encoded=True),
    _Family("SD3", ("joint_blocks", "context_embedder"), {"j": r"joint_blocks\.(\d+)"}, text_after_registers, True),
    _Family("Z-Image", ("layers", "cap_embedder", "cap_pad_token"), {"s": r"layers\.(\d+)\.attention"}, text_filled),
    _Family("Lumina 2", ("layers", "cap_embedder"), {"s": r"layers\.(\d+)\.attention"}, text_filled),
    _Family("Qwen-Image", ("transformer_blocks", "txt_norm", "img_in"), {"j": r"transformer_blocks\.(\d+)\.attn"}),
    _Family("Krea 2", ("blocks", "txtfusion"), {"s": r"blocks\.(\d+)\.attn"}),
    _Family("ERNIE-Image", ("layers", "text_proj"), {"s": r"layers\.(\d+)\.self_attention"}, text_last),
    _Family("PiD", ("patch_blocks", "y_embedder"), {"j": r"patch_blocks\.(\d+)\.attn"}, text_cut, True),
)
"""The first that fits is it."""


class Joint:
    """`base.Architecture` of these transformers."""

    sides = {"j": "double-stream", "s": "single-stream"}  # noqa: RUF012 (read only)

    def find(self, network: torch.nn.Module) -> Mapping[LayerName, Layer] | None:
        """Its joint attentions by name; None for other networks."""
        for family in FAMILIES:
            if all(hasattr(network, name) for name in family.has):
                return by_name(network, family.name, family.paths, family.locate, family.encoded)
        return None


def by_name(
    network: torch.nn.Module, architecture: str, paths: Mapping[str, str], locate: Locate | None, encoded: bool = False
) -> Mapping[LayerName, Layer] | None:
    """The modules of `network` whose paths fit, as layers with their numbers for names; None if there are none."""
    found = []
    for path, module in modules_of(network):
        for side, pattern in paths.items():
            match = re.fullmatch(pattern, path)
            if match:
                name = LayerName(side, int(match[1]))
                found.append(Layer(name, module, (side, name.block, 0), architecture, locate, encoded=encoded))
    return {layer.name: layer for layer in sorted(found, key=lambda layer: layer.name)} or None


JOINT = Joint()
