"""Captioned scenes of flat shapes: what the playground's model learns to draw.

A scene is one to three objects, each a (colour, shape) pair at a named place. `sample` draws the
scene, `caption` says it in words, `render` paints it. Everything follows from the `random.Random`
that is passed in, so a seed names a data set.

Held out from training, and drawn by the evaluation kinds only:
- `HELD_PAIRS`: (colour, shape) pairs that no training picture shows ("unseen pairs");
- `held_combo`: one in five of the couples of pairs ("unseen combos"): both objects are known,
  the two together are not.
"""

from __future__ import annotations

import hashlib
import math
import random
from dataclasses import dataclass
from functools import cache

from PIL import Image, ImageDraw

from .words import DISTRACTORS, ENDINGS, OPENINGS, RELATIONS, SPOTS

SIZE = 128
"""Width and height of a picture in pixels."""

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 40, 40),
    "orange": (246, 138, 20),
    "yellow": (245, 216, 40),
    "green": (40, 160, 70),
    "blue": (40, 80, 210),
    "purple": (130, 50, 170),
    "pink": (250, 130, 190),
    "black": (30, 30, 35),
}
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")

HELD_PAIRS = frozenset(
    {
        ("blue", "circle"),
        ("green", "square"),
        ("purple", "triangle"),
        ("red", "star"),
        ("yellow", "cross"),
        ("pink", "ring"),
    }
)

KINDS = ("train", "unseen_combo", "unseen_pair", "three", "distractors", "one")

Box = tuple[float, float, float, float]

# Where a place puts an object (centre in pixels), and the box (x0, x1, y0, y1, as parts of the
# picture) that the centre of a drawn object must be in to count as being there.
PLACES: dict[str, tuple[tuple[int, int], Box]] = {
    "left": ((34, 64), (0.0, 0.5, 0.0, 1.0)),
    "right": ((94, 64), (0.5, 1.0, 0.0, 1.0)),
    "top": ((64, 34), (0.0, 1.0, 0.0, 0.5)),
    "bottom": ((64, 94), (0.0, 1.0, 0.5, 1.0)),
    "top left": ((35, 35), (0.0, 0.5, 0.0, 0.5)),
    "top right": ((93, 35), (0.5, 1.0, 0.0, 0.5)),
    "bottom left": ((35, 93), (0.0, 0.5, 0.5, 1.0)),
    "bottom right": ((93, 93), (0.5, 1.0, 0.5, 1.0)),
    "centre": ((64, 64), (0.3, 0.7, 0.3, 0.7)),
    "row left": ((23, 64), (0.0, 0.35, 0.0, 1.0)),
    "row middle": ((64, 64), (0.35, 0.65, 0.0, 1.0)),
    "row right": ((105, 64), (0.65, 1.0, 0.0, 1.0)),
    "column top": ((64, 23), (0.0, 1.0, 0.0, 0.35)),
    "column middle": ((64, 64), (0.0, 1.0, 0.35, 0.65)),
    "column bottom": ((64, 105), (0.0, 1.0, 0.65, 1.0)),
    "anywhere": ((64, 64), (0.0, 1.0, 0.0, 1.0)),
}
GRID = tuple(PLACES)[:9]
RIVALS = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}
DIAGONALS = (("top left", "bottom right"), ("top right", "bottom left"))


@dataclass(frozen=True)
class Object:
    """One object: `place` is what the caption says, (`x`, `y`, `size`) pixels what is painted."""

    colour: str
    shape: str
    place: str
    x: float
    y: float
    size: float


@dataclass(frozen=True)
class Scene:
    """Objects in the order in which the caption names them; `layout` picks the phrasing."""

    objects: tuple[Object, ...]
    layout: str
    distract: int = 0


def held_combo(first: tuple[str, str], second: tuple[str, str]) -> bool:
    """True for the fifth of all couples of (colour, shape) pairs that training never shows."""
    key = "|".join(sorted(" ".join(pair) for pair in (first, second)))
    return hashlib.sha256(key.encode()).digest()[0] % 5 == 0


def _pair(rng: random.Random) -> tuple[str, str]:
    while (pair := (rng.choice(tuple(COLOURS)), rng.choice(SHAPES))) in HELD_PAIRS:
        pass
    return pair


def _pairs(rng: random.Random, count: int, kind: str) -> list[tuple[str, str]]:
    """`count` different pairs; evaluation kinds get different colours, so a swap always shows."""
    while True:
        pairs = [_pair(rng) for _ in range(count)]
        if kind == "unseen_pair":
            pairs[rng.randrange(count)] = rng.choice(sorted(HELD_PAIRS))
        colours = {colour for colour, _ in pairs}
        if len(set(pairs)) < count:
            continue
        if len(colours) < count and (kind != "train" or rng.random() < 0.7):
            continue
        held = any(held_combo(a, b) for i, a in enumerate(pairs) for b in pairs[i + 1 :])
        if kind == "unseen_pair" or held == (kind in ("unseen_combo", "distractors")):
            return pairs


def _place(rng: random.Random, pair: tuple[str, str], place: str, said: str, **at: float) -> Object:
    """An object near the middle of `place`; `at` may give size, jitter, and shifts dx, dy."""
    (left, top), _ = PLACES[place]
    size, jitter = at.get("size", rng.uniform(38, 48)), at.get("jitter", 5.0)
    margin = size / 2 + 3
    x = min(max(left + at.get("dx", 0.0) + rng.uniform(-jitter, jitter), margin), SIZE - margin)
    y = min(max(top + at.get("dy", 0.0) + rng.uniform(-jitter, jitter), margin), SIZE - margin)
    return Object(*pair, said, round(x, 2), round(y, 2), round(size, 2))


def _one(rng: random.Random, kind: str) -> Scene:
    place, said = rng.choice(GRID), rng.random() < 0.6
    pair = _pairs(rng, 1, "train")[0]
    return Scene((_place(rng, pair, place, place if said else "anywhere"),), "spot")


def _two(rng: random.Random, kind: str) -> Scene:
    pairs = _pairs(rng, 2, kind)
    style = rng.random()
    layout = "relation" if style < 0.72 else "corners" if style < 0.86 else "free"
    if kind != "train":
        layout = "relation"
    if layout == "relation":
        first = rng.choice(tuple(RIVALS))
        places = (first, RIVALS[first])
    else:
        places = rng.choice((*DIAGONALS, *RIVALS.items()) if layout == "free" else DIAGONALS)
        places = places if rng.random() < 0.5 else places[::-1]
    shift = rng.uniform(-14, 14)
    key = "dy" if places[0] in ("left", "right") else "dx"
    at = {key: shift} if places[0] in RIVALS else {}
    objects = tuple(
        _place(rng, pair, place, "anywhere" if layout == "free" else place, **at) for pair, place in zip(pairs, places)
    )
    return Scene(objects, layout)


def _three(rng: random.Random, kind: str) -> Scene:
    pairs = _pairs(rng, 3, kind)
    layout = rng.choice(("row", "column", "two over one", "one over two"))
    places = {
        "row": ("row left", "row middle", "row right"),
        "column": ("column top", "column middle", "column bottom"),
        "two over one": ("top left", "top right", "bottom"),
        "one over two": ("bottom left", "bottom right", "top"),
    }[layout]
    small = layout in ("row", "column")
    low, high = (30, 34) if small else (36, 42)
    objects = tuple(
        _place(rng, pair, place, place, size=rng.uniform(low, high), jitter=2.0 if small else 4.0)
        for pair, place in zip(pairs, places)
    )
    return Scene(objects, layout)


def sample(rng: random.Random, kind: str = "train") -> Scene:
    """Draws a scene of `kind` (one of `KINDS`); the same rng state gives the same scene.

    train: one (18%), two (67%) or three objects, nothing that is held out;
    unseen_combo: two objects that training never shows together;
    unseen_pair: two objects, one of them a pair that training never shows;
    three: three objects; distractors: as unseen_combo, with 8 to 16 words that mean nothing;
    one: one object.
    """
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}: it must be one of {', '.join(KINDS)}")
    if kind == "train":
        style = rng.random()
        draw = _one if style < 0.18 else _two if style < 0.85 else _three
        scene = draw(rng, kind)
        distract = rng.randint(1, 10) if rng.random() < 0.25 else 0
        return Scene(scene.objects, scene.layout, distract)
    draw = {"one": _one, "three": _three}.get(kind, _two)
    scene = draw(rng, kind)
    return Scene(scene.objects, scene.layout, rng.randint(8, 16) if kind == "distractors" else 0)


@cache
def outline(shape: str) -> tuple[tuple[float, float], ...]:
    """Corner points of a straight-edged shape in the square [-1, 1]²; empty for round ones."""
    if shape == "square":
        return ((-0.92, -0.92), (0.92, -0.92), (0.92, 0.92), (-0.92, 0.92))
    if shape == "triangle":
        return ((0.0, -0.95), (1.0, 0.88), (-1.0, 0.88))
    if shape == "star":
        angles = [math.pi * (i / 5 - 0.5) for i in range(10)]
        radii = [1.08 if i % 2 == 0 else 0.46 for i in range(10)]
        return tuple((r * math.cos(a), r * math.sin(a) + 0.06) for r, a in zip(radii, angles))
    if shape == "cross":
        a, b = 0.34, 1.0
        half = ((-a, -b), (a, -b), (a, -a), (b, -a), (b, a), (a, a))
        return (*half, *((-x, -y) for x, y in half))
    return ()


def shape_mask(shape: str, size: float, dx: float = 0.0, dy: float = 0.0) -> Image.Image:
    """Coverage (mode L, 0 to 255) of a shape of `size` pixels, moved by (dx, dy) < 1 pixel.

    Drawn at 4 times the size and reduced, so edges are antialiased.
    """
    side, over = math.ceil(size) + 6, 4
    tile = Image.new("L", (side * over, side * over), 0)
    draw = ImageDraw.Draw(tile)
    cx, cy, radius = (side / 2 + dx) * over, (side / 2 + dy) * over, size / 2 * over
    if points := outline(shape):
        draw.polygon([(cx + x * radius, cy + y * radius) for x, y in points], fill=255)
    else:
        draw.ellipse((cx - radius, cy - radius, cx + radius, cy + radius), fill=255)
        if shape == "ring":
            hole = radius * 0.5
            draw.ellipse((cx - hole, cy - hole, cx + hole, cy + hole), fill=0)
    return tile.reduce(over)


def render(scene: Scene, rng: random.Random) -> Image.Image:
    """Paints the scene, RGB, 128×128, on a light plain ground; rng jitters the colours a little."""
    ground = rng.randint(236, 250)
    picture = Image.new("RGB", (SIZE, SIZE), (ground, ground, ground))
    for thing in scene.objects:
        colour = tuple(min(max(part + rng.randint(-6, 6), 0), 255) for part in COLOURS[thing.colour])
        side = math.ceil(thing.size) + 6
        left, top = thing.x - side / 2, thing.y - side / 2
        mask = shape_mask(thing.shape, thing.size, left - math.floor(left), top - math.floor(top))
        picture.paste(colour, (math.floor(left), math.floor(top)), mask)
    return picture


def _name(thing: Object, rng: random.Random) -> str:
    article = rng.choices(("a", "the", "one", ""), (80, 8, 4, 8))[0]
    if article == "a" and thing.colour[0] in "aeiou":
        article = "an"
    return f"{article} {thing.colour} {thing.shape}".strip()


def _says(scene: Scene, rng: random.Random) -> str:
    names = [_name(thing, rng) for thing in scene.objects]
    things = scene.objects
    if scene.layout == "relation":
        return rng.choice(RELATIONS[things[0].place]).format(*names)
    if scene.layout in ("row", "column", "two over one", "one over two"):
        return rng.choice(RELATIONS[scene.layout]).format(*names)
    parts = [
        name if thing.place == "anywhere" else f"{name} {rng.choice(SPOTS[thing.place])}"
        for name, thing in zip(names, things)
    ]
    return rng.choice((" and ", ", ")).join(parts) if len(parts) > 1 else parts[0]


def caption(scene: Scene, rng: random.Random) -> str:
    """One of the many ways to say the scene; `scene.distract` meaningless words are added."""
    text = rng.choice(OPENINGS) + _says(scene, rng) if rng.random() < 0.4 else _says(scene, rng)
    words = [rng.choice(DISTRACTORS) for _ in range(scene.distract)]
    if not words:
        return text + rng.choice(ENDINGS) if rng.random() < 0.25 else text
    before = rng.randint(0, len(words)) if rng.random() < 0.4 else 0
    glue = rng.choice((", ", ", ", " "))
    return ", ".join(part for part in (glue.join(words[:before]), text, glue.join(words[before:])) if part)
