"""A small transformer with the shape of SD3 in Forge and AUTOMATIC1111, whose attention is called `attention`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tests.networks import DIM, HEADS, Network


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
    """As `mmditx.attention`: (B, L, H D), but the value may have its heads apart, (B, L, H, D)."""
    q, k, v = (x.reshape(len(x), -1, heads, DIM // heads).transpose(1, 2) for x in (q, k, v))
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)


class SD3Block(nn.Module):
    """Attention over text and picture, then SD3.5's second one, over the picture alone."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.qkv2 = nn.Linear(DIM, 3 * DIM), nn.Linear(DIM, 3 * DIM)

    def forward(self, context: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        q, k, v = self.qkv(torch.cat([context, x], 1)).chunk(3, -1)
        out = attention(q, k, v.unflatten(-1, (HEADS, -1)), HEADS)
        q, k, v = self.qkv2(x).chunk(3, -1)
        alone = attention(q, k, v, HEADS)
        return context + out[:, : context.shape[1]], x + out[:, context.shape[1] :] + alone


class SD3(Network):
    """`forward` gets the context by name, from both programs."""

    def __init__(self) -> None:
        super().__init__()
        self.context_embedder = self.txt_in
        self.joint_blocks = nn.ModuleList(SD3Block() for _ in range(3))

    def forward(self, x: Tensor, t: Tensor, y: Any = None, context: Tensor | None = None, **kwargs: Any) -> Tensor:
        assert context is not None
        img, txt, _ = self.tokens(x, context, None)
        for block in self.joint_blocks:
            txt, img = block(txt, img)
        return img
