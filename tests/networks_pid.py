"""A small transformer with the shape of PiD in Forge Neo: it takes so much of a text and no more, and its attention
gives heads apart."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tests import networks
from tests.networks import DIM, HEADS, Network, split

TAKES = 8
"""Of the text's tokens."""


def attention_function(q: Tensor, k: Tensor, v: Tensor, heads: int, **kwargs: Any) -> Tensor:
    """As `backend.attention.attention_pytorch`, imported by name."""
    return networks.attention_function(q, k, v, heads, **kwargs)


class Apart(nn.Module):
    """Attention whose output has its heads apart, too."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(DIM, 3 * DIM)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (split(each) for each in self.qkv(x).chunk(3, -1))
        out = attention_function(q, k, v, HEADS, mask=None, skip_reshape=True, skip_output_reshape=True)
        return out.transpose(1, 2).flatten(2)


class PatchBlock(nn.Module):
    """Text first."""

    def __init__(self) -> None:
        super().__init__()
        self.attn = Apart()

    def forward(self, img: Tensor, txt: Tensor) -> tuple[Tensor, Tensor]:
        out = self.attn(torch.cat([txt, img], 1))
        return img + out[:, txt.shape[1] :], txt + out[:, : txt.shape[1]]


class PixelBlock(nn.Module):
    """The picture alone."""

    def __init__(self) -> None:
        super().__init__()
        self.attn = Apart()

    def forward(self, img: Tensor) -> Tensor:
        return img + self.attn(img)


class PiD(Network):
    """`context` by name."""

    patch_size = 2
    txt_max_length = TAKES

    def __init__(self) -> None:
        super().__init__()
        self.y_embedder = self.txt_in
        self.patch_blocks = nn.ModuleList(PatchBlock() for _ in range(3))
        self.pixel_blocks = nn.ModuleList(PixelBlock() for _ in range(2))

    def forward(self, x: Tensor, timesteps: Tensor, context: Tensor, transformer_options: Any = None) -> Tensor:
        img, txt, _ = self.tokens(x, context[:, :TAKES], None)
        for block in self.patch_blocks:
            img, txt = block(img, txt)
        for block in self.pixel_blocks:
            img = block(img)
        return img
