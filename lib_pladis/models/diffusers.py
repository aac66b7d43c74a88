"""diffusers' transformers, by the names of their classes: where their layers are, and where text is in them.

Letters as elsewhere: b for a cross-attention to the text; j and s where text and picture share one attention.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lib_pladis.models.base import Family, Inputs, Layer, LayerName, TokenRanges, ranges

if TYPE_CHECKING:
    import torch


def only_text(network: torch.nn.Module, inputs: Inputs) -> TokenRanges:
    """A cross-attention: all keys are text or its padding."""
    return ranges(inputs, 0, slice(None))


def text_first(network: torch.nn.Module, inputs: Inputs) -> TokenRanges:
    """Text, then the picture, then reference pictures. AuraFlow's learnt registers come before all."""
    registers = getattr(network, "register_tokens", None)
    start = 0 if registers is None else len(registers[0])
    first = start + inputs.length
    picture = _picture(inputs.given)
    return ranges(inputs, start, slice(first, None if picture is None else first + picture))


def text_last(network: torch.nn.Module, inputs: Inputs) -> TokenRanges:
    """The image, then text."""
    picture = _patches(network, inputs)
    return ranges(inputs, picture, slice(0, picture))


def text_packed(network: torch.nn.Module, inputs: Inputs) -> TokenRanges:
    """Lumina 2: each row's own text, the picture right behind it, and what makes rows equally long."""
    picture = _patches(network, inputs)
    text = tuple(slice(0, keys.stop) for keys in inputs.keys)
    images = [slice(keys.stop, keys.stop + picture) for keys in text]
    return TokenRanges(text, images[0], inputs.length, images)


def text_after_filled(network: torch.nn.Module, inputs: Inputs) -> TokenRanges:
    """Z-Image: the picture, filled to a multiple of 32, then text. Latents are a list of (C, F, H, W)."""
    size, frames = (inputs.given.get(name) or usual for name, usual in (("patch_size", 2), ("f_patch_size", 1)))
    if isinstance(inputs.given["x"][0], list):
        raise ValueError("Z-Image with pictures given to it")
    pictures = [(x.shape[1] // frames) * (x.shape[2] // size) * (x.shape[3] // size) for x in inputs.given["x"]]
    starts = [count + -count % Z_IMAGE_MULTIPLE for count in pictures]
    images = [slice(0, count) for count in pictures]
    return ranges(inputs, starts, images[0], images)


Z_IMAGE_MULTIPLE = 32


def _picture(given: Mapping[str, Any]) -> int | None:
    """Number of tokens of the generated image, which reference images follow; None: all."""
    shapes, ids = given.get("img_shapes"), given.get("img_ids")
    if shapes:  # Qwen-Image: for each row the (frames, height, width) of all its pictures
        first = shapes[0][0] if isinstance(shapes[0], list) else shapes[0]
        return math.prod(first)
    if ids is None:
        return None
    frame = (ids[0] if ids.dim() == 3 else ids)[:, 0]  # FLUX: in reference pictures another number than in this
    return int((frame == frame[0]).sum())


def _patches(network: Any, inputs: Inputs) -> int:
    return math.prod(side // network.config.patch_size for side in inputs.latent.shape[-2:])


_CROSS = {"b": r"(?:transformer_)?blocks\.(\d+)\.attn2"}
_DOUBLE = {"j": r"transformer_blocks\.(\d+)\.attn"}
_BOTH = {**_DOUBLE, "s": r"single_transformer_blocks\.(\d+)\.attn"}
_SINGLE = {"s": r"layers\.(\d+)\.(?:attn|attention)"}

FAMILIES = (
    Family("PixArt", ("PixArtTransformer2DModel",), _CROSS, None),
    Family("SANA", ("SanaTransformer2DModel",), _CROSS, None),
    Family("LTX-Video", ("LTXVideoTransformer3DModel",), _CROSS, None),
    Family("Wan", ("WanTransformer3DModel",), _CROSS, only_text),
    Family("Flux", ("FluxTransformer2DModel",), _BOTH, text_first, True),
    Family("Flux.2", ("Flux2Transformer2DModel",), _BOTH, text_first, True),
    Family("Chroma", ("ChromaTransformer2DModel",), _BOTH, text_first),
    Family("AuraFlow", ("AuraFlowTransformer2DModel",), {**_BOTH, "j": r"joint_transformer_blocks\.(\d+)\.attn"},
            text_first),
    Family("Qwen-Image", ("QwenImageTransformer2DModel",), _DOUBLE, text_first),
    Family("CogVideoX", ("CogVideoXTransformer3DModel",), {"j": r"transformer_blocks\.(\d+)\.attn1"}, text_first, True),
    Family("SD3", ("SD3Transformer2DModel",), _DOUBLE, text_last, True),
    Family("Lumina 2", ("Lumina2Transformer2DModel",), _SINGLE, text_packed),
    Family("Z-Image", ("ZImageTransformer2DModel",), _SINGLE, text_after_filled),
)  # fmt: skip


def find(network: torch.nn.Module) -> Mapping[LayerName, Layer]:
    """Its attentions with text by name, in order; none in other networks."""
    classes = {each.__name__ for each in type(network).__mro__ if each.__module__.startswith("diffusers.")}
    for family in FAMILIES:
        if classes.issuperset(family.marks):
            return {name: _called(layer) for name, layer in family.layers(network).items()}
    return {}


def _called(layer: Layer) -> Layer:
    """With the call that attends to the text: Wan's picture-to-video models attend to the picture given before."""
    second = layer.architecture == "Wan" and getattr(layer.module, "add_k_proj", None) is not None
    return replace(layer, call=int(second))
