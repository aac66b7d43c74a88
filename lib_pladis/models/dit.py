"""Web UIs' diffusion transformers, by their attributes.

A layer's name is a letter and its block's number, `j0-18,s0-37`: j where text and picture share one attention but not
its weights (double-stream: Flux, SD3), s where they share both (single-stream: Lumina), b for a cross-attention to the
text (Anima, Wan).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lib_pladis.models.base import Family, Inputs, Layer, LayerName, TokenRanges, ranges
from lib_pladis.models.text import picture_tokens

if TYPE_CHECKING:
    import torch


def _picture(network: Any, inputs: Inputs) -> int:
    names = ("patch_size", "patch", "patch_spatial")
    size: Any = next(filter(None, (getattr(network, name, None) for name in names)), 2)
    return picture_tokens(inputs.latent, int(size if isinstance(size, int) else size[-1]))


def only_text(network: torch.nn.Module, inputs: Inputs) -> TokenRanges:
    """All keys are text, or fill it up; the queries are the picture's, then those of reference pictures."""
    return ranges(inputs, 0, slice(0, _picture(network, inputs)))


def text_first(network: torch.nn.Module, inputs: Inputs) -> TokenRanges:
    """Text, then the picture, then reference pictures. SD3's learnt registers, if it has any, come before all."""
    start = int(getattr(network, "register_length", 0))
    first = start + inputs.length
    return ranges(inputs, start, slice(first, first + _picture(network, inputs)))


def text_filled(network: torch.nn.Module, inputs: Inputs) -> TokenRanges:
    """Lumina 2, Z-Image: text, the latter's filled with a learnt token to a multiple, then the picture, likewise."""
    multiple = getattr(network, "pad_tokens_multiple", None) or 1
    return text_first(network, replace(inputs, length=inputs.length + -inputs.length % multiple))


def text_last(network: torch.nn.Module, inputs: Inputs) -> TokenRanges:
    """ERNIE-Image: the image, then text."""
    picture = _picture(network, inputs)
    return ranges(inputs, picture, slice(0, picture))


def text_cut(network: Any, inputs: Inputs) -> TokenRanges:
    """PiD: as much of the text as it takes, then the image."""
    most = min(inputs.length, network.txt_max_length)
    keys = tuple(slice(keys.start, min(keys.stop, most)) for keys in inputs.keys)
    return text_first(network, replace(inputs, keys=keys, length=most))


_FLUX = {"j": r"double_blocks\.(\d+)", "s": r"single_blocks\.(\d+)"}
_LUMINA = {"s": r"layers\.(\d+)\.attention"}
_CROSS = {"b": r"blocks\.(\d+)\.cross_attn"}

FAMILIES = (
    Family("Chroma", ("double_blocks", "single_blocks", "distilled_guidance_layer"), _FLUX, text_first, True),
    Family("Flux.2", ("double_blocks", "single_blocks", "double_stream_modulation_img"), _FLUX, text_first, True),
    Family("Flux", ("double_blocks", "single_blocks", "img_in"), _FLUX, text_first, True),
    Family("SD3", ("joint_blocks", "context_embedder"), {"j": r"joint_blocks\.(\d+)"}, text_first, True),
    Family("Z-Image", ("layers", "cap_embedder", "cap_pad_token"), _LUMINA, text_filled),
    Family("Lumina 2", ("layers", "cap_embedder"), _LUMINA, text_filled),
    Family("Qwen-Image", ("transformer_blocks", "txt_norm", "img_in"), {"j": r"transformer_blocks\.(\d+)\.attn"},
           text_first),
    Family("Krea 2", ("blocks", "txtfusion"), {"s": r"blocks\.(\d+)\.attn"}, text_first),
    Family("ERNIE-Image", ("layers", "text_proj"), {"s": r"layers\.(\d+)\.self_attention"}, text_last),
    Family("PiD", ("patch_blocks", "y_embedder"), {"j": r"patch_blocks\.(\d+)\.attn"}, text_cut, True),
    Family("Wan", ("blocks", "text_embedding"), _CROSS, only_text),
    Family("Anima", ("blocks", "patch_spatial"), _CROSS, only_text),
)  # fmt: skip
"""The first that fits is used."""


def find(network: torch.nn.Module) -> Mapping[LayerName, Layer]:
    """Its attentions with text by name, in order; none in other networks."""
    for family in FAMILIES:
        if all(hasattr(network, mark) for mark in family.marks):
            layers = family.layers(network)
            return {name: _with_text(layer, network) if name.side == "b" else layer for name, layer in layers.items()}
    return {}


def _with_text(layer: Layer, network: Any) -> Layer:
    """The layer, with where its text comes from. In picture-to-video models each attends to the picture given first."""
    module: Any = layer.module
    projects = getattr(module, "k_proj", getattr(module, "k", None))
    embeds = getattr(network, "text_embedding", None)
    return replace(layer, call=int(hasattr(module, "k_img")), projects=projects, embeds=embeds)
