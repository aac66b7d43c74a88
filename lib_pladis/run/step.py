"""One call of the host's denoiser, as the host tells it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lib_pladis.facts import Conditions


@dataclass(frozen=True)
class Step:
    """Its number from 0, how many are expected, and which pass it belongs to.

    `conditions` are asked for when the network runs, so that what other extensions put in the prompts' place is seen.
    `size`: of the latents, (h, w), where the host says.
    """

    index: int
    total: int
    hires: bool = False
    conditions: Callable[[], Conditions] = Conditions
    size: tuple[int, int] | None = None
