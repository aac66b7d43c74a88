"""How much of a text is padding that looks like text, as T5's and Qwen's does: told from the prompts and the host's own
tokenizer.

Such padding has no value of its own in the context: each pad token comes out of the encoder different. But its prompt
is known, and which of the step's texts a row has can be seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from lib_pladis.models.text import own_tokens, rows_of
from lib_pladis.models.unet import CLIP_CHUNK
from lib_pladis.run.step import Texts

Padding = Callable[[str, int], "int | None"]
"""How many pad tokens the text of a prompt, of so many tokens, ends with; None where that can't be known."""


def tokenized(engine: Any) -> Padding:
    """By a text engine of Forge's: it has `tokenize_line(prompt)` and `id_pad`."""
    known: dict[str, int | None] = {}

    def padding(prompt: str, length: int) -> int | None:
        if prompt not in known:
            known[prompt] = _pads(engine, prompt)
        return known[prompt]

    return padding


def _pads(engine: Any, prompt: str) -> int | None:
    found = engine.tokenize_line(prompt)
    chunks = found[0] if isinstance(found, tuple) else found
    if len(chunks) != 1:  # BREAK: a row for each
        return None
    tokens = list(chunks[0].tokens)
    pads = 0
    while pads < len(tokens) and tokens[-1 - pads] == engine.id_pad:
        pads += 1
    return pads


def in_two_parts(engine: Any) -> Padding:
    """By AUTOMATIC1111's T5 of SD3: its text is a first half of CLIP's tokens and a second of T5's, filled or cut to
    as many. `tokenize_line(prompt)` gives T5's."""
    known: dict[str, int] = {}

    def padding(prompt: str, length: int) -> int | None:
        if length % (2 * CLIP_CHUNK):
            return None
        if prompt not in known:
            known[prompt] = len(engine.tokenize_line(prompt)[0])
        return max(0, length // 2 - known[prompt])

    return padding


def own_of_rows(context: Tensor, texts: Texts, padding: Padding) -> tuple[int | None, ...]:
    """How many of its first tokens each row of `context`, (B, L, C), has of its prompt, if that is found among those
    of the step. Whatever stands behind a step's text was added to make rows equally long."""
    rows = rows_of(context)
    found: list[int | None] = [None] * len(rows)
    for text, prompts in zip((texts.positive, texts.negative), texts.prompts()):
        if text is None or len(prompts) != len(text):
            continue
        theirs = rows_of(text)
        seen = own_tokens(theirs)
        tokens = min(rows.shape[1], theirs.shape[1])
        for index, prompt in enumerate(prompts):
            if prompt is None:
                continue
            same = (rows[:, :tokens] == theirs[index, :tokens].to(rows)).flatten(1).all(1).tolist()
            # a last row that repeats made texts equally long; one of zeros is the encoder's
            length = seen[index] if theirs[index, -1].any() else theirs.shape[1]
            pads = padding(prompt, length) if any(same) else None
            for row, is_same in enumerate(same):
                if is_same and pads is not None:
                    found[row] = max(0, min(seen[index], length - pads))
    return tuple(found)


def parts_at_step(prompts: Sequence[str], parse: Any) -> tuple[str | None, ...]:
    """The texts of which a step's positive conditions are made, in their order: those between `AND` one after another.
    None for one that changes from step to step. parse: the host's `prompt_parser`."""
    parts: list[str] = []
    for prompt in prompts:
        (indexes,), texts, _ = parse.get_multicond_prompt_list([prompt])
        parts.extend(texts[index] for index, _ in indexes)
    return whole_at_step(parts, parse)


def whole_at_step(prompts: Sequence[str], parse: Any) -> tuple[str | None, ...]:
    """The same of prompts that aren't divided, as negative ones."""
    schedules = parse.get_learned_conditioning_prompt_schedules(list(prompts), 100)
    return tuple(schedule[0][1] if len(schedule) == 1 else None for schedule in schedules)
