"""A host's result (`Processed`): which of its pictures were generated, and what they say."""

from __future__ import annotations

from typing import Any


def picture_places(processed: Any) -> list[int]:
    """The places of the generated pictures in a result: not of the grid, and not of masks and the like."""
    places = range(processed.index_of_first_image, len(processed.images))
    named = [place for place in places if getattr(processed.images[place], "info", {}).get("parameters")]
    return named or list(places)


def text_of(processed: Any, place: int) -> str:
    """The parameters of a picture. Masks have none: where there are some, what the picture itself says counts."""
    if len(processed.infotexts) == len(processed.images):
        return str(processed.infotexts[place])
    return str(getattr(processed.images[place], "info", {}).get("parameters", ""))


def padded_texts(processed: Any) -> list[str]:
    """The host's texts, as many as there are pictures."""
    return [*processed.infotexts, *[""] * len(processed.images)][: len(processed.images)]
