"""The report as one HTML file to send around: curves, differences, sheets and what was drawn, all inside it."""

from __future__ import annotations

import base64
import io
import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from PIL import Image

from . import charts
from .point import Point
from .report import Report, difference_of, number, scaled, title_of
from .scores import MEANING
from .statistics import LEVEL, Estimate
from .store import Record

TEMPLATE = Path(__file__).with_name("page.html.jinja")
PAIRS, TILE, QUALITY = 3, 256, 80
"""Pairs of pictures with the largest gains, and as many losses, at a point; their longer side, and JPEG's quality."""


def write(made: Report, pictures: Path, common: Mapping[str, Any], path: Path) -> None:
    """The page of a report into the file `path`.

    `pictures` is the folder that the records' pictures are named in, `common` what all of them have in common
    (run.json of the store).
    """
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    sheets = [sheet for point in chosen(made) if (sheet := _sheet(made, point, pictures))]
    page = template.render(
        model=common.get("model", ""),
        facts=facts(made, common),
        chance=1 - LEVEL,
        scores=[_score(made, score) for score in made.scores],
        parts=_parts(made),
        meanings=[(title_of(score), MEANING[score]) for score in made.scores + made.more],
        sheet_score=title_of(made.scores[0]),
        sheets=sheets,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")


def facts(made: Report, common: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What was drawn, as names and values."""
    prompts = {record.prompt: record.kind for record in made.records}
    kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(prompts.values()).items())
    seeds = sorted({record.seed for record in made.records})
    found = {
        "checkpoint": common.get("model", ""),
        "sampler": " ".join(str(common.get(name, "")) for name in ("sampler", "scheduler")).strip(),
        "steps": str(common.get("steps", "")),
        "size": f"{common['width']} × {common['height']}" if "width" in common else "",
        "negative prompt": common.get("negative", ""),
        "prompts": f"{len(prompts)} ({kinds})",
        "seeds": f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else "".join(map(str, seeds)),
        "pictures": str(len(made.records)),
    }
    return [(name, value) for name, value in found.items() if value]


def chosen(made: Report) -> list[Point]:
    """The points whose sheets are shown: by the first score, the best and the worst of each CFG, the highest first."""
    found: list[Point] = []
    for cfg in sorted({point.cfg for point in made.points}, reverse=True):
        here = [(one, point) for point, one in _estimates(made, made.scores[0]) if point.cfg == cfg]
        here.sort(key=lambda pair: -pair[0].difference)
        found += [point for _, point in (*here[:1], *here[1:][-1:])]
    return found


def _estimates(made: Report, score: str) -> list[tuple[Point, Estimate]]:
    found = [(point, made.estimate(point, score)) for point in made.points if not point.is_off]
    return [(point, one) for point, one in found if one is not None]


def _score(made: Report, score: str) -> dict[str, Any]:
    """What the page shows of one score."""
    estimates = _estimates(made, score)
    ends = [scaled(value, score) for _, one in estimates for value in (one.low, one.difference, one.high)]
    ends = [0.0, *(value for value in ends if not math.isnan(value))]
    span = min(ends), max(ends)
    rows = {point: _row(made, point, one, score, span) for point, one in estimates}
    groups = [(f"CFG={cfg:g}", cfg) for cfg in sorted({point.cfg for point in rows}, reverse=True)]
    kinds = Counter(row["kind"] for row in rows.values())
    panels, legend = _panels(made, score)
    return {
        "title": title_of(score),
        "meaning": MEANING[score],
        "better": kinds["better"],
        "worse": kinds["worse"],
        "count": len(rows),
        "panels": panels,
        "legend": legend,
        "groups": [
            (title, made.mean(Point(cfg, scale=0.0), score), [row for point, row in rows.items() if point.cfg == cfg])
            for title, cfg in groups
        ],
    }


def _row(made: Report, point: Point, one: Estimate, score: str, span: tuple[float, float]) -> dict[str, Any]:
    kind = "same" if not one.clear else "better" if one.difference > 0 else "worse"
    low, middle, high = (scaled(value, score) for value in (one.low, one.difference, one.high))
    return {
        "name": point.name([axis for axis in made.axes if axis != "cfg"]) or "on",
        "pictures": one.pictures,
        "mean": number(one.mean, score),
        "difference": difference_of(one, score),
        "drawing": charts.interval(low, middle, high, span, kind),
        "kind": kind,
    }


def _panels(made: Report, score: str) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Titles and SVGs of the curves, all on the same scale, and the legend's colours and names."""
    panels = made.panels()
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    drawn = {
        title: [
            charts.Line(names.index(name), dots) for name, line in lines.items() if (dots := _dots(made, line, score))
        ]
        for title, lines in panels.items()
    }
    every = [dot for lines in drawn.values() for line in lines for dot in line.dots]
    ends = [value for dot in every for value in (dot.low, dot.mean, dot.high) if not math.isnan(value)]
    if not ends:
        return [], []
    room = 0.05 * (max(ends) - min(ends)) or 1.0
    span = min(ends) - room, max(ends) + room
    shown = [
        (title, charts.lines(title, "λ", title_of(score), lines, span, off=lines[0].dots[0].mean))
        for title, lines in drawn.items()
        if lines
    ]
    return shown, [(charts.classes(index), name) for index, name in enumerate(names)]


def _dots(made: Report, line: list[Point], score: str) -> list[charts.Dot]:
    dots = []
    for point in line:
        one = made.estimate(point, score)
        if one is not None:
            mean = scaled(one.mean, score)
            low, high = (mean + scaled(end - one.difference, score) for end in (one.low, one.high))
            text = f"{point.name(made.axes)}: {number(one.mean, score)}"
            text += "" if point.is_off else f"; against off {difference_of(one, score)}"
            dots.append(charts.Dot(point.scale, mean, low, high, text))
    return dots


def _parts(made: Report) -> dict[str, Any]:
    """The table of what is measured besides: its head and its rows."""
    rows = [
        (point.name(made.axes), [made.mean(point, score) for score in made.more])
        for point in (made.points if made.more else [])
    ]
    return {"head": [title_of(score) for score in made.more], "rows": rows}


def _sheet(made: Report, point: Point, pictures: Path) -> dict[str, Any] | None:
    """The pairs whose first score changed most at a point; None if none did, or one of their pictures is not there."""
    score = made.scores[0]
    found = made.extremes(point, score)
    gains, losses = found.gains[:PAIRS], found.losses[:PAIRS]
    shown = [record for pair in (*gains, *losses) for record in pair]
    if not shown or not all((pictures / record.picture).is_file() for record in shown):
        return None
    one = made.estimate(point, score)
    return {
        "name": point.name(["cfg", *(axis for axis in made.axes if axis != "cfg")]),
        "difference": difference_of(one, score) if one else "",
        "halves": [
            (title, [_pair(before, after, score, pictures) for before, after in pairs])
            for title, pairs in (("Largest gains", gains), ("Largest losses", losses))
        ],
    }


def _pair(before: Record, after: Record, score: str, pictures: Path) -> dict[str, Any]:
    return {
        "prompt": after.prompt,
        "seed": after.seed,
        "tiles": [
            (state, jpeg(pictures / record.picture), f"{scaled(record.scores[score], score):.3g}")
            for state, record in (("off", before), ("on", after))
        ],
    }


def jpeg(path: Path) -> str:
    """A picture as a data URI: JPEG, no side longer than `TILE`, with nothing of the file's metadata."""
    with Image.open(path) as picture:
        small = picture.convert("RGB")
    small.thumbnail((TILE, TILE), Image.Resampling.LANCZOS)
    data = io.BytesIO()
    small.save(data, "jpeg", quality=QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode()
