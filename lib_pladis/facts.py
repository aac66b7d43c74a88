"""What a host knows about a step, and about one network call."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lib_pladis.models.base import TokenRanges

Positive = tuple[bool, ...] | None
"""For each row of a batch, whether it is conditioned on the positive prompt; None if unknown."""

Prompts = tuple[tuple["str | None", ...], tuple["str | None", ...]]
"""The prompt of each row of the positive and the negative conditions; None for one that changes from step to step."""


@dataclass(frozen=True)
class Conditions:
    """The text conditions of a step, (rows, tokens, channels), and the prompts that they were made of; None if the
    host doesn't tell."""

    positive: Tensor | None = None
    negative: Tensor | None = None
    prompts: Callable[[], Prompts] = lambda: ((), ())

    def tokens(self, positive: bool) -> int | None:
        """Number of a row's own tokens, for rows of this kind."""
        texts = self.positive if positive else self.negative
        return None if texts is None else texts.shape[1]


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


@dataclass(frozen=True)
class Facts:
    """What is determined once per network call and is the same in all its layers.

    rows: which rows of the batch are positive; None if unknown or not needed. own_keys: in cross-attention, the number
    of each row's own keys, which come first, if the rest only repeats them; () if all are its own. text: the places of
    text and image, in attention with other keys than the prompt's.
    """

    rows: Positive = None
    own_keys: tuple[int, ...] = ()
    text: TokenRanges | None = None


def picked(x: Tensor, rows: Sequence[int] | None) -> Tensor:
    """These rows of `x`, or all (None). Adjacent rows are a view, which needs no wait for an accelerator."""
    return x if rows is None else x[selection(tuple(rows), x.device)]


def selection(rows: tuple[int, ...], device: torch.device) -> slice | Tensor:
    """An index for these rows of a tensor on `device`."""
    if rows == tuple(range(rows[0], rows[0] + len(rows))):
        return slice(rows[0], rows[0] + len(rows))
    return _numbers(rows, device)


@functools.lru_cache(maxsize=64)
def _numbers(rows: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.tensor(rows, device=device)
