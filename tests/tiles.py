"""Pictures of the playground's models for the documentation's sheets, and how they are labelled."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from pathlib import Path

from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

from benchmarks.align.point import Point
from benchmarks.align.webui import playgrounds
from benchmarks.study import Model

MARK = 8
RIGHT, WRONG = (20, 120, 60), (190, 50, 40)


def drawn(model: Model, wanted: Sequence[tuple[Point, str, int]]) -> list[Image.Image]:
    """The picture of each (settings, prompt, seed), by a playground started here."""
    with tempfile.TemporaryDirectory() as name, playgrounds(1, Path(name), model.checkpoint) as (ui,):
        pngs = [ui.txt2img(prompt, seed, 1, point, model.drawing)[0] for point, prompt, seed in wanted]
    return [Image.open(io.BytesIO(png)).convert("RGB") for png in pngs]


def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """A font that matplotlib brings; `size` in pixels."""
    weight = "bold" if bold else "normal"
    return ImageFont.truetype(font_manager.findfont(font_manager.FontProperties(weight=weight)), size)


def mark(pen: ImageDraw.ImageDraw, left: int, top: int, right: bool) -> None:
    """A tick or a cross of `MARK` pixels."""
    if right:
        line = [(left, top + MARK // 2), (left + MARK // 3, top + MARK - 1), (left + MARK, top)]
        pen.line(line, fill=RIGHT, width=2)
    else:
        pen.line((left, top, left + MARK, top + MARK), fill=WRONG, width=2)
        pen.line((left, top + MARK, left + MARK, top), fill=WRONG, width=2)
