"""Heat maps as pictures: one word's attention as colours over the picture, plain beside PLADIS, on one scale."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lib_pladis.webui.frame import Box

COLOURS = np.array(
    [(20, 11, 80), (86, 20, 110), (160, 45, 95), (224, 90, 50), (250, 160, 30), (252, 250, 160)], dtype=np.float32
)
"""From the smallest to the largest weight, dark to light, so that it can also be read in grey."""

TILE = 224
"""Pixels of a picture's longer side in a sheet."""

BAR = 22

HEAD = "PLADIS: attention on each word"
"""The title of a sheet: the hosts' galleries have no labels."""


def pair(maps: Any, own_scale: bool = False) -> dict[str, Any]:
    """A word's maps (2, h, w), dense and blended: for each a data URL, the weight of the lightest colour, and the mean
    weight. Both have the same scale unless `own_scale`."""
    array = np.asarray(maps, dtype=np.float32)
    tops = [most(each if own_scale else array) for each in array]
    return {
        name: {"image": data_url(rgba(each, top)), "most": top, "mean": float(each.mean())}
        for name, each, top in zip(("plain", "pladis"), array, tops)
    }


def most(array: Any) -> float:
    """The weight of the lightest colour: the largest one."""
    return max(float(array.max()), 1e-6)


def rgba(weights: Any, top: float) -> Image.Image:
    """(h, w) weights as colours, more opaque for larger weights; negative ones are shown as 0."""
    part = np.clip(weights / top, 0.0, 1.0)
    steps = part * (len(COLOURS) - 1)
    low = np.minimum(steps.astype(int), len(COLOURS) - 2)
    colours = COLOURS[low] + (COLOURS[low + 1] - COLOURS[low]) * (steps - low)[..., None]
    alpha = 255 * (0.35 + 0.5 * np.sqrt(part))
    return Image.fromarray(np.concatenate((colours, alpha[..., None]), 2).round().astype(np.uint8), "RGBA")


def data_url(image: Image.Image) -> str:
    """The picture as a PNG."""
    with io.BytesIO() as output:
        image.save(output, format="PNG")
        return "data:image/png;base64," + base64.b64encode(output.getvalue()).decode("ascii")


def over(picture: Image.Image, weights: Any, top: float, box: Box) -> Image.Image:
    """The map laid over the picture in grey, at `box`."""
    left, up, width, height = (round(share * side) for share, side in zip(box, picture.size * 2))
    colours = rgba(weights, top).resize((max(1, width), max(1, height)), Image.Resampling.BICUBIC)
    out = picture.convert("L").convert("RGBA")
    out.alpha_composite(colours, (left, up))
    return out.convert("RGB")


def sheet(picture: Image.Image, words: Sequence[str], maps: Any, seen: Any, box: Box) -> Image.Image:
    """All words of a picture: (2, words, h, w), plain on the left and PLADIS on the right of each, laid at `box`."""
    array, had = np.asarray(maps, dtype=np.float32), np.asarray(seen)
    shown = [i for i in range(len(words)) if had[i] > 0]
    scale = TILE / max(picture.size)
    small = picture.resize([max(1, round(side * scale)) for side in picture.size], Image.Resampling.LANCZOS)
    width, height = small.size
    pairs = 1 if len(shown) < 4 else 2 if len(shown) < 9 else 3
    rows = -(-len(shown) // pairs)
    gap = 12
    out = Image.new("RGB", (pairs * (2 * width + 4 + gap) - gap, BAR + rows * (height + BAR)), "white")
    draw, font = ImageDraw.Draw(out), _font()
    _write(draw, (3, 3), HEAD, font)
    for number, i in enumerate(shown):
        left, up = number % pairs * (2 * width + 4 + gap), BAR + number // pairs * (height + BAR)
        top = most(array[:, i])
        for side, name in enumerate(("plain", "PLADIS")):
            x = left + side * (width + 4)
            out.paste(over(small, array[side, i], top, box), (x, up + BAR))
            text = f"{words[i]}: {name}" if side == 0 else f"{name}  (max {top:.2f})"
            _write(draw, (x + 3, up + 3), text, font)
    return out


def _font() -> Any:
    try:
        return ImageFont.load_default(14)  # a TrueType font, from Pillow 10.1 on
    except TypeError:
        return ImageFont.load_default()


def _write(draw: Any, place: tuple[int, int], text: str, font: Any) -> None:
    try:
        draw.text(place, text, fill="black", font=font)
    except UnicodeEncodeError:  # Pillow's old font has only ASCII
        draw.text(place, text.encode("ascii", "replace").decode(), fill="black", font=font)
