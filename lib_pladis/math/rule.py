"""How the sparse and the dense map are combined into one output."""

from __future__ import annotations

import math
from dataclasses import dataclass

LARGEST_SCALE = 1e6
"""Largest |λ|: with more, results could overflow fp32."""

TEMPERATURES = (1e-6, 1e6)
"""Range of the temperature. Near its ends fp32 resolves logits only coarsely."""


@dataclass(frozen=True)
class Mix:
    """(λ α-entmax(z / t) + (1 − λ) softmax(z)) V: equation 9 of the paper, with a temperature t.

    scale: λ, -1e6 to 1e6; 0 is the dense map, 1 the sparse map alone, above 1 extrapolates.
    alpha: α, 1 (softmax) to 2 (sparsemax). temperature: t, 1e-6 to 1e6; of the sparse map only.
    rescale: φ, 0 to 1. Each query's and head's output is multiplied by (1 − φ) + φ ‖dense‖ / ‖out‖, because the blend
        increases its norm.
    change: return the difference to plain attention, for adding it to an output that exists already.
    Raises ValueError for a λ or t outside these ranges.
    """

    scale: float = 2.0
    alpha: float = 1.5
    temperature: float = 1.0
    rescale: float = 0.0
    change: bool = False

    def __post_init__(self) -> None:
        least, most = TEMPERATURES
        if not abs(self.scale) <= LARGEST_SCALE:
            raise ValueError(f"scale: got {self.scale!r}, allowed: {-LARGEST_SCALE:g} to {LARGEST_SCALE:g}")
        if not least <= self.temperature <= most:
            raise ValueError(f"temperature: got {self.temperature!r}, allowed: {least:g} to {most:g}")

    @property
    def dense(self) -> float:
        """The factor of the dense map without rescaling."""
        return -self.scale if self.change else 1.0 - self.scale

    @property
    def factors(self) -> tuple[float, float, float]:
        """The factors of the sparse map (0 to 1), the dense map (−1 to 1) and the result, for the fused kernels: with
        them half precision can represent the weights for any λ."""
        dense = 1.0 - self.scale if self.rescale else self.dense
        largest = math.copysign(max(abs(self.scale), abs(dense), 1.0), self.scale)
        return self.scale / largest, dense / largest, largest

    @property
    def why_plain(self) -> str:
        """Why this is plain softmax attention; "" if it is not."""
        if self.scale == 0:
            return "λ is 0"
        if self.alpha == 1 and self.temperature == 1:
            return "α is 1 at temperature 1, which is plain softmax"
        return ""
