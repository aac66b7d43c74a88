"""Pictures: to and from tensors, base64 and PNG with text; grids and their labels."""

from __future__ import annotations

import base64
import io
import math
import os
import re
import textwrap
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin
from torch import Tensor


def tensor_to_image(x: Tensor) -> Image.Image:
    """(3, H, W) in −1…1."""
    array = ((x.float() + 1) / 2).clamp(0, 1).mul(255).byte().cpu().numpy()
    return Image.fromarray(np.moveaxis(array, 0, 2))


def image_to_tensor(image: Image.Image) -> Tensor:
    """(1, 3, H, W) in −1…1."""
    array = np.asarray(image.convert("RGB"), dtype=np.float32) / 127.5 - 1
    return torch.from_numpy(np.moveaxis(array, 2, 0).copy())[None]


def image_grid(imgs: list[Image.Image], rows: int | None = None) -> Image.Image:
    rows = rows or max(1, math.isqrt(len(imgs)))
    cols = math.ceil(len(imgs) / rows)
    width, height = max(x.width for x in imgs), max(x.height for x in imgs)
    grid = Image.new("RGB", (cols * width, rows * height), "black")
    for i, image in enumerate(imgs):
        grid.paste(image, (i % cols * width, i // cols * height))
    return grid


def label_grid(grid: Image.Image, columns: list[str], rows: list[str]) -> Image.Image:
    """The grid with a text above each column and left of each row (empty texts take no room)."""
    font, letter, line = ImageFont.load_default(), 6, 13  # pixels, about
    w, h = grid.width // len(columns), grid.height // len(rows)
    columns = ["\n".join(textwrap.wrap(x, max(4, w // letter - 1))) for x in columns]
    top = max(x.count("\n") + 1 for x in columns) * line + 8 if any(columns) else 0
    left = max(map(len, rows)) * letter + 12 if any(rows) else 0
    out = Image.new("RGB", (left + grid.width, top + grid.height), "white")
    out.paste(grid, (left, top))
    draw = ImageDraw.Draw(out)
    for i, text in enumerate(columns):
        draw.multiline_text((left + i * w + 4, 4), text, fill="black", font=font)
    for j, text in enumerate(rows):
        draw.text((6, top + j * h + h // 2 - line // 2), text, fill="black", font=font)
    return out


def encode_png(image: Image.Image) -> bytes:
    """PNG bytes; the texts of `image.info` (the infotext under "parameters") go along."""
    text = PngImagePlugin.PngInfo()
    for key, value in image.info.items():
        if isinstance(key, str) and isinstance(value, str):
            text.add_text(key, value)
    with io.BytesIO() as output:
        image.save(output, format="PNG", pnginfo=text)
        return output.getvalue()


def save_image(
    image: Image.Image, path: str, basename: str, seed: int | None = None, *, info: str | None = None
) -> tuple[str, None]:
    """Save as the next number in the folder `path`, with `info` as its infotext. Returns its full name, and None for
    the text file beside it, which is not written here."""
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    numbers = [int(found[0]) for found in (re.search(r"\d+", name) for name in os.listdir(folder)) if found]
    parts = [basename, f"{max(numbers, default=-1) + 1:05}", "" if seed is None else str(seed)]
    copied = image.copy()
    if info is not None:
        copied.info["parameters"] = info
    full = folder / f"{'-'.join(filter(None, parts))}.png"
    full.write_bytes(encode_png(copied))
    return str(full), None


def encode_base64(image: Image.Image) -> str:
    return base64.b64encode(encode_png(image)).decode("ascii")


def decode_base64(encoding: str) -> Image.Image:
    """Raises ValueError or OSError for what is not a picture."""
    image = Image.open(io.BytesIO(base64.b64decode(encoding.split(",")[-1])))
    image.load()
    return image


def read_info_from_image(image: Image.Image) -> tuple[str | None, dict[str, str]]:
    """The infotext, and the other texts the picture carries."""
    items = {k: v for k, v in (image.info or {}).items() if isinstance(v, str)}
    return items.pop("parameters", None), items
