"""The part of the picture that a pass sampled: a crop if only the mask is inpainted ("Only masked"), more than the
picture if Hires. fix crops its first pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

Box = tuple[float, float, float, float]
"""Left, top, width and height, as shares of the whole."""


@dataclass(frozen=True)
class Frame:
    """`part` of what was sampled is visible, at `box` of the picture."""

    part: Box = (0.0, 0.0, 1.0, 1.0)
    box: Box = (0.0, 0.0, 1.0, 1.0)


WHOLE = Frame()


def frame_of(p: Any, hires: bool) -> Frame:
    """The frame of a finished pass of `p`."""
    pasted = _pasted(p)
    if pasted is not None:
        return pasted
    cut_off = [getattr(p, f"truncate_{axis}", 0) or 0 for axis in "xy"]  # of the latents, as the hosts count
    if hires or not any(cut_off):
        return WHOLE
    before = [getattr(p, f"hr_upscale_to_{axis}") // 8 for axis in "xy"]
    left, up = (off // 2 / size for off, size in zip(cut_off, before))
    width, height = (1 - off / size for off, size in zip(cut_off, before))
    return Frame(part=(left, up, width, height))


def _pasted(p: Any) -> Frame | None:
    """The frame of a crop that was pasted into the picture: the hosts scale it to cover its place and cut off the
    rest."""
    from modules import shared

    place, overlays = getattr(p, "paste_to", None), getattr(p, "overlay_images", None)
    if not place or not overlays or not getattr(shared.opts, "overlay_inpaint", True):
        return None
    left, up, width, height = place
    scale = max(width / p.width, height / p.height)
    seen = width / (p.width * scale), height / (p.height * scale)
    whole_width, whole_height = overlays[0].size
    return Frame(
        part=((1 - seen[0]) / 2, (1 - seen[1]) / 2, *seen),
        box=(left / whole_width, up / whole_height, width / whole_width, height / whole_height),
    )


def cut(maps: Any, part: Box) -> Any:
    """The visible part of maps (2, words, h, w), at the same size."""
    if part == WHOLE.part or not maps.shape[1]:
        return maps
    left, up, width, height = part
    rows = [[width, 0.0, 2 * left + width - 1], [0.0, height, 2 * up + height - 1]]
    grid = F.affine_grid(torch.tensor([rows, rows]), list(maps.shape), align_corners=False)
    return F.grid_sample(maps, grid, padding_mode="border", align_corners=False)
