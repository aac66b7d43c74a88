"""What came out: a table in markdown, the lines of the curves, and the pictures whose scores changed most."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .point import Point, varied
from .scores import MEANING, PERCENT
from .statistics import Estimate, estimate
from .store import Record

NOTE = "Against PLADIS off, with 95% intervals (bootstrap over prompts); bold where 0 is outside."


@dataclass(frozen=True)
class Extremes:
    """Pairs (off, on), the largest change first."""

    gains: list[tuple[Record, Record]]
    losses: list[tuple[Record, Record]]


class Report:
    """Everything that can be said of some records at some points.

    `scores` are what the points are judged by, `more` what the table has besides.
    """

    def __init__(
        self, records: Sequence[Record], points: Sequence[Point], scores: Sequence[str], more: Sequence[str] = ()
    ) -> None:
        self.points = [point for point in points if any(record.point == point for record in records)]
        self.scores, self.more = list(scores), list(more)
        self.axes = varied(self.points)
        self.records = list(records)
        self._by_point: dict[Point, list[Record]] = defaultdict(list)
        for record in records:
            self._by_point[record.point].append(record)
        self._estimates: dict[tuple[Point, str], Estimate | None] = {}

    def estimate(self, point: Point, score: str) -> Estimate | None:
        if (point, score) not in self._estimates:
            records = self._by_point[point] + ([] if point.is_off else self._by_point[point.off])
            self._estimates[point, score] = estimate(records, point, score)
        return self._estimates[point, score]

    def table(self) -> str:
        """Markdown: a row for each point; differences from off with 95% intervals, bold where 0 is outside."""
        head = ["settings", "pictures"]
        for score in self.scores:
            head += [title_of(score), "against off"]
        head += [title_of(score) for score in self.more]
        lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
        for point in self.points:
            first = self.estimate(point, self.scores[0])
            cells = [point.name(self.axes), str(first.pictures if first else 0)]
            for score in self.scores:
                cells += [self.mean(point, score), "" if point.is_off else self.cell(point, score)]
            cells += [self.mean(point, score) for score in self.more]
            lines.append("| " + " | ".join(cells) + " |")
        return "\n".join(lines)

    def mean(self, point: Point, score: str) -> str:
        """A point's mean as text, empty where it has no pictures."""
        one = self.estimate(point, score)
        return number(one.mean, score) if one else ""

    def cell(self, point: Point, score: str) -> str:
        """A point's difference from off with its interval as markdown, empty where it has no pictures."""
        one = self.estimate(point, score)
        if not one:
            return ""
        return marked(one, score)

    def write(self, path: Path) -> None:
        """The table and what its columns say, as a markdown file."""
        meanings = [f"- {title_of(name)}: {MEANING[name]}" for name in self.scores + self.more]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n\n".join([NOTE, self.table(), "\n".join(meanings)]) + "\n", encoding="utf-8")

    def extremes(self, point: Point, score: str) -> Extremes:
        """The pairs whose score changed most; of equals the first."""
        off = {(record.prompt, record.seed): record for record in self._by_point[point.off]}
        pairs = []
        for record in self._by_point[point]:
            before = off.get((record.prompt, record.seed))
            if before and score in record.scores and score in before.scores:
                pairs.append((record.scores[score] - before.scores[score], before, record))
        pairs.sort(key=lambda pair: pair[0])
        losses = [(before, after) for change, before, after in pairs if change < 0]
        gains = [(before, after) for change, before, after in pairs[::-1] if change > 0]
        return Extremes(gains, losses)

    def panels(self) -> dict[str, dict[str, list[Point]]]:
        """Title of a panel -> name of a line -> its points along λ, off first; empty where λ isn't varied.

        A panel for each CFG, the highest first, and for each value of what is varied besides; of those axes the last
        has a line for each of its values instead.
        """
        others = [axis for axis in self.axes if axis not in ("cfg", "scale")]
        split, by = others[:-1], others[-1:] or ["alpha"]
        found: dict[str, dict[str, list[Point]]] = {}
        for point in sorted((one for one in self.points if not one.is_off), key=lambda one: (-one.cfg, one.scale)):
            lines = found.setdefault(point.name(["cfg", *split]), {})
            lines.setdefault(point.name(by), [point.off]).append(point)
        if not any(len(line) > 2 for lines in found.values() for line in lines.values()):
            return {}
        order = {point.name(by): getattr(point, by[0]) for point in self.points if not point.is_off}
        return {title: dict(sorted(lines.items(), key=lambda one: order[one[0]])) for title, lines in found.items()}


def scaled(value: float, score: str) -> float:
    """As it is shown: parts of one as percentages."""
    return 100 * value if score in PERCENT else value


def number(value: float, score: str) -> str:
    """A score's mean as text."""
    return f"{scaled(value, score):.1f}" if score in PERCENT else f"{value:.3f}"


def difference_of(one: Estimate, score: str) -> str:
    """The difference from off with its interval as text; without one where there is one prompt only."""
    digits = 1 if score in PERCENT else 3
    low, middle, high = (scaled(value, score) for value in (one.low, one.difference, one.high))
    if math.isnan(low):
        return f"{middle:+.{digits}f}"
    return f"{middle:+.{digits}f} ({low:+.{digits}f} … {high:+.{digits}f})"


def marked(one: Estimate, score: str) -> str:
    """`difference_of` as markdown: bold where its interval leaves out 0."""
    return f"**{difference_of(one, score)}**" if one.clear else difference_of(one, score)


def title_of(score: str) -> str:
    """A score's name with its unit."""
    return f"{score} %" if score in PERCENT else score
