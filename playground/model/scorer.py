"""Reads a picture and says which coloured shapes are where; scores it against a scene.

The reader sees the picture alone: ground colour from the border, everything far from it is
foreground, connected pieces are objects, their colour is the nearest of the palette at the piece's
middle, their shape the template that their silhouette overlaps most.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image

from .scenes import COLOURS, PLACES, SHAPES, Scene, shape_mask

FOREGROUND = 60.0
"""Distance in RGB (0 to 255 each) from the ground above which a pixel belongs to an object."""
SMALLEST = 90
"""Pieces of fewer pixels are dirt; the smallest object that is drawn has about 300."""
FIT = 0.72
"""Overlap (intersection over union) with the best template below which a shape is no shape."""
SIDE = 32


@dataclass(frozen=True)
class Found:
    """A piece of the picture: `x`, `y` are its centre as parts of the picture, in [0, 1].

    `shape` is "" where no template fits; `fit` is the overlap with the best one.
    """

    colour: str
    shape: str
    x: float
    y: float
    pixels: int
    fit: float


@dataclass(frozen=True)
class Score:
    """Per object of the scene, in its order; `extra` counts found pieces beyond the scene's.

    colour, shape: some piece anywhere has it; binding: some piece anywhere has both;
    position: some piece is at the place; placed: a piece there has the colour;
    right: a piece there has the colour and the shape.
    """

    colour: tuple[bool, ...]
    shape: tuple[bool, ...]
    position: tuple[bool, ...]
    binding: tuple[bool, ...]
    placed: tuple[bool, ...]
    right: tuple[bool, ...]
    extra: int

    @property
    def all_right(self) -> bool:
        """Every object right, and nothing else in the picture."""
        return all(self.right) and self.extra == 0


def components(mask: np.ndarray) -> list[np.ndarray]:
    """Connected pieces (4 neighbours) of a boolean picture, as boolean pictures, largest first.

    Runs of foreground within a row are joined where they overlap with runs of the row above.
    """
    padded = np.zeros((mask.shape[0], mask.shape[1] + 2), dtype=np.int8)
    padded[:, 1:-1] = mask
    steps = np.diff(padded, axis=1)
    rows, starts = np.nonzero(steps == 1)
    ends = np.nonzero(steps == -1)[1]
    parents = list(range(len(rows)))

    def root(run: int) -> int:
        while parents[run] != run:
            parents[run] = run = parents[parents[run]]
        return run

    bounds = np.searchsorted(rows, np.arange(mask.shape[0] + 1)).tolist()
    begin, stop = starts.tolist(), ends.tolist()
    for first, middle, last in zip(bounds, bounds[1:], bounds[2:]):
        for run in range(middle, last):
            for above in range(first, middle):
                if begin[above] < stop[run] and begin[run] < stop[above]:
                    parents[root(run)] = root(above)
    labels = np.zeros(mask.shape, dtype=np.int64)
    labels[mask] = np.repeat([root(run) + 1 for run in range(len(rows))], ends - starts)
    values, counts = np.unique(labels[labels > 0], return_counts=True)
    return [labels == value for value in values[np.argsort(-counts)]]


@cache
def _templates() -> np.ndarray:
    """(shapes, SIDE, SIDE) silhouettes, each stretched to its bounding box."""
    masks = [np.asarray(shape_mask(shape, 96.0)) > 127 for shape in SHAPES]
    return np.stack([_stretch(mask) for mask in masks])


def _stretch(mask: np.ndarray) -> np.ndarray:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    cut = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    picture = Image.fromarray(cut.astype(np.uint8) * 255).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return np.asarray(picture) > 127


def _shape(mask: np.ndarray) -> tuple[str, float]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    height, width = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
    silhouette, templates = _stretch(mask), _templates()
    both = (silhouette & templates).sum((1, 2))
    fits = both / (silhouette | templates).sum((1, 2))
    best = int(fits.argmax())
    # Stretched to its box any smear can look square: the box must be nearly as wide as high.
    fit = float(fits[best]) * (1.0 if 0.7 <= width / height <= 1.45 else 0.5)
    return (SHAPES[best] if fit >= FIT else ""), fit


def _nearest(pixels: np.ndarray) -> np.ndarray:
    """(N, 3) -> index of the nearest palette colour, (N,)."""
    palette = np.array(list(COLOURS.values()), dtype=np.float32)
    return ((pixels[:, None] - palette) ** 2).sum(-1).argmin(1)


def _inner(mask: np.ndarray) -> np.ndarray:
    """The piece without its outermost pixels, which mix with the ground."""
    inner = mask.copy()
    for axis in (0, 1):
        for step in (1, -1):
            inner &= np.roll(mask, step, axis)
    return inner


def read(picture: Image.Image) -> list[Found]:
    """All objects of an RGB picture of any size, largest first."""
    pixels = np.asarray(picture.convert("RGB").resize((128, 128)), dtype=np.float32)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    distance = np.sqrt(((pixels - np.median(border, axis=0)) ** 2).sum(-1))
    found = []
    for piece in components(distance > FOREGROUND):
        if piece.sum() < SMALLEST:
            break
        inner = _inner(piece)
        named = np.full(piece.shape, -1)
        named[inner] = _nearest(pixels[inner])
        names, counts = np.unique(named[inner], return_counts=True)
        main = [n for n, c in zip(names, counts) if c >= max(0.25 * inner.sum(), SMALLEST)]
        if not len(names):
            continue
        # Two colours of some size in one piece are two objects that touch.
        parts = [(n, named == n) for n in main] if len(main) > 1 else []
        for name, part in parts or [(names[counts.argmax()], piece)]:
            ys, xs = np.nonzero(part)
            shape, fit = _shape(part)
            # The centre of the bounding box: that is where a drawing puts an object.
            x = (xs.min() + xs.max() + 1) / 2 / 128
            y = (ys.min() + ys.max() + 1) / 2 / 128
            found.append(Found(tuple(COLOURS)[name], shape, x, y, int(part.sum()), fit))
    return sorted(found, key=lambda thing: -thing.pixels)


def at(thing: Found, place: str) -> bool:
    """Whether the centre of a piece is in the box of one of `scenes.PLACES`."""
    x0, x1, y0, y1 = PLACES[place][1]
    return x0 <= thing.x <= x1 and y0 <= thing.y <= y1


def score(picture: Image.Image, scene: Scene) -> Score:
    """Compares what `read` finds with the scene; see `Score`."""
    return compare(read(picture), scene)


def compare(found: list[Found], scene: Scene) -> Score:
    """Compares the objects that `read` gave with the scene; see `Score`."""

    def each(test: str) -> tuple[bool, ...]:
        return tuple(
            any(
                ("c" not in test or thing.colour == wanted.colour)
                and ("s" not in test or thing.shape == wanted.shape)
                and ("p" not in test or at(thing, wanted.place))
                for thing in found
            )
            for wanted in scene.objects
        )

    extra = max(len(found) - len(scene.objects), 0)
    return Score(
        colour=each("c"),
        shape=each("s"),
        position=each("p"),
        binding=each("cs"),
        placed=each("cp"),
        right=each("csp"),
        extra=extra,
    )
