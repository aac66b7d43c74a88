"""A host's result (`Processed`): which of its pictures were generated, and their parameters."""

from __future__ import annotations

import re
from typing import Any

_SEEDS = re.compile(r"(?:^|, )(Seed|Variation seed): (\d+)")


def picture_places(processed: Any) -> list[int]:
    """The indices of the generated pictures in a result: not of the grid, nor of masks and the like."""
    places = range(processed.index_of_first_image, len(processed.images))
    return [place for place in places if _says(processed.images[place])] or list(places)


def texts(processed: Any) -> list[str]:
    """The parameters of each image. Masks have none, and the hosts' list leaves them out."""
    images, given = processed.images, list(processed.infotexts)
    saying = [bool(_says(image)) for image in images]
    if len(given) != len(images) and len(given) == sum(saying):
        return [given.pop(0) if each else "" for each in saying]
    return [*given, *[""] * len(images)][: len(images)]


def seeds(processed: Any) -> list[tuple[tuple[str, str], ...]]:
    """The seed and the variation seed of each image: as it carries them itself, for other extensions may change the
    result's list; else as the list has them."""
    found = zip(processed.images, texts(processed))
    return [_seeds(_says(image) or "") or _seeds(text) for image, text in found]


def _seeds(text: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(_SEEDS.findall(text.rpartition("\n")[2])))


def _says(image: Any) -> Any:
    return getattr(image, "info", {}).get("parameters")
