"""What belongs to the pictures of a generation, and how the page and API clients find it.

The hosts send every client the `info` of a result. Its `extra_generation_params` contain, under KEY and nowhere else,

    {"pairs": [[index of a picture, index of its plain one], ...],
     "looks": [[index of a picture, index of its sheet or null, name of the look, number in it], ...],
     "notes": {message about a cell: 1, ...}}        of an X/Y/Z plot, whose cells have no results of their own

Indices count all images. Only a client that has the picture knows the name of its look.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

from lib_pladis.settings import SettingsError
from lib_pladis.webui.look import Look

KEY = "PLADIS beside"

MOST_KEPT = 32
"""Number of pictures, of all generations, whose heat maps are kept."""


class Beside:
    """What belongs to the last pictures of this web UI."""

    def __init__(self) -> None:
        self._looks: dict[str, Look] = {}
        self._gallery: tuple[Any, Any] = (None, None)

    def tell(
        self, p: Any, processed: Any, pairs: Sequence[tuple[int, int]], look: Look | None, notes: Sequence[str]
    ) -> None:
        """Write the data into the result of `p`, and `notes` under the pictures.

        img2img Batch draws all files of a folder with one `p` and appends their pictures to the first result, which is
        the one that is shown.
        """
        shown, begun = (each and each() for each in self._gallery)
        first = begun is not p or shown in (None, processed)
        if first:
            shown = processed
            self._gallery = weakref.ref(processed), weakref.ref(p)
        offset = 0 if first else len(shown.images)
        shown.comments += "".join(f"{note}\n" for note in notes)  # p.comments would be too late
        looks = []
        if look is not None and look.places:
            self._keep(look)
            looks = [
                (place + offset, None if sheet is None else sheet + offset, look.name, number)
                for number, (place, sheet) in enumerate(zip(look.places, look.sheets))
            ]
        told: dict[str, Any] = (shown.extra_generation_params or {}).get(KEY, {"pairs": [], "looks": []})
        told = {
            "pairs": [*told["pairs"], *((picture + offset, plain + offset) for picture, plain in pairs)],
            "looks": [*told["looks"], *looks],
        }
        if any(told.values()):
            shown.extra_generation_params = {**(shown.extra_generation_params or {}), KEY: told}

    def tell_all(self, p: Any, processed: Any) -> None:
        """Add the messages about all cells to the result of a plot: the first cell's result becomes the plot's, and
        the cells, copies of one `p`, share its comments."""
        notes = getattr(p, "comments", {})
        processed.extra_generation_params = {
            **(processed.extra_generation_params or {}),
            KEY: {"pairs": [], "looks": [], "notes": notes},
        }

    def _keep(self, look: Look) -> None:
        self._looks[look.name] = look
        while sum(len(each.places) for each in self._looks.values()) > MOST_KEPT and len(self._looks) > 1:
            del self._looks[next(iter(self._looks))]

    def look(self, name: str) -> Look:
        """The look of that name. Raises SettingsError if there is none any more."""
        if name in self._looks:
            return self._looks[name]
        raise SettingsError(
            f"PLADIS look: got {name!r}, allowed: a name in the generation's own info (extra_generation_params, "
            f"{KEY!r}, looks), of one of the last {MOST_KEPT} pictures that were looked at"
        )
