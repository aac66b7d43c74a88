"""Prompts: emphasis `(word:1.2)`, chunks of 75 tokens, `BREAK`, and several prompts joined by `AND`."""

from __future__ import annotations

import dataclasses
import functools
import re
from typing import Any

import torch
from torch import Tensor

from modules import devices, shared

WEIGHT = r":\s*([+-]?\d*\.?\d+)\s*\)"
RE_TOKEN = re.compile(rf"\\[\\()\[\]]|{WEIGHT}|[()\[\]]|\bBREAK\b|\\|(?:(?!{WEIGHT}|\bBREAK\b)[^\\()\[\]])+")
RE_AND = re.compile(r"\bAND\b")
RE_WEIGHT = re.compile(r"(.*?)(?:\s*:\s*([-+]?(?:\d+\.?|\d*\.\d+)))?\s*", re.S)
CHUNK = 75


def parse_prompt_attention(text: str) -> list[tuple[str, float]]:
    """Pieces of `text` with their weights: `(x)` times 1.1, `[x]` divided by 1.1, `(x:w)` times w,
    nested brackets multiply, a backslash quotes a bracket. `("BREAK", -1)` marks a chunk's end."""
    pieces: list[tuple[str, float]] = []
    opened: list[tuple[str, int]] = []

    def close(factor: float) -> None:
        start = opened.pop()[1]
        pieces[start:] = [(t, w * factor if w >= 0 else w) for t, w in pieces[start:]]

    for match in RE_TOKEN.finditer(text):
        token, weight = match.group(0), match.group(1)
        last = opened[-1][0] if opened else ""
        if token in "([":
            opened.append((token, len(pieces)))
        elif last == "(" and (weight or token == ")"):
            close(float(weight or 1.1))
        elif last == "[" and token == "]":
            close(1 / 1.1)
        elif token == "BREAK":
            pieces.append(("BREAK", -1))
        else:
            pieces.append((token[1:] if len(token) == 2 and token[0] == "\\" else token, 1.0))
    while opened:
        close(1.1 if opened[-1][0] == "(" else 1 / 1.1)
    return pieces


@dataclasses.dataclass
class PromptChunk:
    """77 tokens, start, end and padding included, and what each is multiplied by."""

    tokens: list[int]
    multipliers: list[float]
    fixes: list[Any]


def tokenize_line(line: str, tokenizer: Any) -> tuple[list[PromptChunk], int]:
    """The chunks of one prompt, and how many tokens its own are."""
    chunks: list[list[tuple[int, float]]] = [[]]
    for piece, weight in parse_prompt_attention(line):
        tokens = [] if weight < 0 else tokenizer(piece, add_special_tokens=False).input_ids
        if weight < 0:
            chunks.append([])
        for token in tokens:
            if len(chunks[-1]) == CHUNK:
                chunks.append([])
            chunks[-1].append((token, weight))
    start, end = (tokenizer.bos_token_id, 1.0), (tokenizer.eos_token_id, 1.0)
    marked = [[start, *chunk, *[end] * (CHUNK + 1 - len(chunk))] for chunk in chunks]
    whole = [PromptChunk([token for token, _ in each], [weight for _, weight in each], []) for each in marked]
    return whole, sum(map(len, chunks))


@functools.lru_cache(maxsize=256)
def encode(text: str) -> Tensor:
    """Encoder states of one prompt, (77 · chunks, width). Weights multiply the states, whose mean is kept."""
    stage = shared.sd_model.cond_stage_model
    states = []
    for chunk in stage.tokenize_line(text)[0]:
        ids, weights = (torch.tensor([x], device=devices.device) for x in (chunk.tokens, chunk.multipliers))
        with torch.no_grad():
            z = stage.encode_ids(ids)[0]
        weighted = z * weights.T
        states.append(weighted * (z.mean() / weighted.mean()) if bool((weights != 1).any()) else z)
    return torch.cat(states)


def stack_conds(conds: list[Tensor]) -> Tensor:
    """(n, longest, width); a shorter one is filled up with its last state."""
    longest = max(len(c) for c in conds)
    return torch.stack([torch.cat([c, c[-1:].expand(longest - len(c), -1)]) for c in conds])


def get_learned_conditioning(prompts: list[str]) -> list[Tensor]:
    return [encode(prompt) for prompt in prompts]


def get_multicond_prompt_list(prompts: list[str]) -> tuple[list[list[tuple[int, float]]], list[str], dict[str, int]]:
    """For each prompt (index, weight) of its parts, one or several joined by `AND`; the texts of all, each once; and
    their indexes."""
    indexes: dict[str, int] = {}
    parts = [[RE_WEIGHT.fullmatch(part) for part in RE_AND.split(prompt)] for prompt in prompts]
    found = [
        [(indexes.setdefault(m.group(1), len(indexes)), float(m.group(2) or 1.0)) for m in matches if m]
        for matches in parts
    ]
    return found, list(indexes), indexes


def get_multicond_learned_conditioning(prompts: list[str]) -> list[list[tuple[Tensor, float]]]:
    """For each prompt the (states, weight) of its parts."""
    found, texts, _ = get_multicond_prompt_list(prompts)
    return [[(encode(texts[index]), weight) for index, weight in parts] for parts in found]


def reconstruct_multicond_batch(c: list[list[tuple[Tensor, float]]]) -> tuple[Any, Tensor]:
    """For each picture its (row, weight) pairs, and the rows (n, tokens, width)."""
    conds_list: list[Any] = []
    tensors: list[Tensor] = []
    for parts in c:
        conds_list.append([(len(tensors) + i, weight) for i, (_, weight) in enumerate(parts)])
        tensors += [cond for cond, _ in parts]
    return conds_list, stack_conds(tensors)
