"""Looking inside: where each word's attention went, dense and blended, during a generation.

In every call of a hooked layer, the rows of the positive prompt are read: the weights of all key columns are summed by
word, laid out as an image, scaled to one grid, and added up by picture, third of the steps and side of the network. So
memory does not grow with steps, layers or resolution.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lib_pladis.kernels.look import TokenWeights
from lib_pladis.models.base import LayerName

KINDS = ("words", "start", "end", "padding")
"""Kinds of key columns; `words` are all tokens that the user wrote."""

STEPS = ("first", "middle", "last")
"""Thirds of the steps of a pass."""

SIDE = 64
"""Maximum length of a map's longer side."""


@dataclass(frozen=True)
class Columns:
    """The meaning of the key columns of one prompt: the columns of each word looked for, and each column's kind."""

    words: Mapping[str, tuple[int, ...]]
    kinds: tuple[str, ...]

    def matrix(self, words: Sequence[str], keys: int) -> Tensor:
        """(keys, words + KINDS) of 0 and 1: which columns add up to what. Columns past the prompt are padding; if no
        column is known, all are words."""
        matrix = torch.zeros(keys, len(words) + len(KINDS))
        for i, word in enumerate(words):
            matrix[[column for column in self.words.get(word, ()) if column < keys], i] = 1.0
        for column in range(keys):
            kind = self.kinds[column] if column < len(self.kinds) else ("padding" if self.kinds else "words")
            matrix[column, len(words) + KINDS.index(kind)] = 1.0
        return matrix


Prompts = Sequence[Sequence[Columns]]
"""For each picture of a batch, the subprompts of its prompt (more than one with AND)."""


@dataclass
class Maps:
    """Sums for one picture, third of the steps and side of the network.

    sums: (2, words, h, w), dense and blended. seen: (words,), the rows that had the word.
    """

    sums: Tensor
    seen: Tensor

    def __add__(self, other: Maps) -> Maps:
        return Maps(self.sums + other.sums, self.seen + other.seen)

    @property
    def mean(self) -> Tensor:
        """(2, words, h, w) fp32."""
        return self.sums / self.seen.clamp(min=1)[None, :, None, None]


@dataclass
class LayerSums:
    """Sums over pictures, queries and the calls of one layer in a third of the steps, for the table.

    by_kind: (2, KINDS). by_row: (3,), the keys kept, the entropy dense and sparse.
    """

    keys: int
    by_kind: Tensor
    by_row: Tensor
    calls: int = 1

    def __add__(self, other: LayerSums) -> LayerSums:
        calls = self.calls + other.calls
        return LayerSums(other.keys, self.by_kind + other.by_kind, self.by_row + other.by_row, calls)


@dataclass
class Pass:
    """The results of one pass ("first" or "hires"): maps by (picture, third of the steps, side), sums by (third of the
    steps, layer)."""

    grid: tuple[int, int]
    maps: dict[tuple[int, str, str], Maps] = field(default_factory=dict)
    layers: dict[tuple[str, LayerName], LayerSums] = field(default_factory=dict)


class Probe:
    """What is looked for in one batch, and the results.

    words: the names of the maps. prompts: those of a step (index, hires).
    """

    def __init__(self, words: Sequence[str], prompts: Callable[[int, bool], Prompts]) -> None:
        self.words = tuple(words)
        self.passes: dict[str, Pass] = {}
        self.why_not: dict[str, int] = {}
        self.calls = 0
        self._prompts = prompts
        self._now: Prompts = ()
        self._third = STEPS[0]
        self._stage = "first"
        self._size: tuple[int, int] | None = None
        self._rows_seen: dict[LayerName, int] = {}
        self._matrices: dict[tuple[int, int, torch.device], tuple[Columns, Tensor]] = {}
        self._seconds = 0.0
        self._events: list[tuple[Any, Any]] = []

    def at(self, index: int, total: int, hires: bool, size: tuple[int, int] | None) -> None:
        """A step begins. size: of the latents, (h, w)."""
        self._third = STEPS[min(2, max(0, index * 3 // max(total, 1)))]
        self._stage = "hires" if hires else "first"
        self._size = size
        self._rows_seen.clear()
        self._now = self._prompts(index, hires)

    def rows(
        self, layer: LayerName, positive: Sequence[bool] | None, by_subprompt: bool
    ) -> Iterator[tuple[int, int, int]]:
        """(row, picture, subprompt) of the rows to read in a call.

        by_subprompt: the host's rows are ordered by subprompt, the last one first; otherwise by picture. Rows past the
        prompts' (another network call in the step) are left out.
        """
        if positive is None:
            self.note_reason("which pictures belong to the prompt can't be known here")
            return
        count = min((len(each) for each in self._now), default=0)
        if by_subprompt:
            order = [(picture, number) for number in reversed(range(count)) for picture in range(len(self._now))]
        else:
            order = [(picture, number) for picture, each in enumerate(self._now) for number in range(len(each))]
        for row, is_positive in enumerate(positive):
            if is_positive:
                seen = self._rows_seen[layer] = self._rows_seen.get(layer, 0) + 1
                if seen <= len(order):
                    yield row, *order[seen - 1]

    def add(self, layer: LayerName, picture: int, subprompt: int, weights: TokenWeights) -> None:
        """Add what one row of a layer's call spent on all its key columns: `weights` of a batch of 1."""
        queries, keys = weights.dense.shape[1:]
        shape = layout(queries, self._size)
        if shape is None:
            self.note_reason(f"{queries} queries of layer {layer} could not be laid out as a picture")
            return
        columns = self._now[picture][subprompt]
        both = torch.cat((weights.dense, weights.blended)) @ self._matrix(columns, keys, weights.dense.device)
        seen = self.passes.setdefault(self._stage, Pass(fitted(self._size or shape)))
        count = len(self.words)
        if count:
            maps = scaled(both[..., :count].transpose(1, 2).reshape(2, count, *shape), seen.grid)
            had = torch.tensor([float(word in columns.words) for word in self.words], device=maps.device)
            _add(seen.maps, (picture, self._third, layer.side), Maps(maps, had))
        by_row = torch.stack([x.mean() for x in (weights.kept, weights.entropy_dense, weights.entropy_sparse)])
        _add(seen.layers, (self._third, layer), LayerSums(keys, both[..., count:].mean(1), by_row))
        self.calls += 1

    def forget(self) -> None:
        """Stop: keep the results, but not the prompts and their tokenizer."""
        self._prompts = lambda index, hires: ()
        self._now = ()
        self._matrices.clear()

    def to_cpu(self) -> None:
        """Move the results, which may be kept for long, off the accelerator."""
        for each in self.passes.values():
            for maps in each.maps.values():
                maps.sums, maps.seen = maps.sums.cpu(), maps.seen.cpu()
            for sums in each.layers.values():
                sums.by_kind, sums.by_row = sums.by_kind.cpu(), sums.by_row.cpu()

    def note_reason(self, reason: str) -> None:
        """Note why something was not read, and how often."""
        self.why_not[reason] = self.why_not.get(reason, 0) + 1

    @contextmanager
    def clock(self) -> Iterator[None]:
        """Measures the time of a look, on an accelerator without waiting for it."""
        if not torch.cuda.is_available():
            start = time.perf_counter()
            yield
            self._seconds += time.perf_counter() - start
            return
        pair = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        pair[0].record()
        yield
        pair[1].record()
        self._events.append(pair)

    @property
    def seconds(self) -> float:
        """The cost of looking so far."""
        if self._events:
            torch.cuda.synchronize()
            self._seconds += sum(start.elapsed_time(end) for start, end in self._events) / 1000
            self._events.clear()
        return self._seconds

    def _matrix(self, columns: Columns, keys: int, device: torch.device) -> Tensor:
        place = (id(columns), keys, device)
        if place not in self._matrices:
            self._matrices[place] = columns, columns.matrix(self.words, keys).to(device)
        return self._matrices[place][1]


def _add(sums: dict[Any, Any], place: object, one: Maps | LayerSums) -> None:
    sums[place] = sums[place] + one if place in sums else one


def fitted(size: tuple[int, int]) -> tuple[int, int]:
    """(h, w) of the maps for latents of that size."""
    scale = min(1.0, SIDE / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def layout(queries: int, size: tuple[int, int] | None) -> tuple[int, int] | None:
    """(h, w) of a layer with that many queries, in a network that halves latents of `size` repeatedly, rounding up."""
    if size is None:
        side = round(queries**0.5)
        return (side, side) if side * side == queries else None
    height, width = size
    while height * width > queries and (height > 1 or width > 1):
        height, width = -(-height // 2), -(-width // 2)
    return (height, width) if height * width == queries else None


def scaled(maps: Tensor, grid: tuple[int, int]) -> Tensor:
    """(2, words, h, w) at another size: averaged if it gets smaller, interpolated linearly if it gets larger."""
    if tuple(maps.shape[2:]) == grid:
        return maps
    if maps.device.type == "mps":
        maps = maps.cpu()  # MPS averages by whole factors only (pytorch#96056)
    if maps.shape[2] >= grid[0] and maps.shape[3] >= grid[1]:
        return F.interpolate(maps, size=grid, mode="area")
    return F.interpolate(maps, size=grid, mode="bilinear", align_corners=False)
