"""Cross-attention layers of a U-Net in the `ldm` family (ldm, sgm, ldm_patched, Forge's backend)."""

from __future__ import annotations

import re
from typing import Any

import torch

from lib_pladis.layers import SIDES, LayerName, name_layers

_PATH = re.compile(r"(input_blocks|middle_block|output_blocks)\.(\d+)\.(?:.*\.)?transformer_blocks\.(\d+)\.attn2")


class CrossAttentionLayer:
    """One `attn2` of a U-Net: its name, its module, and its block's own index on its side."""

    def __init__(self, name: LayerName, module: torch.nn.Module, side: str, index: int) -> None:
        self.name = name
        self.module = module
        self.side = side
        self.index = index


def find_layers(diffusion_model: torch.nn.Module) -> dict[LayerName, CrossAttentionLayer]:
    """The cross-attention layers of a U-Net, by name; empty for other architectures."""
    found = {}
    for path, module in diffusion_model.named_modules():
        match = _PATH.fullmatch(path)
        if match and hasattr(module, "to_q"):
            found[SIDES[match[1]], int(match[2]), int(match[3])] = module
    names = name_layers(found)
    return {
        names[place]: CrossAttentionLayer(names[place], module, place[0], place[1])
        for place, module in sorted(found.items(), key=lambda item: item[0])
    }


def model_kind(sd_model: Any) -> str:
    """Short name of a model's family, from the flags that the web UIs set on it."""
    for kind in ("sdxl", "sd3", "sd2", "sd1"):
        if getattr(sd_model, f"is_{kind}", False):
            return kind
    return "unknown"


def split_heads(x: torch.Tensor, heads: int) -> torch.Tensor:
    """(B, L, H·D) to (B, H, L, D), without a copy."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def merge_heads(x: torch.Tensor) -> torch.Tensor:
    """(B, H, L, D) to (B, L, H·D)."""
    return x.transpose(1, 2).flatten(2)
