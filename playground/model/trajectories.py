"""The teacher's trajectories for distil.py, and the Euler steps that draw them.

The noise levels are those of the webui's schedule "SGM Uniform": n equal parts of the timesteps
from 999 to 0, each part's upper end a step, then 0. The teacher takes SUBSTEPS steps for each one of
the student's, so every fourth latent of its path is one that the student passes: a knot.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .load import Model
from .sampler import Denoiser
from .scenes import caption, sample

KNOTS, SUBSTEPS, CFG = 4, 4, 5.0


@dataclass(frozen=True)
class Grid:
    """`timesteps` (n,) falling, between whole numbers; `sigmas` (n + 1,) falling, the last is 0."""

    timesteps: Tensor
    sigmas: Tensor

    def scale(self) -> Tensor:
        """(n + 1,): latents x0 + sigma * noise times this are what the UNet sees (variance 1)."""
        return (self.sigmas**2 + 1.0).rsqrt()


def sgm_uniform(alphas_cumprod: Tensor, steps: int) -> Grid:
    """The schedule above; sigma = sqrt((1 - a) / a), its log linear between whole timesteps."""
    logs = ((1.0 - alphas_cumprod) / alphas_cumprod).log() / 2.0
    times = torch.linspace(len(logs) - 1, 0, steps + 1)[:-1]
    low, high = times.floor().long(), times.ceil().long()
    sigmas = torch.lerp(logs[low], logs[high], times.frac()).exp()
    return Grid(times, torch.cat([sigmas, torch.zeros(1)]))


@torch.no_grad()
def euler(
    denoise: Denoiser, noise: Tensor, context: Tensor, grid: Grid, empty: Tensor | None = None, cfg: float = 1.0
) -> list[Tensor]:
    """k-diffusion's Euler from noise (B, 4, h, w) of variance 1: the latents at all n + 1 levels.

    Level i is x0 + sigma_i * noise; the last is the picture. Where cfg is not 1, `empty`
    (1, 77, width) is the context of the empty prompt and each step costs two rows a picture.
    """
    x, rows = noise * grid.sigmas[0], len(noise)
    if cfg != 1.0:
        if empty is None:
            raise ValueError("guidance needs the context of the empty prompt")
        context = torch.cat([context, empty.expand(rows, -1, -1)])
    levels = [x]
    for i, (t, scale) in enumerate(zip(grid.timesteps, grid.scale())):
        seen = (x * scale).repeat(len(context) // rows, 1, 1, 1)
        eps = denoise(seen, t.expand(len(seen)), context)
        if cfg != 1.0:
            cond, uncond = eps.chunk(2)
            eps = uncond + cfg * (cond - uncond)
        x = x + (grid.sigmas[i + 1] - grid.sigmas[i]) * eps
        levels.append(x)
    return levels


def captions_of(part: int, size: int, seed: int) -> list[str]:
    """The prompts of one part: captions of training scenes, so nothing that is held out."""
    rng = random.Random(f"{seed}:{part}:distil")
    return [caption(sample(rng), rng) for _ in range(size)]


def build(
    folder: Path, teacher: Model, parts: range, size: int, seed: int, log: Callable[[str], None], batch: int = 32
) -> None:
    """Draws the parts that are not there yet into `folder`/<part>.npy.

    A part is (KNOTS + 1, size, 4, 16, 16) fp16: the latents at the knots, scaled to variance 1.
    """
    folder.mkdir(parents=True, exist_ok=True)
    grid = sgm_uniform(teacher.alphas_cumprod, KNOTS * SUBSTEPS)
    scales = grid.scale()[::SUBSTEPS].view(-1, 1, 1, 1, 1)
    empty = teacher.text([""])

    def denoise(x: Tensor, t: Tensor, context: Tensor) -> Tensor:
        return teacher.unet(x, t, context=context)

    for part in parts:
        path = folder / f"{part}.npy"
        if path.exists():
            continue
        texts = captions_of(part, size, seed)
        noise = torch.randn(size, 4, 16, 16, generator=torch.Generator().manual_seed(seed * 1_000_003 + part))
        knots = []
        for at in range(0, size, batch):
            context = teacher.text(texts[at : at + batch])
            levels = euler(denoise, noise[at : at + batch], context, grid, empty, CFG)
            knots.append(torch.stack(levels[::SUBSTEPS]) * scales)
        with path.with_suffix(".tmp").open("wb") as file:
            np.save(file, torch.cat(knots, 1).numpy().astype(np.float16))
        path.with_suffix(".tmp").replace(path)
        log(f"trajectories of part {part}")


def read(folder: Path, parts: int, size: int, seed: int) -> tuple[np.ndarray, list[str]]:
    """All knots (KNOTS + 1, N, 4, 16, 16) fp16 and their N prompts."""
    knots = np.concatenate([np.load(folder / f"{part}.npy") for part in range(parts)], axis=1)
    return knots, [text for part in range(parts) for text in captions_of(part, size, seed)]
