"""Identifies the rows of a diffusers network's text, by the inputs and results of the pipeline's `encode_prompt`.

The positive prompt's rows are found by comparison. Padding that looks like text is found from the token ids that the
encoder was given.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lib_pladis.hosts.module_hook import ModuleHook

Rows = Sequence[Tensor]
"""(L, C) of each row."""


@dataclass(frozen=True)
class Encoded:
    """A text that a pipeline has encoded. own: each prompt's own tokens among those of the last encoder. length: the
    number of that encoder's tokens."""

    rows: Rows
    positive: bool
    own: tuple[slice, ...] = ()
    length: int = 0


Place = tuple[Encoded, int]


class PipelineTexts:
    """The texts of a pipeline's last run. Replaces `pipe.encode_prompt` between `listen` and `leave`."""

    def __init__(self, pipe: Any) -> None:
        self._pipe = pipe
        self._encode = getattr(pipe, "encode_prompt", None)
        self._before = vars(pipe).get("encode_prompt")
        self._ours: Any = None
        self._encoded: list[Encoded] = []
        self._asked: tuple[Any, tuple[Place | None, ...]] | None = None

    def listen(self) -> None:
        """Start to record what `encode_prompt` returns."""
        if self._encode is None:
            return
        encode = self._encode

        @functools.wraps(encode)
        def pladis(*args: Any, **kwargs: Any) -> Any:
            if self._asked is not None:  # the last run's network has been called
                self._encoded, self._asked = [], None
            with self._encoder_calls() as calls:
                given = encode(*args, **kwargs)
            self._note(given if isinstance(given, tuple) else (given,), calls)
            return given

        self._ours = vars(self._pipe)["encode_prompt"] = pladis

    def leave(self) -> None:
        """Restore the original."""
        if self._ours is not None and vars(self._pipe).get("encode_prompt") is self._ours:
            del vars(self._pipe)["encode_prompt"]
            if self._before is not None:
                vars(self._pipe)["encode_prompt"] = self._before
        self._ours, self._encoded, self._asked = None, [], None

    def positive(self, context: Any) -> tuple[bool, ...] | None:
        """Which rows of a network's text are the positive prompt's; None if a row is of no known text, or of both."""
        found = self._of_rows(context)
        return None if None in found else tuple(each[0].positive for each in found if each is not None)

    def own(self, context: Any) -> tuple[slice | None, ...]:
        """Each row's own tokens, by the inputs of the last encoder, whose output is the context or its end; None if
        unknown."""
        own: list[slice | None] = []
        for row, found in zip(split_rows(context), self._of_rows(context)):
            if found is None or not found[0].own or len(row) < found[0].length:
                own.append(None)
                continue
            text, place = found
            keys = text.own[place * len(text.own) // len(text.rows)]  # several pictures a prompt
            first = len(row) - text.length
            own.append(slice(0, first + keys.stop) if first else keys)
        return tuple(own)

    def _of_rows(self, context: Any) -> tuple[Place | None, ...]:
        if self._asked is None or self._asked[0] is not context:
            rows = split_rows(context)
            self._asked = context, tuple(self._text_of(row) for row in rows)
        return self._asked[1]

    def _text_of(self, row: Tensor) -> Place | None:
        """The text that a row comes from, and its place there; None if unknown or ambiguous."""
        found = [
            (text, place)
            for text in self._encoded
            for place, each in enumerate(text.rows)
            if row.shape == each.shape and torch.equal(row, each.to(row))
        ]
        return found[0] if len({text.positive for text, _ in found}) == 1 else None

    @contextmanager
    def _encoder_calls(self) -> Iterator[list[tuple[tuple[slice, ...], int]]]:
        """Record the inputs of the pipeline's last text encoder (T5, if there are several) meanwhile."""
        calls: list[tuple[tuple[slice, ...], int]] = []
        names = [name for name in ("text_encoder_3", "text_encoder_2", "text_encoder") if hasattr(self._pipe, name)]
        encoder = getattr(self._pipe, names[0]) if names else None
        if not isinstance(encoder, torch.nn.Module):
            yield calls
            return

        listener = _Encoder(calls)
        ModuleHook.add(encoder, listener)
        try:
            yield calls
        finally:
            ModuleHook.remove(encoder, listener)

    def _note(self, given: tuple[Any, ...], calls: Sequence[tuple[tuple[slice, ...], int]]) -> None:
        """The positive prompt's text comes first; the negative one's is the second, or a second call's."""
        both = "negative_prompt" in inspect.signature(self._encode or len).parameters
        texts = [text for text in given if _is_text(text)][: 2 if both else 1]
        first = not any(text.positive for text in self._encoded)
        for index, text in enumerate(texts):
            own, length = calls[index] if index < len(calls) else ((), 0)
            positive = index == 0 if both else first
            self._encoded.append(Encoded(split_rows(text), positive, own, length))


class _Encoder:
    """Notes in `calls`, for each call of a text encoder in this thread, which tokens are the prompts' own, and how
    many there are."""

    def __init__(self, calls: list[tuple[tuple[slice, ...], int]]) -> None:
        self._calls, self._thread = calls, threading.get_ident()

    def applies(self, module: torch.nn.Module) -> bool:
        return threading.get_ident() == self._thread

    def call(self, module: torch.nn.Module, original: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        ids = args[0] if args else kwargs.get("input_ids")
        mask = kwargs.get("attention_mask", args[1] if len(args) > 1 else None)
        if isinstance(ids, Tensor) and ids.dim() == 2:
            if not isinstance(mask, Tensor) or mask.shape != ids.shape:
                mask = ids != (getattr(getattr(module, "config", None), "pad_token_id", None) or 0)
            try:
                self._calls.append((own_keys(mask.bool()), ids.shape[1]))
            except ValueError:
                self._calls.append(((), 0))
        return original(*args, **kwargs)


def _is_text(value: Any) -> bool:
    """Whether it is (B, L, C), or a list of (L, C), of real numbers."""
    if isinstance(value, list):
        return bool(value) and all(isinstance(each, Tensor) and each.dim() == 2 for each in value)
    return isinstance(value, Tensor) and value.is_floating_point() and value.dim() == 3


def split_rows(context: Any) -> Rows:
    """Of a tensor (B, L, C) or (B, 1, L, C), or of a list of (L, C)."""
    if isinstance(context, Tensor) and context.dim() == 4:
        context = context.flatten(1, 2)
    return list(context)


def own_keys(mask: Tensor) -> tuple[slice, ...]:
    """Which tokens each row of a mask, bool (B, L), has. ValueError if they aren't adjacent."""
    found = []
    for row in mask.cpu():
        places = row.nonzero().flatten().tolist()
        if places and places[-1] - places[0] != len(places) - 1:
            raise ValueError("a text whose padding lies between its tokens")
        found.append(slice(places[0], places[-1] + 1) if places else slice(0, 0))
    return tuple(found)
