"""Tables of a `second.Comparison`: settings down, models and guidance scales across."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from .point import AXES, Point
from .report import Report
from .scores import MAIN
from .second import Column, Comparison
from .statistics import Estimate, holm
from .store import Record

ALL_RIGHT, FIT = MAIN["exact"][1], "fit"


class Compared:
    """What the committed scores, by model, say of a comparison."""

    def __init__(self, comparison: Comparison, scores: Mapping[str, Sequence[Record]]) -> None:
        self.comparison = comparison
        self._scores = scores
        self._reports: dict[tuple[str, str], Report] = {}

    def tables(self) -> dict[str, Callable[[], str]]:
        """By name: of all kinds together, by `fit`, of each kind, and the p values."""
        name = self.comparison.name
        made: dict[str, Callable[[], str]] = {
            name: self.table,
            f"{name}-fit": partial(self.table, FIT),
            f"{name}-chance": self.chances,
        }
        for kind in self.comparison.kinds:
            made[f"{name}-{kind.replace('_', '-')}"] = partial(self.table, ALL_RIGHT, kind)
        return made

    def estimate(self, setting: Point, column: Column, score: str = ALL_RIGHT, kind: str = "") -> Estimate | None:
        """Of a setting in a column, against off; of prompts of one kind only, or of all ("")."""
        return self._report(column.model, kind).estimate(self.comparison.point(setting, column), score)

    def table(self, score: str = ALL_RIGHT, kind: str = "") -> str:
        """Markdown: how many pictures a point has, off's own values, and the differences from it with their intervals.

        `–` where nothing was drawn.
        """
        head = ["settings", *(column.title for column in self.comparison.columns)]
        lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
        off = [
            self._report(column.model, kind).mean(Point(column.cfg, scale=0.0), score)
            for column in self.comparison.columns
        ]
        counts = [self.pictures(column, kind) for column in self.comparison.columns]
        lines.append("| " + " | ".join(["pictures a point", *(f"{count or '–'}" for count in counts)]) + " |")
        lines.append("| " + " | ".join(["off", *(f"{value} %" if value else "–" for value in off)]) + " |")
        for setting in self.comparison.settings:
            points = [(column, self.comparison.point(setting, column)) for column in self.comparison.columns]
            cells = [self._report(column.model, kind).cell(point, score) or "–" for column, point in points]
            lines.append("| " + " | ".join([self.name(setting), *cells]) + " |")
        return "\n".join(lines)

    def chances(self) -> str:
        """Markdown: p of each difference in `all right`, corrected for all of the table's by Holm's method."""
        cells = [(setting, column) for setting in self.comparison.settings for column in self.comparison.columns]
        found = [self.estimate(setting, column) for setting, column in cells]
        known = [(cell, one.chance) for cell, one in zip(cells, found) if one]
        corrected = dict(zip((cell for cell, _ in known), holm([chance for _, chance in known])))
        head = ["settings", *(column.title for column in self.comparison.columns)]
        lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
        for setting in self.comparison.settings:
            row = [corrected.get((setting, column)) for column in self.comparison.columns]
            texts = ["–" if value is None else f"**{value:.2g}**" if value < 0.05 else f"{value:.2g}" for value in row]
            lines.append("| " + " | ".join([self.name(setting), *texts]) + " |")
        return "\n".join(lines)

    def pictures(self, column: Column, kind: str = "") -> int:
        """How many pictures each of a column's points has, of those that have any; ValueError where they differ."""
        found = [self.estimate(setting, column, kind=kind) for setting in self.comparison.settings]
        counts = {one.pictures for one in found if one}
        if len(counts) > 1:
            raise ValueError(f"{self.comparison.name}: {column.title}: points of {sorted(counts)} pictures")
        return counts.pop() if counts else 0

    @staticmethod
    def name(setting: Point) -> str:
        """λ, and what is not at its default."""
        plain = Point(setting.cfg)
        axes = [axis for axis in (*AXES[1:], "rule") if getattr(setting, axis) != getattr(plain, axis)]
        return setting.name(["scale", *axes])

    def _report(self, model: str, kind: str) -> Report:
        if (model, kind) not in self._reports:
            experiment = self.comparison.experiment(model)
            texts = {prompt.text for prompt in experiment.prompts if kind in ("", prompt.kind)}
            records = [one for one in self._scores[model] if one.prompt in texts and one.seed in experiment.seeds]
            self._reports[model, kind] = Report(records, experiment.points, [ALL_RIGHT, FIT])
        return self._reports[model, kind]
