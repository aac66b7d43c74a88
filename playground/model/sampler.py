"""A deterministic DDIM sampler (arXiv 2010.02502) with CFG, for looking at the model in training."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .nets import AutoencoderKL

Denoiser = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(latents, timesteps, context) -> predicted noise."""


@torch.no_grad()
def ddim(
    denoise: Denoiser,
    context: Tensor,
    empty: Tensor,
    alphas_cumprod: Tensor,
    seed: int,
    steps: int = 20,
    cfg: float = 5.0,
) -> Tensor:
    """Latents (B, 4, 16, 16), scaled, for `context` (B, 77, width); `empty` is (1, 77, width).

    cfg is the guidance scale (1: none). The noise of picture i comes from the seed `seed` + i.
    """
    count = len(context)
    noise = [torch.Generator().manual_seed(seed + i) for i in range(count)]
    x = torch.stack([torch.randn(4, 16, 16, generator=generator) for generator in noise])
    both = torch.cat([context, empty.expand(count, -1, -1)])
    times = torch.linspace(len(alphas_cumprod) - 1, 0, steps + 1).round().long()[:-1]
    levels = torch.cat([alphas_cumprod[times], torch.ones(1)])
    for i, t in enumerate(times):
        eps, uncond = denoise(torch.cat([x, x]), t.repeat(2 * count), both).chunk(2)
        eps = uncond + cfg * (eps - uncond)
        clean = (x - (1.0 - levels[i]).sqrt() * eps) / levels[i].sqrt()
        x = levels[i + 1].sqrt() * clean + (1.0 - levels[i + 1]).sqrt() * eps
    return x


@torch.no_grad()
def pictures(vae: AutoencoderKL, latents: Tensor, scale_factor: float) -> list[Image.Image]:
    """Scaled latents (B, 4, h, w) -> RGB pictures of 8h × 8w pixels."""
    decoded = torch.cat([vae.decode(one[None] / scale_factor) for one in latents])
    values = ((decoded.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return [Image.fromarray(np.ascontiguousarray(one)) for one in values.permute(0, 2, 3, 1).numpy()]


def sheet(images: list[Image.Image], columns: int) -> Image.Image:
    """All pictures on one, row by row, with a thin gap."""
    width, height = images[0].size
    rows = -(-len(images) // columns)
    whole = Image.new("RGB", (columns * (width + 4) - 4, rows * (height + 4) - 4), (90, 90, 90))
    for i, image in enumerate(images):
        whole.paste(image, (i % columns * (width + 4), i // columns * (height + 4)))
    return whole
