"""diffusers' transformers, by the names of their classes: where their layers are, and where text is in them.

Letters as elsewhere: b for a cross-attention to the text; j and s where text and picture share one attention.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lib_pladis.models.base import Inputs, Layer, LayerName, Locate, Tokens
from lib_pladis.models.joint import by_name

if TYPE_CHECKING:
    import torch


def shifted(keys: slice, by: int) -> slice:
    """These text tokens, as keys of an attention in which the text begins there."""
    return slice(keys.start + by, keys.stop + by)


def only_text(network: torch.nn.Module, inputs: Inputs) -> Tokens:
    """A cross-attention's keys, all of them text or what fills it up."""
    return Tokens(tuple(inputs.keys), slice(None), inputs.length)


def text_first(network: torch.nn.Module, inputs: Inputs) -> Tokens:
    """Text, then the picture, then reference pictures. AuraFlow's learnt registers come before all."""
    start = len(registers[0]) if (registers := getattr(network, "register_tokens", None)) is not None else 0
    first = start + inputs.length
    picture = _picture(inputs.given)
    image = slice(first, None if picture is None else first + picture)
    return Tokens(tuple(shifted(keys, start) for keys in inputs.keys), image, inputs.length)


def text_last(network: torch.nn.Module, inputs: Inputs) -> Tokens:
    """The picture, then text."""
    config: Any = network.config
    shape = inputs.latent.shape
    frames = shape[2] // (config.get("patch_size_t") or 1) if len(shape) == 5 else 1
    picture = frames * math.prod(side // config.patch_size for side in shape[-2:])
    text = tuple(shifted(keys, picture) for keys in inputs.keys)
    return Tokens(text, slice(0, picture), inputs.length)


def text_packed(network: torch.nn.Module, inputs: Inputs) -> Tokens:
    """Lumina 2: each row's own text, the picture right behind it, and what makes rows equally long."""
    config: Any = network.config
    picture = math.prod(side // config.patch_size for side in inputs.latent.shape[-2:])
    ends = [keys.stop for keys in inputs.keys]
    text = tuple(slice(0, end) for end in ends)
    return Tokens(text, slice(ends[0], ends[0] + picture), inputs.length, [slice(e, e + picture) for e in ends])


def text_after_filled(network: torch.nn.Module, inputs: Inputs) -> Tokens:
    """Z-Image: the picture, filled to a multiple of 32, then text. Latents are a list of (C, F, H, W)."""
    size, frames = (inputs.given.get(name) or usual for name, usual in (("patch_size", 2), ("f_patch_size", 1)))
    if isinstance(inputs.given["x"][0], list):
        raise ValueError("Z-Image with pictures given to it")
    pictures = [(x.shape[1] // frames) * (x.shape[2] // size) * (x.shape[3] // size) for x in inputs.given["x"]]
    starts = [count + -count % Z_IMAGE_MULTIPLE for count in pictures]
    text = tuple(shifted(keys, start) for keys, start in zip(inputs.keys, starts))
    return Tokens(text, slice(0, pictures[0]), inputs.length, [slice(0, count) for count in pictures])


Z_IMAGE_MULTIPLE = 32


def _picture(given: Mapping[str, Any]) -> int | None:
    """How many tokens are the picture's that is made, reference pictures behind it; None: all."""
    shapes, ids = given.get("img_shapes"), given.get("img_ids")
    if shapes:  # Qwen-Image: for each row the (frames, height, width) of all its pictures
        first = shapes[0][0] if isinstance(shapes[0], list) else shapes[0]
        return math.prod(first)
    if ids is None:
        return None
    frame = (ids[0] if ids.dim() == 3 else ids)[:, 0]  # FLUX: in reference pictures another number than in this
    return int((frame == frame[0]).sum())


@dataclass(frozen=True)
class _Family:
    """A class of networks; where their layers are, by side, the number as the pattern's group; where text is.

    locate: None for cross-attentions whose keys are all text, padding masked. encoded: as `Layer`.
    """

    name: str
    network: str
    paths: Mapping[str, str]
    locate: Locate | None
    encoded: bool = False


_CROSS = {"b": r"(?:transformer_)?blocks\.(\d+)\.attn2"}
_DOUBLE = {"j": r"transformer_blocks\.(\d+)\.attn"}
_BOTH = {**_DOUBLE, "s": r"single_transformer_blocks\.(\d+)\.attn"}
_SINGLE = {"s": r"layers\.(\d+)\.(?:attn|attention)"}

FAMILIES = (
    _Family("PixArt", "PixArtTransformer2DModel", _CROSS, None),
    _Family("SANA", "SanaTransformer2DModel", _CROSS, None),
    _Family("LTX-Video", "LTXVideoTransformer3DModel", _CROSS, None),
    _Family("Wan", "WanTransformer3DModel", _CROSS, only_text),
    _Family("Flux", "FluxTransformer2DModel", _BOTH, text_first, True),
    _Family("Flux.2", "Flux2Transformer2DModel", _BOTH, text_first, True),
    _Family("Chroma", "ChromaTransformer2DModel", _BOTH, text_first),
    _Family("AuraFlow", "AuraFlowTransformer2DModel", {**_BOTH, "j": r"joint_transformer_blocks\.(\d+)\.attn"},
            text_first),
    _Family("Qwen-Image", "QwenImageTransformer2DModel", _DOUBLE, text_first),
    _Family("CogVideoX", "CogVideoXTransformer3DModel", {"j": r"transformer_blocks\.(\d+)\.attn1"}, text_first, True),
    _Family("SD3", "SD3Transformer2DModel", _DOUBLE, text_last, True),
    _Family("Lumina 2", "Lumina2Transformer2DModel", _SINGLE, text_packed),
    _Family("Z-Image", "ZImageTransformer2DModel", _SINGLE, text_after_filled),
)  # fmt: skip


class Diffusers:
    """`base.Architecture` of diffusers' transformers."""

    sides = {"j": "double-stream", "s": "single-stream", "b": "block"}  # noqa: RUF012 (read only)

    def find(self, network: torch.nn.Module) -> Mapping[LayerName, Layer] | None:
        """Its attentions with text by name; None for other networks."""
        classes = {each.__name__ for each in type(network).__mro__ if each.__module__.startswith("diffusers.")}
        for family in FAMILIES:
            if family.network in classes:
                found = by_name(network, family.name, family.paths, family.locate, family.encoded) or {}
                return {name: replace(layer, call=_call(family, layer)) for name, layer in found.items()}
        return None


def _call(family: _Family, layer: Layer) -> int:
    """Which call of a layer is that with the text: Wan's picture-to-video models attend to the picture given before."""
    return int(family.name == "Wan" and getattr(layer.module, "add_k_proj", None) is not None)


DIFFUSERS = Diffusers()
