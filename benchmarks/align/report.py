"""What came out: a table in markdown, curves, differences with their intervals, and the extreme pictures."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import font_manager, pyplot
from PIL import Image, ImageDraw, ImageFont

from .point import Point, varied
from .scores import MEANING, PERCENT
from .statistics import Estimate, estimate
from .store import Record

SHEET_ROWS, SHEET_TILE = 6, 192

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

    def write(self, folder: Path, pictures: Path) -> None:
        """report.md in `folder`: the table and what it says, curves, differences, and sheets of the extremes.

        `pictures` is the folder that the records' pictures are named in.
        """
        meanings = [f"- {title_of(name)}: {MEANING[name]}" for name in self.scores + self.more]
        parts = [NOTE, self.table(), "\n".join(meanings)]
        for score in self.scores:
            name = score.replace(" ", "-")
            if self.curves(folder / f"curves-{name}.png", score):
                parts.append(f"![{score} against λ](curves-{name}.png)")
            self.forest(folder / f"differences-{name}.png", score)
            parts.append(f"![{score}: difference from PLADIS off](differences-{name}.png)")
        sheets = []
        for point in self.points:
            name = point.name(["cfg", *self.axes])
            path = f"sheets/{name.replace(' ', '_')}.png"
            if not point.is_off and self.sheet(folder / path, pictures, point, self.scores[0]):
                sheets.append(f"- [{name}](<{path}>)")
        if sheets:
            parts += [f"Largest gains and losses of {self.scores[0]}:", "\n".join(sheets)]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "report.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")

    def curves(self, path: Path, score: str) -> bool:
        """Score against λ: `panels`, side by side. False (and no file) where λ isn't varied."""
        panels = self.panels()
        if not panels:
            return False
        columns = min(len(panels), 4)
        rows = -(-len(panels) // columns)
        figure, axes = pyplot.subplots(rows, columns, figsize=(5.2 * columns, 3.8 * rows), squeeze=False)
        for panel in axes.flat[len(panels) :]:
            panel.set_visible(False)
        for panel, (title, lines) in zip(axes.flat, panels.items()):
            for index, (label, line) in enumerate(lines.items()):
                found = [(point.scale, self.estimate(point, score)) for point in line]
                shown = [(scale, one) for scale, one in found if one is not None]
                scales = [scale + 0.02 * (index - (len(lines) - 1) / 2) for scale, _ in shown]
                means = [scaled(one.mean, score) for _, one in shown]
                below = [scaled(one.difference - one.low, score) for _, one in shown]
                above = [scaled(one.high - one.difference, score) for _, one in shown]
                panel.errorbar(scales, means, (below, above), marker="o", markersize=4, capsize=2, label=label)
            off = self.estimate(next(iter(lines.values()))[0], score)
            if off:
                panel.axhline(scaled(off.mean, score), color="black", linewidth=0.8, linestyle=":")
            panel.set_title(title, fontsize=10)
            panel.set_xlabel("λ")
            panel.spines[["top", "right"]].set_visible(False)
        axes[0][0].set_ylabel(title_of(score))
        axes[0][0].legend(frameon=False, fontsize=8)
        _save(figure, path)
        return True

    def forest(self, path: Path, score: str) -> None:
        """The difference from off at each point, with its interval."""
        rows = [(point, self.estimate(point, score)) for point in self.points if not point.is_off]
        shown = [(point, one) for point, one in rows if one is not None][::-1]
        figure, panel = pyplot.subplots(figsize=(7.5, 1.2 + 0.26 * len(shown)))
        for place, (_, one) in enumerate(shown):
            colour = "tab:gray" if not one.clear else "tab:green" if one.difference > 0 else "tab:red"
            ends = [scaled(one.low, score), scaled(one.high, score)]
            panel.plot(ends, [place, place], color=colour, linewidth=2)
            panel.plot([scaled(one.difference, score)], [place], "o", color=colour, markersize=5)
        panel.axvline(0, color="black", linewidth=0.8)
        panel.set_yticks(range(len(shown)), [point.name(self.axes) for point, _ in shown], fontsize=8)
        panel.set_xlabel(f"{title_of(score)}: difference from PLADIS off, 95% interval")
        panel.spines[["top", "right"]].set_visible(False)
        _save(figure, path)

    def extremes(self, point: Point, score: str) -> Extremes:
        """The pairs whose score changed most; of equals the first."""
        off = {(record.prompt, record.seed): record for record in self._by_point[point.off]}
        pairs = []
        for record in self._by_point[point]:
            before = off.get((record.prompt, record.seed))
            if before and score in record.scores and score in before.scores:
                pairs.append((record.scores[score] - before.scores[score], before, record))
        pairs.sort(key=lambda pair: pair[0])
        losses = [(before, after) for change, before, after in pairs[:SHEET_ROWS] if change < 0]
        gains = [(before, after) for change, before, after in pairs[::-1][:SHEET_ROWS] if change > 0]
        return Extremes(gains, losses)

    def sheet(self, path: Path, folder: Path, point: Point, score: str) -> bool:
        """Pictures off and on: the largest gains (left) and losses (right) at a point, of all pairs.

        False, and no file, if nothing changed, or if one of those pictures is not in `folder`.
        """
        found = self.extremes(point, score)
        shown = [record for pair in (*found.gains, *found.losses) for record in pair]
        if not shown or not all((folder / record.picture).is_file() for record in shown):
            return False
        rows = max(len(found.losses), len(found.gains))
        width, height = 2 * SHEET_TILE + 8, SHEET_TILE + 34
        whole = Image.new("RGB", (2 * width + 24, rows * height + 26), "white")
        draw = ImageDraw.Draw(whole)
        draw.font = ImageFont.truetype(font_manager.findfont("DejaVu Sans"), 10)
        halves = ("largest gains: off | on", found.gains), ("largest losses: off | on", found.losses)
        for column, (title, chosen) in enumerate(halves):
            left = column * (width + 24)
            draw.text((left + 2, 6), f"{title}   ({point.name(self.axes)}, CFG {point.cfg:g})", fill="black")
            for row, (before, after) in enumerate(chosen):
                top = 26 + row * height
                for place, record in enumerate((before, after)):
                    with Image.open(folder / record.picture) as picture:
                        tile = picture.convert("RGB").resize((SHEET_TILE, SHEET_TILE), Image.Resampling.LANCZOS)
                    whole.paste(tile, (left + place * (SHEET_TILE + 4), top))
                words = after.prompt if len(after.prompt) < 66 else after.prompt[:63] + "..."
                value = f"{scaled(before.scores[score], score):.3g} to {scaled(after.scores[score], score):.3g}"
                draw.text((left + 2, top + SHEET_TILE + 2), f"{words}", fill="black")
                draw.text((left + 2, top + SHEET_TILE + 15), f"seed {after.seed}, {score}: {value}", fill=(90, 90, 90))
        path.parent.mkdir(parents=True, exist_ok=True)
        whole.save(path)
        return True

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


def _save(figure: pyplot.Figure, path: Path) -> None:
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
