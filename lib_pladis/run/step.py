"""One call of the host's denoiser, as reported by the host."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lib_pladis.facts import Conditions


@dataclass(frozen=True)
class Step:
    """Its index from 0, the expected number of steps, and whether it belongs to the Hires. fix pass.

    `conditions` is called when the network runs, so that it sees what other extensions put in place of the prompts.
    `size`: (h, w) of the latents, if the host tells it.
    """

    index: int
    total: int
    hires: bool = False
    conditions: Callable[[], Conditions] = Conditions
    size: tuple[int, int] | None = None
