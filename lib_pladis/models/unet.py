"""U-Nets of the `ldm` family (ldm, sgm, ldm_patched, Forge's backend) and diffusers': one `attn2` a transformer block.

A layer's name is its side (d = down/input, m = middle, u = up/output), the ordinal of its block among the blocks
of that side that have cross-attention, and its depth inside the block: `d2.0`. It is the numbering that users
know from sd-perturbed-attention: `d2.2-9,d3`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from lib_pladis.models.base import Layer, LayerName, Place, modules_of

if TYPE_CHECKING:
    import torch

BLOCKS = {
    "input_blocks": "input",
    "middle_block": "middle",
    "output_blocks": "output",
    "down_blocks": "input",
    "mid_block": "middle",
    "up_blocks": "output",
}
LETTERS = {"input": "d", "middle": "m", "output": "u"}

CLIP_CHUNK = 77
"""Number of text keys in a chunk: CLIP's context with its start and end."""

_PATHS = (
    re.compile(r"(input_blocks|middle_block|output_blocks)\.(\d+)\.(?:.*\.)?transformer_blocks\.(\d+)\.attn2"),
    re.compile(r"(down_blocks|mid_block|up_blocks)\.((?:\d+\.)?attentions\.\d+)\.transformer_blocks\.(\d+)\.attn2"),
)

_INDEX = 100
"""More than the attentions of any block in diffusers: its index counts blocks in hundreds."""


def find(network: torch.nn.Module) -> Mapping[LayerName, Layer]:
    """Its cross-attention layers by name, in order; none in other networks."""
    found: dict[Place, torch.nn.Module] = {}
    for path, module in modules_of(network):
        match = next(filter(None, (pattern.fullmatch(path) for pattern in _PATHS)), None)
        if match and hasattr(module, "to_q") and getattr(module, "is_cross_attention", True):
            found[BLOCKS[match[1]], _index(match[2]), int(match[3])] = module
    names = name_layers(found)
    layers = [Layer(names[place], module, place) for place, module in found.items()]
    return {layer.name: layer for layer in sorted(layers, key=lambda layer: layer.name)}


def _index(block: str) -> int:
    """`4` is 4; diffusers' `1.attentions.0`, the first attention of the second block, is 100."""
    first, _, last = block.rpartition("attentions.")
    return int(first.strip(".") or 0) * _INDEX + int(last)


def name_layers(places: Iterable[Place]) -> dict[Place, LayerName]:
    """Names for the places of cross-attention layers in a U-Net.

    A place is (side, index of the block on that side, depth), with the block's own index: SD1's
    `input_blocks.4` is ("input", 4, 0). Blocks without cross-attention are not counted: it becomes d2.0.
    """
    places = sorted(set(places))
    ordinals: dict[tuple[str, int], int] = {}
    for side, index, _ in places:
        ordinals.setdefault((side, index), sum(1 for s, _ in ordinals if s == side))
    return {place: LayerName(LETTERS[place[0]], ordinals[place[:2]], place[2]) for place in places}
