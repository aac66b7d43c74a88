"""Text keys of each row of a batch, and the remaining keys."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

Keys = slice | Tensor
"""Key columns: a slice, or their indices, int64."""

MUCH = 0.05
"""Share of all keys from which text is computed separately from the rest. The gain grows with the text; the cost, more
and smaller calls of torch's attention, does not."""


def each_row(text_keys: object, batch: int, keys: int) -> Keys | list[Keys]:
    """Text keys as `groups_of` takes them: a slice unchanged; for a mask its indices, per row if the mask has rows.
    Raises ValueError for anything else."""
    if isinstance(text_keys, slice):
        if text_keys.step not in (None, 1):
            raise ValueError(f"text_keys: got {text_keys}, allowed: a slice without a step, or a bool mask")
        return text_keys
    if not isinstance(text_keys, Tensor) or text_keys.dtype != torch.bool:
        got = text_keys.dtype if isinstance(text_keys, Tensor) else type(text_keys).__name__
        raise ValueError(f"text_keys: got {got}, allowed: a slice, or a bool mask (Lk,) or (B, Lk)")
    if tuple(text_keys.shape) not in ((keys,), (batch, keys)):
        raise ValueError(f"text_keys: got shape {tuple(text_keys.shape)}, allowed: ({keys},) or ({batch}, {keys})")
    if text_keys.dim() == 1:
        return text_keys.nonzero().flatten()
    return [row.nonzero().flatten() for row in text_keys]


def groups_of(text: Keys | Sequence[Keys], batch: int, keys: int) -> list[tuple[slice, Keys]]:
    """Ranges of rows with the same text keys, and these keys, slices with explicit ends. Rows without text are left
    out."""
    if isinstance(text, (slice, Tensor)):
        text = [text] * batch
    groups: list[tuple[slice, Keys]] = []
    for row, columns in enumerate(text):
        if isinstance(columns, slice):
            span = range(keys)[columns]
            columns = slice(span.start, span.stop)
            if not len(span):
                continue
        elif not len(columns):
            continue
        last = groups[-1] if groups else None
        if last is not None and last[0].stop == row and _same(last[1], columns):
            groups[-1] = (slice(last[0].start, row + 1), columns)
        else:
            groups.append((slice(row, row + 1), columns))
    return groups


def all_rows(groups: Sequence[tuple[slice, Keys]], batch: int) -> Iterator[tuple[slice, list[tuple[slice, Keys]]]]:
    """All ranges of rows, each with its group in a list; the list is empty for rows without text."""
    at = 0
    for rows, keys in groups:
        if at < rows.start:
            yield slice(at, rows.start), []
        yield rows, [(rows, keys)]
        at = rows.stop
    if at < batch:
        yield slice(at, batch), []


def rest_of(keys: Keys, image: slice, count: int) -> slice | None:
    """All keys except the text's if these are a large part and at one end; otherwise None."""
    if not isinstance(keys, slice) or image.step not in (None, 1) or keys.stop - keys.start < MUCH * count:
        return None
    if keys.start == 0:
        return slice(keys.stop, count)
    return slice(0, keys.start) if keys.stop == count else None


def part_of_mask(mask: Tensor, query: Tensor, key: Tensor, image: slice) -> Tensor:
    """A mask's rows of the image's queries, (B, H or 1, queries, Lk)."""
    while mask.dim() < 4:
        mask = mask.unsqueeze(0)
    return mask.expand(len(query), mask.shape[1], query.shape[2], key.shape[2])[:, :, image]


def _same(one: Keys, other: Keys) -> bool:
    return one is other or (isinstance(one, slice) and isinstance(other, slice) and one == other)
