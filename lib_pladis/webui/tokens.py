"""The words of a prompt and their key columns, by the tokenizer of the model in use.

AUTOMATIC1111 has it in `cond_stage_model`, or in SDXL's `conditioner`; Forge and its forks in a text processing
engine. Both tokenize a prompt by `tokenize_line(text)`, after emphasis and BREAK, into chunks whose `tokens` are the
columns. AND and words that change during sampling are handled by the web UI's `prompt_parser`.
"""

from __future__ import annotations

import inspect
import re
import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lib_pladis.run.probe import Columns

MOST_WORDS = 12
MOST_COLUMNS = 4096
"""Maximum number of columns of a named range if the prompt's own number is unknown."""

COLUMN = re.compile(r"#(\d{1,6})(?:-(\d{1,6}))?")
"""A column by its number, or a range of them."""

SEPARATOR = re.compile("[,，、;；]")

IN_BETWEEN = frozenset(
    "a an the and or of in on at to for from with by as is are be it its his her their this that".split()
)
"""Words that are looked at only if named."""


@dataclass(frozen=True)
class Word:
    """One word as it stands in a prompt, and its columns."""

    text: str
    columns: tuple[int, ...]


@dataclass(frozen=True)
class Tokens:
    """One prompt as the network gets it: its words in order, and the kind of each column (`probe.KINDS`)."""

    words: tuple[Word, ...]
    kinds: tuple[str, ...]

    def columns(self, names: Sequence[str]) -> Columns:
        """The columns of the names that occur."""
        found = {name: self.find(name) for name in names}
        return Columns({name: columns for name, columns in found.items() if columns}, self.kinds)

    def find(self, name: str) -> tuple[int, ...]:
        """All columns of a word, of several in a row, or of `#3` and `#3-5`, wherever they occur in the prompt.

        A name is matched against the tokenizer's words joined together, whatever pieces it makes of them, without
        punctuation: `1girl`, `blue_hair`, `16:9`.
        """
        numbered = COLUMN.fullmatch(name)
        if numbered:
            first, last = int(numbered[1]), int(numbered[2] or numbered[1])
            return tuple(range(first, min(last + 1, len(self.kinds) or MOST_COLUMNS)))
        wanted = letters(name)
        words = [(letters(word.text), word) for word in self.words]
        words = [(text, word) for text, word in words if text]
        columns: list[int] = []
        for start in range(len(words)):
            text, end = "", start
            while end < len(words) and len(text) < len(wanted) and wanted.startswith(text):
                text, end = text + words[end][0], end + 1
            if wanted and text == wanted:
                columns += [column for _, word in words[start:end] for column in word.columns]
        return tuple(dict.fromkeys(columns))

    @property
    def content(self) -> tuple[str, ...]:
        """The content words, once each, in order."""
        texts = [word.text for word in self.words if any(map(str.isalnum, word.text))]
        return tuple(dict.fromkeys(text for text in texts if text.lower() not in IN_BETWEEN))


def letters(text: str) -> str:
    """A name or word in the form in which it is compared: letters and digits, without case or width."""
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKC", text).casefold()))


def names_in(text: str) -> list[str]:
    """The names that the user asked for: words or phrases, separated by commas, without emphasis."""
    from modules import prompt_parser

    parse = getattr(prompt_parser, "parse_prompt_attention", lambda plain: [(plain, 1.0)])
    plain = "".join(part for part, _ in parse(text)) if text else ""
    return list(dict.fromkeys(name for name in map(str.strip, SEPARATOR.split(plain)) if name))


class NoTokenizer(LookupError):
    """The model's tokenizer can't be reached; the message says which model's."""


def tokenizer_of(sd_model: Any) -> Any:
    """The function that turns a prompt into the columns that this model's attention sees. Raises NoTokenizer."""
    for name in ("text_processing_engine_t5", "text_processing_engine", "text_processing_engine_l"):
        engine = getattr(sd_model, name, None)
        if hasattr(engine, "tokenize_line"):
            if name.endswith("_t5") and getattr(sd_model, "is_sd3", False):
                break  # its context is CLIP's columns and then T5's
            return engine
    embedders = getattr(getattr(sd_model, "conditioner", None), "embedders", ())
    for stage in (getattr(sd_model, "cond_stage_model", None), *embedders):
        if hasattr(stage, "tokenize_line"):
            return stage
    raise NoTokenizer(f"the tokenizer of this model ({type(sd_model).__name__}) can't be reached")


def tokens_of(engine: Any, text: str) -> Tokens:
    """`text` tokenized by the host's own tokenizer."""
    tokenizer = getattr(engine, "tokenizer", None) or vars(sys.modules[type(engine).__module__])["tokenizer"]
    end = engine.id_end
    start = getattr(engine, "id_start", None)
    words: list[Word] = []
    kinds: list[str] = []
    for chunk in engine.tokenize_line(text)[0]:
        offset, tokens = len(kinds), [int(token) for token in chunk.tokens]
        first = 1 if start is not None and tokens[:1] == [start] else 0
        last = tokens.index(end, first) if end in tokens[first:] else len(tokens)
        kinds += ["start"] * first + ["words"] * (last - first)
        kinds += ["end"] * (last < len(tokens)) + ["padding"] * (len(tokens) - last - 1)
        words += _words(tokenizer, tokens, first, last, offset, getattr(chunk, "fixes", ()))
    return Tokens(tuple(words), tuple(kinds))


def _words(tokenizer: Any, tokens: list[int], first: int, last: int, offset: int, fixes: Any) -> list[Word]:
    embeddings = {first + fix.offset: fix.embedding for fix in fixes}
    words: list[Word] = []
    run: list[int] = []  # columns in the chunk of the word that has begun

    def close() -> None:
        if run:
            text = tokenizer.decode([tokens[column] for column in run]).strip()
            words.append(Word(text, tuple(offset + column for column in run)))
            run.clear()

    pieces = [_piece(tokenizer, token) for token in tokens]
    sentence = any(piece.startswith("▁") for piece in pieces)  # whose words may hold punctuation
    column = first
    while column < last:
        embedding = embeddings.get(column)
        if embedding is not None:
            close()
            length = int(embedding.vectors)
            words.append(Word(str(embedding.name), tuple(range(offset + column, offset + column + length))))
            column += length
            continue
        piece = pieces[column]
        mark = sentence and not letters(piece)
        if mark or piece.startswith("▁"):
            close()
        run.append(column)
        if mark or piece.endswith("</w>"):
            close()
        column += 1
    close()
    return words


def _piece(tokenizer: Any, token: int) -> str:
    """A token as written in the vocabulary: CLIP's ends a word with </w>, T5's begins one with ▁."""
    if hasattr(tokenizer, "convert_ids_to_tokens"):
        return str(tokenizer.convert_ids_to_tokens([token])[0])
    return str(tokenizer.decoder[token])


def prompt_parts(prompts: Sequence[str], steps: int, hires_steps: int | None) -> list[list[list[tuple[float, str]]]]:
    """For each prompt its subprompts (AND), and for each its text by step ([a:b:0.5])."""
    from modules import prompt_parser, shared

    split = getattr(prompt_parser, "get_multicond_prompt_list", None)
    if split is None:
        return [[[(float("inf"), prompt)]] for prompt in prompts]
    indexes, flat, _ = split(list(prompts))
    schedule = getattr(prompt_parser, "get_learned_conditioning_prompt_schedules", None)
    if schedule is None:
        schedules: Any = [[(float("inf"), text)] for text in flat]
    else:
        old = {"use_old_scheduling": bool(getattr(shared.opts, "use_old_scheduling", False))}
        known = old if "use_old_scheduling" in inspect.signature(schedule).parameters else {}
        schedules = schedule([str(text) for text in flat], steps, hires_steps, **known)
    return [[[(float(end), text) for end, text in schedules[_index(part)]] for part in parts] for parts in indexes]


def _index(part: Any) -> int:
    return int(part[0] if isinstance(part, (tuple, list)) else part)
