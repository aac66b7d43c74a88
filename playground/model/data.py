"""The latent cache: training scenes, drawn, encoded once and kept on disk in fp16."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from .nets import AutoencoderKL
from .scenes import Scene, render, sample
from .train_vae import to_tensor

CHUNK = 500


def scenes_of(part: int, seed: int) -> list[Scene]:
    """The CHUNK training scenes of one part of the cache."""
    rng = random.Random(f"{seed}:{part}")
    return [sample(rng) for _ in range(CHUNK)]


@torch.no_grad()
def build(folder: Path, vae: AutoencoderKL, parts: range, seed: int, log: Callable[[str], None]) -> None:
    """Encodes the parts that are not there yet into `folder`/<part>.npy (posterior means)."""
    folder.mkdir(parents=True, exist_ok=True)
    vae.eval()
    for part in parts:
        path = folder / f"{part}.npy"
        if path.exists():
            continue
        rng = random.Random(f"{seed}:{part}:paint")
        pictures = [np.asarray(render(scene, rng)) for scene in scenes_of(part, seed)]
        latents = [vae.encode(to_tensor(pictures[i : i + 25])).numpy().astype(np.float16) for i in range(0, CHUNK, 25)]
        with path.with_suffix(".tmp").open("wb") as file:
            np.save(file, np.concatenate(latents))
        path.with_suffix(".tmp").replace(path)
    log(f"latents of parts {parts.start} to {parts.stop - 1} are there")


def read(folder: Path, parts: int, seed: int) -> tuple[np.ndarray, list[Scene]]:
    """All latents (N, 4, 16, 16) fp16 and their scenes."""
    latents = np.concatenate([np.load(folder / f"{part}.npy") for part in range(parts)])
    return latents, [scene for part in range(parts) for scene in scenes_of(part, seed)]
