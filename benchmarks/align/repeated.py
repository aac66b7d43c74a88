"""Whether the proof comes out the same on prompts and noise that neither it nor any choice has seen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from .compared import ALL_RIGHT, Compared
from .point import Point
from .report import marked
from .second import COMPARISONS, Column
from .statistics import Estimate
from .store import Record

TABLE = "again-before"
FIRST, AGAIN = ("proof", "proof-paper", "proof-unguided"), "again"


def difference(before: Estimate, after: Estimate) -> tuple[float, float, float]:
    """How much more the second gains over off than the first, with its 95% interval; a score's own unit.

    The two share no prompt and no noise: the half widths of their intervals add as those of independent errors do.
    """
    half = math.hypot(before.high - before.low, after.high - after.low) / 2
    change = after.difference - before.difference
    return change, change - half, change + half


def pairs(scores: Mapping[str, Sequence[Record]]) -> dict[tuple[Point, Column], tuple[Estimate, Estimate]]:
    """By setting and column what the proof found, on the most pictures that it has there, and what `AGAIN` did."""
    by_name = {one.name: Compared(one, scores) for one in COMPARISONS if one.name in (*FIRST, AGAIN)}
    again = by_name[AGAIN]
    found = {}
    for setting in again.comparison.settings:
        for column in again.comparison.columns:
            after = again.estimate(setting, column)
            before = [
                one.estimate(setting, column)
                for one in (by_name[name] for name in FIRST)
                if setting in one.comparison.settings and column in one.comparison.columns
            ]
            known = [one for one in before if one]
            if after and known:
                found[setting, column] = max(known, key=lambda one: one.pictures), after
    return found


def table(scores: Mapping[str, Sequence[Record]]) -> str:
    """Markdown: settings down, columns across; in points, bold where the interval leaves out 0."""
    found = pairs(scores)
    columns = list(dict.fromkeys(column for _, column in found))
    head = ["settings", *(column.title for column in columns)]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for setting in dict.fromkeys(setting for setting, _ in found):
        cells = [_cell(found.get((setting, column))) for column in columns]
        lines.append("| " + " | ".join([Compared.name(setting), *cells]) + " |")
    return "\n".join(lines)


def _cell(pair: tuple[Estimate, Estimate] | None) -> str:
    if pair is None:
        return "–"
    change, low, high = difference(*pair)
    return marked(replace(pair[1], difference=change, low=low, high=high), ALL_RIGHT)
