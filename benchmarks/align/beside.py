"""The README's picture: the same prompts and seeds under several settings, chosen by what the scores say.

The rule: of all pictures that the study has of λ = 2 at CFG 5, the four whose share of right objects rose most and the
four whose fell most (of equals the first), the same that the study's sheet begins with.
"""

from __future__ import annotations

import hashlib
import tempfile
import textwrap
from pathlib import Path

from PIL import Image, ImageDraw

from lib_pladis.presets import BUILT_IN

from .pictures import font
from .point import Point
from .publish import committed, report_of
from .scores import MAIN
from .store import Record
from .study import CHECKPOINTS, EXPERIMENTS, MODELS
from .webui import playgrounds

EXPERIMENT, CFG = "guided", 5.0
EACH = 4
"""Gains, and losses."""

TILE, GAP, LEFT, TOP = 128, 6, 64, 102
LETTERS, LINES = 22, 6
"""How much of a prompt stands above a column."""


def rows(cfg: float) -> dict[str, Point]:
    """What is drawn, by the words beside it."""
    return {"off": Point(cfg).off, **{name: Point.of(BUILT_IN[name], cfg) for name in ("Paper", "Steady")}}


def chosen(root: Path) -> tuple[list[Record], list[Record]]:
    """The records of the largest gains and of the largest losses."""
    experiment = next(one for one in EXPERIMENTS if one.name == EXPERIMENT)
    made = report_of(experiment, committed(experiment.model, root))
    found = made.extremes(Point(CFG), MAIN["exact"][0])
    return [on for _, on in found.gains[:EACH]], [on for _, on in found.losses[:EACH]]


def digest(root: Path) -> str:
    """Of what decides what is on it: the presets' values, and the prompts and seeds that the scores choose."""
    records = [record for part in chosen(root) for record in part]
    shown = [rows(CFG), *((record.prompt, record.seed) for record in records)]
    return hashlib.sha256(str(shown).encode()).hexdigest()


def draw(root: Path) -> Image.Image:
    """Draw them with a playground started here, and put them side by side."""
    gains, losses = chosen(root)
    experiment = next(one for one in EXPERIMENTS if one.name == EXPERIMENT)
    drawing = MODELS[experiment.model]
    columns, settings = [*gains, *losses], rows(CFG)
    width = LEFT + len(columns) * (TILE + GAP) + GAP * 3
    whole = Image.new("RGB", (width, TOP + len(settings) * (TILE + GAP)), "white")
    pen = ImageDraw.Draw(whole)
    small, bold = font(10), font(13, bold=True)
    with tempfile.TemporaryDirectory() as name, playgrounds(1, Path(name), CHECKPOINTS[experiment.model]) as (ui,):
        for column, record in enumerate(columns):
            left = LEFT + column * (TILE + GAP) + (GAP * 3 if column >= len(gains) else 0)
            if column in (0, len(gains)):
                title = "most gained with Paper" if column == 0 else "most lost with Paper"
                pen.text((left, 2), title, fill="black", font=bold)
            words = "\n".join(textwrap.wrap(record.prompt, LETTERS, max_lines=LINES, placeholder=" …"))
            pen.multiline_text((left, 20), words, fill=(70, 70, 70), font=small, spacing=2)
            for row, (label, point) in enumerate(settings.items()):
                top = TOP + row * (TILE + GAP)
                (png,) = ui.txt2img(record.prompt, record.seed, 1, point, drawing)
                place = Path(name) / "one.png"
                place.write_bytes(png)
                with Image.open(place) as picture:
                    whole.paste(picture.convert("RGB").resize((TILE, TILE), Image.Resampling.LANCZOS), (left, top))
                pen.text((GAP, top + TILE // 2 - 8), label, fill="black", font=bold)
    return whole
