"""How much of a text is padding that looks like text, as T5's and Qwen's does: told from the prompts and the host's own
tokenizer.

Such padding has no value of its own in the context: each pad token comes out of the encoder different. But its prompt
is known, and which of the step's texts a row has can be seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from lib_pladis.models.text import rows_of
from lib_pladis.run.step import Texts

Padding = Callable[[str], "int | None"]
"""How many pad tokens a prompt's text ends with; None where that can't be known."""


def tokenized(engine: Any) -> Padding:
    """By a text engine of Forge's: it has `tokenize_line(prompt)` and `id_pad`."""
    known: dict[str, int | None] = {}

    def padding(prompt: str) -> int | None:
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


def padding_of_rows(context: Tensor, texts: Texts, padding: Padding) -> tuple[int | None, ...]:
    """The padding of each row of `context`, (B, L, C), whose prompt is found among those of the step."""
    rows = rows_of(context)
    found: list[int | None] = [None] * len(rows)
    for text, prompts in zip((texts.positive, texts.negative), texts.prompts()):
        if text is None or len(prompts) != len(text):
            continue
        theirs = rows_of(text).to(rows)
        tokens = min(rows.shape[1], theirs.shape[1])
        for index, prompt in enumerate(prompts):
            same = (rows[:, :tokens] == theirs[index, :tokens]).flatten(1).all(1).tolist()
            for row, is_same in enumerate(same):
                if is_same and prompt is not None:
                    found[row] = padding(prompt)
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
