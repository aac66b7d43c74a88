#!/usr/bin/env python3
"""The tables and charts of docs/alignment.md, computed from the committed scores of the playground's pictures.

    playground/.venv/bin/python benchmarks/study.py

`results/alignment-MODEL.csv.xz` has a line for each picture: settings, prompt, noise seed and scores. No prompt and no
noise seed belongs to two of the parts below.
"""

from __future__ import annotations

import argparse
import csv
import functools
import lzma
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from benchmarks.align import prompts  # noqa: E402
from benchmarks.align.point import Point  # noqa: E402
from benchmarks.align.report import Report, marked  # noqa: E402
from benchmarks.align.statistics import Estimate, estimate  # noqa: E402
from benchmarks.align.store import Record  # noqa: E402
from benchmarks.align.webui import Drawing  # noqa: E402
from lib_pladis.presets import BUILT_IN  # noqa: E402
from lib_pladis.settings import TABLE  # noqa: E402

PAGE, PICTURES = ROOT / "docs" / "alignment.md", ROOT / "docs" / "pictures"
SCORE = "all right"


@dataclass(frozen=True)
class Model:
    """A checkpoint of the playground and how the study drew with it."""

    checkpoint: str
    drawing: Drawing

    @functools.cached_property
    def records(self) -> list[Record]:
        """Its committed scores, without those of rules that are no settings of the extension."""
        name = "few-steps" if self is FEW else "many-steps"
        path = ROOT / "benchmarks" / "results" / f"alignment-{name}.csv.xz"
        with lzma.open(path, "rt", encoding="utf-8", newline="") as file:
            return [_record(row) for row in csv.DictReader(file) if not row["rule"]]


MANY = Model("pladis-playground", Drawing(10, "DPM++ 2M", "Karras", 128, 128, ""))
FEW = Model("pladis-playground-4step", Drawing(4, "Euler", "SGM Uniform", 128, 128, ""))

SCALES, ALL_SCALES = (0.5, 1.0, 2.0), (0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
COLUMNS = {f"CFG {cfg:g}": (MANY, cfg) for cfg in (1.0, 3.0, 5.0, 7.0)} | {"4 steps": (FEW, 1.0)}
FRESH_PRESETS = ("Paper", "Steady", "No guidance", "Few steps")
GUIDANCE = (1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0)


def first(record: Record) -> bool:
    """Of the first part, on which the presets were chosen: four noise seeds that all prompts share."""
    return 1000 <= record.seed < 1004 and record.kind in prompts.PLAYGROUND_KINDS


def fresh(record: Record) -> bool:
    """Of prompts and noise that nothing was chosen on."""
    return 900_000 <= record.seed < 3_000_000 or 5_000_000 <= record.seed < 9_000_000


def guidance(record: Record) -> bool:
    """Of the comparison with guidance."""
    return record.seed >= 9_000_000


@functools.cache
def part(model: Model, of: Callable[[Record], bool]) -> Report:
    """What is known of a part's pictures of a model."""
    records = [record for record in model.records if of(record)]
    return Report(records, list({record.point: None for record in records}), [SCORE])


def summary() -> str:
    """Pictures all right with PLADIS off, and the differences at some λ."""
    rows = []
    for title, (model, cfg) in {"CFG 5": (MANY, 5.0), "CFG 1": (MANY, 1.0), "4 steps, CFG 1": (FEW, 1.0)}.items():
        made = part(model, first)
        cells = [made.cell(Point(cfg, scale), SCORE) for scale in SCALES]
        rows.append([title, f"{made.mean(Point(cfg).off, SCORE)} %", *cells])
    return _table(["", "off", *(f"λ {scale:g}" for scale in SCALES)], rows)


def presets() -> str:
    """What presets change on fresh prompts and noise, and of how many pictures."""
    off = [f"{part(model, fresh).mean(Point(cfg).off, SCORE)} %" for model, cfg in COLUMNS.values()]
    rows = [["off", *off]]
    for name in FRESH_PRESETS:
        found = [part(model, fresh).estimate(Point.of(BUILT_IN[name], cfg), SCORE) for model, cfg in COLUMNS.values()]
        rows.append([name, *(f"{marked(one, SCORE)}, {one.pictures:,}" if one else "–" for one in found)])
    return _table(["preset", *COLUMNS], rows)


def worth() -> str:
    """Pictures all right at each CFG scale, what PLADIS changes there, and what that is worth in guidance."""
    made = part(MANY, guidance)
    rows = []
    for cfg in GUIDANCE:
        cells = [made.cell(Point(cfg, scale), SCORE) or "–" for scale in SCALES]
        rows.append([f"CFG {cfg:g}", f"{made.mean(Point(cfg).off, SCORE)} %", *cells])
    low, next_ = GUIDANCE[:2]
    beside = [estimate(made.records, Point(low, scale), SCORE, Point(next_).off) for scale in (0.0, *SCALES)]
    rows.append([f"CFG {low:g} against plain CFG {next_:g}", *(marked(one, SCORE) for one in beside if one)])
    rows.append([f"CFG {low:g} is worth plain CFG", f"{low:g}", *(f"{guidance_worth(scale):.2f}" for scale in SCALES)])
    return _table(["", "plain", *(f"λ {scale:g}" for scale in SCALES)], rows)


def guidance_worth(scale: float) -> float:
    """The CFG scale at which plain pictures are all right as often as with PLADIS at CFG 1; straight lines between."""
    means = [part(MANY, guidance).estimate(Point(cfg).off, SCORE) for cfg in GUIDANCE]
    wanted = part(MANY, guidance).estimate(Point(GUIDANCE[0], scale), SCORE)
    return float(np.interp(wanted.mean if wanted else np.nan, [one.mean for one in means if one], GUIDANCE))


TABLES = {"summary": summary, "presets": presets, "worth": worth}


def with_tables(text: str) -> str:
    """A page's text with every table that it has a place for made anew."""
    for name, make in TABLES.items():
        begin, end = f"<!-- table: {name} -->", "<!-- end -->"
        if begin in text:
            before, _, rest = text.partition(begin)
            text = f"{before}{begin}\n{make()}\n{rest[rest.index(end) :]}"
    return text


def scale_chart(path: Path) -> None:
    """The change in pictures all right against λ."""
    lines = {}
    for title, (model, cfg) in {"CFG 1": (MANY, 1.0), "4 steps, CFG 1": (FEW, 1.0), "CFG 5": (MANY, 5.0)}.items():
        found = {scale: part(model, first).estimate(Point(cfg, scale), SCORE) for scale in ALL_SCALES}
        lines[title] = [(scale, one.difference, one) for scale, one in found.items() if one]
    _chart(path, lines, "λ", "change in pictures all right, points")


def guidance_chart(path: Path) -> None:
    """Pictures all right against the CFG scale, plain and at some λ; the bars are of the difference from plain."""
    made = part(MANY, guidance)
    lines: dict[str, list[tuple[float, float, Estimate]]] = {}
    for scale in (0.0, *SCALES):
        found = {cfg: made.estimate(Point(cfg, scale), SCORE) for cfg in GUIDANCE}
        title = f"λ {scale:g}" if scale else "plain"
        lines[title] = [(cfg, one.mean, one) for cfg, one in found.items() if one]
    _chart(path, lines, "CFG scale", "pictures all right, %")


def _chart(path: Path, lines: dict[str, list[tuple[float, float, Estimate]]], x_name: str, y_name: str) -> None:
    """Lines through (x, y) with the intervals of the estimates around y."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.4, 3.8))
    for index, (title, dots) in enumerate(lines.items()):
        places = [x + 0.02 * (index - (len(lines) - 1) / 2) for x, _, _ in dots]
        below = [100 * (one.difference - one.low) for _, _, one in dots]
        above = [100 * (one.high - one.difference) for _, _, one in dots]
        heights = [100 * y for _, y, _ in dots]
        axes.errorbar(places, heights, (below, above), marker="o", markersize=4, capsize=2, label=title)
    axes.axhline(0, color="black", linewidth=0.8) if "change" in y_name else None
    axes.set_xlabel(x_name)
    axes.set_ylabel(y_name)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=110, pil_kwargs={"optimize": True})
    pyplot.close(figure)


CHARTS = {"alignment-scale.png": scale_chart, "alignment-guidance.png": guidance_chart}


def _record(row: dict[str, str]) -> Record:
    point = _point(tuple((axis.name, row[axis.name]) for axis in fields(Point) if axis.name in row))
    return Record(point, row["prompt"], row["kind"], int(row["seed"]), {SCORE: float(row[SCORE])}, "")


@functools.cache
def _point(values: tuple[tuple[str, str], ...]) -> Point:
    return Point(**{name: TABLE[name].parse_text(text) if name in TABLE else float(text) for name, text in values})


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter).parse_args()
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    for name, draw in CHARTS.items():
        draw(PICTURES / name)


if __name__ == "__main__":
    main()
