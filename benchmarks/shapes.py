"""The cross-attention layers of real models, and tensors of their shapes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Layer:
    """`count` layers of one shape; key and value have `keys` tokens."""

    count: int
    heads: int
    queries: int
    dim: int
    keys: int = 77


def sd15(size: int) -> list[Layer]:
    side = size // 8
    sides = [(5, side, 40), (5, side // 2, 80), (5, side // 4, 160), (1, side // 8, 160)]
    return [Layer(count, 8, s * s, dim) for count, s, dim in sides]


def sdxl(size: int) -> list[Layer]:
    side = size // 8
    return [Layer(10, 10, (side // 2) ** 2, 64), Layer(60, 20, (side // 4) ** 2, 64)]


def flux(size: int) -> list[Layer]:
    """Image queries and 512 text keys of the joint attention, 19 double and 38 single blocks."""
    return [Layer(57, 24, (size // 16) ** 2, 128, 512)]


MODELS: dict[str, list[Layer]] = {
    "SD1.5 512²": sd15(512),
    "SD1.5 1024²": sd15(1024),
    "SDXL 512²": sdxl(512),
    "SDXL 1024²": sdxl(1024),
    "SDXL 2048²": sdxl(2048),
    "Flux 1024² (text keys)": flux(1024),
}


def tensors(layer: Layer, device: str, dtype: torch.dtype, sigma: float) -> tuple[Tensor, Tensor, Tensor]:
    """Views of (B, L, H D), as the hosts' linear layers make them; logits of deviation sigma."""
    generator = torch.Generator(device).manual_seed(0)

    def one(length: int, deviation: float) -> Tensor:
        shape = (2, length, layer.heads * layer.dim)
        flat = torch.randn(shape, generator=generator, device=device) * deviation
        return flat.to(dtype).view(2, length, layer.heads, layer.dim).transpose(1, 2)

    return one(layer.queries, sigma), one(layer.keys, 1.0), one(layer.keys, 1.0)
