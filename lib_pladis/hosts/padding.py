"""How much of a text is padding that looks like text (T5, Qwen), found with the prompts and the host's own tokenizer.

The encoder turns each pad token into a different vector, so padding can't be recognized in the context alone. But a row
can be compared with the step's conditions, whose prompts are known.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from lib_pladis.facts import Conditions
from lib_pladis.models.text import own_tokens, rows_of
from lib_pladis.models.unet import CLIP_CHUNK

Own = Callable[[str, int], "int | None"]
"""Number of tokens that a prompt has of its own in a text of that length; None if unknown."""


def padded(engine: Any, clip: Any = None) -> Own:
    """For a text engine of Forge's that pads: it has `tokenize_line(prompt)` and `id_pad`. clip: SD3's second engine,
    whose chunks come first."""

    @functools.cache
    def counted(prompt: str) -> tuple[int, int, int] | None:
        """CLIP's tokens, the engine's tokens with pads, and the pads; None if the text has several rows (BREAK)."""
        chunks = _chunks(engine, prompt)
        if len(chunks) != 1:
            return None
        tokens = list(chunks[0].tokens)
        pads = 0
        while pads < len(tokens) and tokens[-1 - pads] == engine.id_pad:
            pads += 1
        return 0 if clip is None else CLIP_CHUNK * len(_chunks(clip, prompt)), len(tokens), pads

    def own(prompt: str, length: int) -> int | None:
        found = counted(prompt)
        if found is None:
            return None
        first, tokens, pads = found
        if length < first + tokens:  # cut, at its beginning
            return max(0, length - pads) if clip is None else None
        return first + tokens - pads

    return own


def in_two_parts(clip: Any, t5: Any) -> Own:
    """For AUTOMATIC1111's SD3, whose text is CLIP's chunks followed by T5's tokens, padded or cut to the same length.
    `tokenize_line(prompt)` of `clip` returns chunks, that of `t5` tokens."""

    @functools.cache
    def counted(prompt: str) -> tuple[int, int]:
        return CLIP_CHUNK * len(_chunks(clip, prompt)), len(_chunks(t5, prompt))

    def own(prompt: str, length: int) -> int | None:
        first, tokens = counted(prompt)
        return first + min(first, tokens) if length >= 2 * first else None

    return own


def _chunks(engine: Any, prompt: str) -> Any:
    found = engine.tokenize_line(prompt)
    return found[0] if isinstance(found, tuple) else found


def own_of_rows(context: Tensor, conditions: Conditions, own: Own) -> tuple[int | None, ...]:
    """The number of each row's own tokens in `context`, (B, L, C); None for a row whose prompt is not one of the
    step's."""
    rows = rows_of(context)
    found: list[int | None] = [None] * len(rows)
    for text, prompts in zip((conditions.positive, conditions.negative), conditions.prompts()):
        if text is None or len(prompts) != len(text):
            continue
        theirs = rows_of(text)
        seen = own_tokens(theirs)
        tokens = min(rows.shape[1], theirs.shape[1])
        for index, prompt in enumerate(prompts):
            if prompt is None:
                continue
            same = (rows[:, :tokens] == theirs[index, :tokens].to(rows)).flatten(1).all(1).tolist()
            count = own(prompt, theirs.shape[1]) if any(same) else None
            if count is not None:
                count = _to_the_last(theirs[index, : min(seen[index], count)])
            for row, is_same in enumerate(same):
                if is_same and count is not None:
                    found[row] = count
    return tuple(found)


def _to_the_last(text: Tensor) -> int:
    """Number of tokens of (L, C) up to the last one that isn't zero."""
    filled = text.any(1).nonzero()
    return int(filled[-1]) + 1 if len(filled) else 0


def parts_at_step(prompts: Sequence[str], parse: Any) -> tuple[str | None, ...]:
    """The texts of a step's positive conditions in order, subprompts (AND) separately; None for a text that changes
    from step to step. parse: the host's `prompt_parser`."""
    parts: list[str] = []
    for prompt in prompts:
        (indexes,), texts, _ = parse.get_multicond_prompt_list([prompt])
        parts.extend(texts[index] for index, _ in indexes)
    return whole_at_step(parts, parse)


def whole_at_step(prompts: Sequence[str], parse: Any) -> tuple[str | None, ...]:
    """The same for prompts without subprompts, such as negative ones."""
    schedules = parse.get_learned_conditioning_prompt_schedules(list(prompts), 100)
    return tuple(schedule[0][1] if len(schedule) == 1 else None for schedule in schedules)
