"""Pictures: to and from tensors, base64 and PNG with text; grids and their labels."""

from __future__ import annotations

import base64
import binascii
import io
import math
import textwrap

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


def resize_image(resize_mode: int, image: Image.Image, width: int, height: int) -> Image.Image:
    """0: just resize; 1: crop, then resize; 2: resize, then fill the rest with the picture, blurred by size."""
    if resize_mode == 0 or image.width * height == image.height * width:
        return image.resize((width, height), Image.LANCZOS)
    pick = max if resize_mode == 1 else min
    factor = pick(width / image.width, height / image.height)
    scaled = image.resize((round(image.width * factor), round(image.height * factor)), Image.LANCZOS)
    canvas = image.resize((width, height), Image.LANCZOS)
    canvas.paste(scaled, ((width - scaled.width) // 2, (height - scaled.height) // 2))
    return canvas


def image_grid(imgs: list[Image.Image], batch_size: int = 1, rows: int | None = None) -> Image.Image:
    rows = rows or max(1, math.isqrt(len(imgs)))
    cols = math.ceil(len(imgs) / rows)
    width, height = max(x.width for x in imgs), max(x.height for x in imgs)
    grid = Image.new("RGB", (cols * width, rows * height), "black")
    for i, image in enumerate(imgs):
        grid.paste(image, (i % cols * width, i // cols * height))
    return grid


def label_grid(grid: Image.Image, columns: list[str], rows: list[str], margin: int = 0) -> Image.Image:
    """The grid with a text above each column and left of each row (empty texts take no room)."""
    font = ImageFont.load_default()
    w, h = grid.width // len(columns), grid.height // len(rows)
    columns = ["\n".join(textwrap.wrap(x, max(4, w // 6 - 1))) for x in columns]

    def size(text: str) -> tuple[int, int]:
        box = ImageDraw.Draw(grid).multiline_textbbox((0, 0), text, font=font)
        return box[2], box[3]

    top = max(size(x)[1] for x in columns) + 10 if any(columns) else 0
    left = max(size(x)[0] for x in rows) + 12 if any(rows) else 0
    out = Image.new(
        "RGB", (left + len(columns) * (w + margin) - margin, top + len(rows) * (h + margin) - margin), "white"
    )
    draw = ImageDraw.Draw(out)
    for i, text in enumerate(columns):
        draw.multiline_text(
            (left + i * (w + margin) + max(0, (w - size(text)[0]) // 2), 4),
            text,
            fill="black",
            font=font,
            align="center",
        )
    for j, text in enumerate(rows):
        draw.text((6, top + j * (h + margin) + (h - size(text)[1]) // 2), text, fill="black", font=font)
        for i in range(len(columns)):
            cell = grid.crop((i * w, j * h, (i + 1) * w, (j + 1) * h))
            out.paste(cell, (left + i * (w + margin), top + j * (h + margin)))
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


def decode_base64(encoding: str) -> Image.Image:
    """Raises ValueError for what is not a picture."""
    if encoding.startswith("data:image/"):
        encoding = encoding.split(";")[1].split(",")[1]
    try:
        image = Image.open(io.BytesIO(base64.b64decode(encoding)))
        image.load()
    except (binascii.Error, OSError) as e:
        raise ValueError("Invalid encoded image") from e
    return image


def read_info_from_image(image: Image.Image) -> tuple[str | None, dict[str, str]]:
    """The infotext, and the other texts the picture carries."""
    items = {k: v for k, v in (image.info or {}).items() if isinstance(v, str)}
    return items.pop("parameters", None), items
