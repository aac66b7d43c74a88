"""The README's first picture: plain and with PLADIS, at the CFG scale and preset that the playground begins with.

The rule: of the study's pictures on fresh prompts, in the order in which they were drawn, the first `COLUMNS` of which
one is all right and the other is not.
"""

from __future__ import annotations

import hashlib
import textwrap

from PIL import Image, ImageDraw

from benchmarks.align.point import Point
from benchmarks.align.store import Record
from benchmarks.study import MANY, SCORE, fresh, part
from lib_pladis.presets import BUILT_IN
from tests.tiles import MARK, drawn, font, mark

CFG, PRESET, COLUMNS = 1.0, "No guidance", 8
TILE, GAP, UNDER, LEFT, TOP = 128, 6, 16, 64, 84
LETTERS, LINES = 22, 6
"""How much of a prompt stands above a column."""

POINTS = {"plain": Point(CFG).off, "PLADIS": Point.of(BUILT_IN[PRESET], CFG)}


def chosen() -> list[tuple[Record, Record]]:
    """The pairs (plain, PLADIS) that are shown."""
    found = {name: {(one.prompt, one.seed): one for one in part(MANY, fresh).records if one.point == point}
             for name, point in POINTS.items()}  # fmt: skip
    keys = sorted(found["plain"].keys() & found["PLADIS"].keys(), key=lambda key: (key[1], key[0]))
    pairs = [(found["plain"][key], found["PLADIS"][key]) for key in keys]
    return [pair for pair in pairs if pair[0].scores[SCORE] != pair[1].scores[SCORE]][:COLUMNS]


def digest() -> str:
    """Of what decides what is on it: the settings, and the prompts and seeds that the scores choose."""
    shown = [str(POINTS), *((plain.prompt, plain.seed) for plain, _ in chosen())]
    return hashlib.sha256(str(shown).encode()).hexdigest()


def draw() -> Image.Image:
    """A column for each pair, the prompt above it and a tick or a cross under each picture."""
    pairs = chosen()
    records = [record for pair in pairs for record in pair]
    pictures = drawn(MANY, [(record.point, record.prompt, record.seed) for record in records])
    row = TILE + UNDER + GAP
    whole = Image.new("RGB", (LEFT + COLUMNS * (TILE + GAP), TOP + len(POINTS) * row), "white")
    pen = ImageDraw.Draw(whole)
    for index, (record, picture) in enumerate(zip(records, pictures)):
        left, top = LEFT + index // 2 * (TILE + GAP), TOP + index % 2 * row
        whole.paste(picture, (left, top))
        mark(pen, left + (TILE - MARK) // 2, top + TILE + (UNDER - MARK) // 2, bool(record.scores[SCORE]))
        if index % 2 == 0:
            words = "\n".join(textwrap.wrap(record.prompt, LETTERS, max_lines=LINES, placeholder=" …"))
            pen.multiline_text((left, 4), words, fill=(70, 70, 70), font=font(10), spacing=2)
    for index, name in enumerate(POINTS):
        pen.text((GAP, TOP + index * row + TILE // 2 - 8), name, fill="black", font=font(13, bold=True))
    return whole
