"""Which of a transformer's text tokens are the prompt's own.

Web UIs pad a prompt's tokens to a length: with rows of zeros (Anima, Wan, SD3 without T5), by repeating the last token,
or by repeating the whole shorter prompt; or with pad tokens, which the encoder (T5) turns into vectors that look like
text. α-entmax's threshold depends on every key, so padding is left out: it keeps its weight of plain attention.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

MOST_REPEATS = 4
"""Maximum number of times that web UIs repeat a prompt to make two equally long."""


def own_tokens(context: Tensor, known: Sequence[int | None] = ()) -> list[int]:
    """The number of each row's own tokens, which come first: without trailing tokens that are zero or repeat the one
    before, without copies of the whole, and at most `known` if that is given.

    context: (B, L, C) or (B, 1, L, C), before the network changes it. The number is 0 if all tokens are zero.
    """
    context = rows_of(context)
    batch, length = context.shape[:2]
    own = torch.full((batch,), length, device=context.device)
    for copies in range(2, MOST_REPEATS + 1):
        if length % copies == 0 and length > copies:
            period = length // copies
            repeats = (context[:, period:] == context[:, :-period]).flatten(1).all(1)
            own = torch.where(repeats, torch.full_like(own, period), own)
    last = context[torch.arange(batch, device=context.device), own - 1]
    position = torch.arange(length, device=context.device)
    differs = (context != last[:, None]).any(2) & (position < own[:, None])
    before_run = torch.where(differs, position + 1, torch.zeros_like(position)).amax(1)
    found = torch.where(last.bool().any(1), before_run + 1, before_run).tolist()
    return [tokens if most is None else min(tokens, most) for tokens, most in zip(found, known or [None] * batch)]


def rows_of(context: Tensor) -> Tensor:
    """(B, L, C) of (B, L, C) or (B, 1, L, C)."""
    if context.dim() == 4:
        context = context.flatten(1, 2)
    if context.dim() != 3 or not context.shape[1]:
        raise ValueError(f"a context of shape {tuple(context.shape)}")
    return context


def picture_tokens(latent: Tensor, patch: int) -> int:
    """Number of tokens of the generated image: its patches; those cut off at the edge count whole."""
    frames = latent.shape[2] if latent.dim() == 5 else 1
    return frames * math.prod(-(-side // patch) for side in latent.shape[-2:])
