"""docs/presets.md's grid: the same prompts and seed under every built-in preset, on both models of the playground.

The rule: of the study's first `PROMPTS` prompts, of kinds that training never showed, with the study's first seed, each
block shows the first `SHOWN` on which the columns are not all right or all wrong alike; how many of all `PROMPTS` are
right stands under each column. A tick says that the exact scorer finds every object right and nothing else there.
"""

from __future__ import annotations

import hashlib
import json
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from benchmarks.align import prompts
from benchmarks.align.point import Point
from benchmarks.align.prompts import PLAYGROUND_KINDS
from benchmarks.align.scores import exact
from benchmarks.study import FEW, MANY
from lib_pladis.presets import PRESETS
from tests.tiles import MARK, drawn, font, mark

MODELS = {"many-steps": MANY, "few-steps": FEW}
PROMPTS, SHOWN, FIRST_SEED = 32, 4, 1000
BLOCKS: tuple[tuple[str, str, float], ...] = (
    ("many-step model, 10 steps, CFG 5", "many-steps", 5.0),
    ("the same model, CFG 1", "many-steps", 1.0),
    ("distilled model, 4 steps, CFG 1", "few-steps", 1.0),
)
"""Title, the study's name of the model, CFG scale."""

TILE, GAP, UNDER, LEFT, HEAD, FOOT = 108, 6, 16, 150, 42, 22
INK, GREY = (20, 20, 20), (90, 90, 90)


@dataclass(frozen=True)
class Tile:
    picture: Image.Image
    right: bool


def columns(cfg: float) -> dict[str, Point]:
    """Off and every built-in preset, by name. Raises ValueError for a preset that sets what a point can't."""
    return {"off": Point(cfg).off, **{preset.name: Point.of(preset, cfg) for preset in PRESETS}}


def chosen(rows: Sequence[Sequence[Tile]]) -> list[int]:
    """Which rows are shown: the first in which the columns differ and, where those are too few, the first others."""
    differ = [i for i, row in enumerate(rows) if len({tile.right for tile in row}) > 1]
    return [*differ, *(i for i in range(len(rows)) if i not in differ)][:SHOWN]


def tiles(model: str, points: Sequence[Point], asked: Sequence[prompts.Prompt]) -> list[list[Tile]]:
    """A row for each prompt, a tile for each point."""
    wanted = [(prompt, point) for prompt in asked for point in points]
    pictures = drawn(MODELS[model], [(point, prompt.text, FIRST_SEED) for prompt, point in wanted])
    found = [Tile(picture, bool(exact(picture, prompt)["all right"])) for picture, (prompt, _) in zip(pictures, wanted)]
    return [found[i : i + len(points)] for i in range(0, len(found), len(points))]


class Sheet:
    """Where things are drawn."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self.block = HEAD + SHOWN * (TILE + UNDER + GAP) + FOOT + 4 * GAP
        self.image = Image.new("RGB", (LEFT + len(names) * (TILE + GAP), self.block * len(BLOCKS)), "white")
        self.pen = ImageDraw.Draw(self.image)

    def write(self, at: tuple[float, float], text: str, bold: bool = False, size: int = 11, ink: object = INK) -> None:
        self.pen.multiline_text(at, text, fill=ink, font=font(size, bold), spacing=2)  # type: ignore[arg-type]

    def add(self, place: int, title: str, asked: Sequence[prompts.Prompt], rows: Sequence[Sequence[Tile]]) -> None:
        """Block number `place`."""
        top = place * self.block
        self.write((GAP, top + 4), title, bold=True, size=14)
        lefts = [LEFT + i * (TILE + GAP) for i in range(len(self.names))]
        for left, name in zip(lefts, self.names):
            self.write((left, top + 25), name, bold=True, size=12)
        for n, row in enumerate(chosen(rows)):
            y = top + HEAD + n * (TILE + UNDER + GAP)
            self.write((GAP, y + 4), "\n".join(textwrap.wrap(asked[row].text, 23)[:8]), ink=GREY)
            for left, tile in zip(lefts, rows[row]):
                self.image.paste(tile.picture.convert("RGB").resize((TILE, TILE), Image.Resampling.LANCZOS), (left, y))
                mark(self.pen, left + (TILE - MARK) // 2, y + TILE + (UNDER - MARK) // 2, tile.right)
        y = top + HEAD + SHOWN * (TILE + UNDER + GAP)
        self.write((GAP, y), f"right, of {len(rows)} prompts", ink=GREY)
        for left, tiles in zip(lefts, zip(*rows)):
            self.write((left, y), str(sum(tile.right for tile in tiles)), ink=GREY)


def digest() -> str:
    """Of what decides what is on it: the presets' values and the rule."""
    shown = [
        BLOCKS,
        PROMPTS,
        SHOWN,
        FIRST_SEED,
        PLAYGROUND_KINDS,
        *((preset.name, dict(preset.values)) for preset in PRESETS),
    ]
    return hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()


def draw() -> Image.Image:
    """Everything drawn anew, by a playground for each block; minutes on two cores."""
    asked = prompts.mixed(PLAYGROUND_KINDS, prompts.playground, PROMPTS // len(PLAYGROUND_KINDS))
    sheet = Sheet(list(columns(1.0)))
    for place, (title, model, cfg) in enumerate(BLOCKS):
        sheet.add(place, title, asked, tiles(model, list(columns(cfg).values()), asked))
    return sheet.image
