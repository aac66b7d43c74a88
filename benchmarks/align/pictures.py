"""The pictures of docs/alignment.md: from a study's own store, or anew from the committed scores."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from .point import Point
from .report import Report
from .scores import MAIN
from .store import Record, Store
from .study import CHECKPOINTS, MODELS, Experiment
from .webui import Drawing, WebUI, playgrounds

SHEET_SCORE = MAIN["exact"][0]


def font(size: int, bold: bool = False) -> Any:
    """A font that matplotlib brings, for what is written with PIL; `size` in pixels."""
    from matplotlib import font_manager
    from PIL import ImageFont

    weight = "bold" if bold else "normal"
    return ImageFont.truetype(font_manager.findfont(font_manager.FontProperties(weight=weight)), size)


def curves(experiment: Experiment) -> dict[str, str]:
    """File name -> the score that the picture is of."""
    return {f"alignment-{experiment.name}-{score.replace(' ', '-')}.png": score for score in MAIN["exact"]}


def sheets(experiment: Experiment) -> dict[str, Point]:
    """File name -> the point whose extremes the picture shows: the paper's λ = 2, α = 1.5, at every CFG scale."""
    points = [Point(cfg) for cfg in sorted({point.cfg for point in experiment.points})]
    return {f"alignment-{experiment.name}-cfg{p.cfg:g}-sheet.png": p for p in points if p in experiment.points}


def curve(made: Report, score: str, path: Path) -> None:
    """The score against λ, or the differences from off where λ is not varied."""
    if not made.curves(path, score):
        made.forest(path, score)


def make(experiment: Experiment, made: Report, folder: Path, page: str) -> None:
    """Those of an experiment's pictures that the page names; those that are drawn with the model, anew."""
    for name, score in curves(experiment).items():
        if name in page:
            curve(made, score, folder / name)
    for name, point in sheets(experiment).items():
        if name in page:
            redrawn(experiment, made, point, folder / name)


def redrawn(experiment: Experiment, made: Report, point: Point, path: Path) -> None:
    """A sheet whose pictures are drawn again, by a playground started here: those that the scores say are extreme.

    Raises ValueError where they are none.
    """
    drawing, chosen = MODELS[experiment.model], made.extremes(point, SHEET_SCORE)
    shown = [record for pair in (*chosen.gains, *chosen.losses) for record in pair]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "pictures").mkdir()
        with playgrounds(1, folder, CHECKPOINTS[experiment.model]) as (ui,):
            drawn = {record.key: _drawn(record, ui, folder, drawing) for record in shown}
        records = [drawn.get(record.key, record) for record in made.records]
        again = Report(records, made.points, made.scores, made.more)
        if not again.sheet(path, folder, point, SHEET_SCORE):
            raise ValueError(f"{experiment.name}: nothing changed at {point}")


def _drawn(record: Record, ui: WebUI, folder: Path, drawing: Drawing) -> Record:
    (png,) = ui.txt2img(record.prompt, record.seed, 1, record.point, drawing)
    name = Store.picture_name(record.key)
    (folder / name).write_bytes(png)
    return replace(record, picture=name)
