"""Noise: one generator per picture, so that a picture is the same alone and in a batch."""

from __future__ import annotations

import torch
from torch import Tensor

from modules import devices


class ImageRNG:
    """Successive standard-normal draws of `shape` (C, h, w) for each seed; `next()` is (len(seeds), C, h, w)."""

    def __init__(self, shape: tuple[int, ...], seeds: list[int], **ignored: object) -> None:
        self.shape, self.seeds = tuple(shape), seeds
        self.generators = [torch.Generator("cpu").manual_seed(int(seed)) for seed in seeds]

    def next(self) -> Tensor:
        draws = [torch.randn(self.shape, generator=generator) for generator in self.generators]
        return torch.stack(draws).to(devices.device)
