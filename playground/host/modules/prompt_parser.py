"""Prompts: emphasis `(word:1.2)`, chunks of 75 tokens, `BREAK`, and several prompts joined by `AND`."""

from __future__ import annotations

import dataclasses
import functools
import re

import torch
from torch import Tensor

RE_TOKEN = re.compile(r"\\[\\()\[\]]|:\s*([+-]?\d*\.?\d+)\s*\)|[()\[\]]|\bBREAK\b|\\|[^\\()\[\]:B]+|:|B")
RE_AND = re.compile(r"\bAND\b")
RE_WEIGHT = re.compile(r"^(.*?)(?:\s*:\s*([-+]?(?:\d+\.?|\d*\.\d+)))?\s*$", re.S)
CHUNK = 75


def parse_prompt_attention(text: str) -> list[tuple[str, float]]:
    """Pieces of `text` with their weights: `(x)` times 1.1, `[x]` divided by 1.1, `(x:w)` times w,
    nested brackets multiply, a backslash quotes a bracket. `("BREAK", -1)` marks a chunk's end."""
    pieces: list[tuple[str, float]] = []
    opened: list[tuple[str, int]] = []

    def scale(start: int, factor: float) -> None:
        pieces[start:] = [(t, w * factor if w >= 0 else w) for t, w in pieces[start:]]

    for match in RE_TOKEN.finditer(text):
        token, weight = match.group(0), match.group(1)
        if token in "([":
            opened.append((token, len(pieces)))
        elif weight is not None and opened and opened[-1][0] == "(":
            scale(opened.pop()[1], float(weight))
        elif token == ")" and opened and opened[-1][0] == "(":
            scale(opened.pop()[1], 1.1)
        elif token == "]" and opened and opened[-1][0] == "[":
            scale(opened.pop()[1], 1 / 1.1)
        elif token == "BREAK":
            pieces.append(("BREAK", -1))
        else:
            pieces.append((token[1:] if len(token) == 2 and token[0] == "\\" else token, 1.0))
    while opened:
        bracket, start = opened.pop()
        scale(start, 1.1 if bracket == "(" else 1 / 1.1)

    merged: list[tuple[str, float]] = []
    for piece, weight_ in pieces:
        if merged and weight_ >= 0 and merged[-1][1] == weight_:
            merged[-1] = (merged[-1][0] + piece, weight_)
        else:
            merged.append((piece, weight_))
    return merged or [("", 1.0)]


@functools.lru_cache(maxsize=256)
def encode(text: str) -> Tensor:
    """Encoder states of one prompt, (77 · chunks, width). Weights multiply the states, whose mean is kept."""
    from modules import shared

    stage = shared.sd_model.cond_stage_model
    chunks: list[list[tuple[int, float]]] = [[]]
    for piece, weight in parse_prompt_attention(text):
        if weight < 0:
            chunks.append([])
            continue
        for token in stage.tokenize(piece):
            if len(chunks[-1]) == CHUNK:
                chunks.append([])
            chunks[-1].append((token, weight))

    states = []
    for chunk in chunks:
        pad = CHUNK + 1 - len(chunk)
        ids = torch.tensor([[stage.id_start, *(t for t, _ in chunk), *[stage.id_end] * pad]])
        weights = torch.tensor([1.0, *(w for _, w in chunk), *[1.0] * pad])
        z = stage.encode_ids(ids)[0]
        weighted = z * weights.to(z)[:, None]
        states.append(weighted * (z.mean() / weighted.mean()) if bool((weights != 1).any()) else z)
    return torch.cat(states)


def stack_conds(conds: list[Tensor]) -> Tensor:
    """(n, longest, width); a shorter one is filled up with its last state."""
    longest = max(len(c) for c in conds)
    return torch.stack([torch.cat([c, c[-1:].expand(longest - len(c), -1)]) for c in conds])


@dataclasses.dataclass
class MulticondLearnedConditioning:
    """Per picture, `batch[i]` lists (encoded prompt, weight): one, or several joined by `AND`."""

    shape: tuple[int]
    batch: list[list[tuple[Tensor, float]]]


def get_learned_conditioning(prompts: list[str]) -> list[Tensor]:
    return [encode(prompt) for prompt in prompts]


def get_multicond_learned_conditioning(prompts: list[str]) -> MulticondLearnedConditioning:
    batch = []
    for prompt in prompts:
        parts = [m.groups() for part in RE_AND.split(prompt) if (m := RE_WEIGHT.match(part))]
        batch.append([(encode(text), float(weight or 1.0)) for text, weight in parts])
    return MulticondLearnedConditioning((len(prompts),), batch)


def reconstruct_multicond_batch(
    c: MulticondLearnedConditioning, step: int
) -> tuple[list[list[tuple[int, float]]], Tensor]:
    """For each picture its (row, weight) pairs, and the rows (n, tokens, width)."""
    conds_list, tensors = [], []
    for prompts in c.batch:
        conds_list.append([(len(tensors) + i, weight) for i, (_, weight) in enumerate(prompts)])
        tensors += [cond for cond, _ in prompts]
    return conds_list, stack_conds(tensors)


def reconstruct_cond_batch(c: list[Tensor], step: int) -> Tensor:
    return stack_conds(c)
