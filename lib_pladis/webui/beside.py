"""What stands beside the pictures of a generation, and how the page and the API's clients find it.

The hosts send every client a result's `info`. Its `extra_generation_params` have, under KEY and nowhere else,

    {"pairs": [[place of a picture, of its plain one], ...],
     "looks": [[place of a picture, of its sheet or null, name of the look, number in it], ...],
     "notes": {what was said of a cell: 1, ...}}        of an X/Y/Z plot, whose cells' own results are thrown away

by places among all images. So whoever has a picture knows its look's name, and nobody else does.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

from lib_pladis.settings import SettingsError
from lib_pladis.webui.look import Look

KEY = "PLADIS beside"

MOST_KEPT = 32
"""Pictures whose heat maps are kept, of all generations."""


class Beside:
    """What this web UI has beside its last pictures."""

    def __init__(self) -> None:
        self._looks: dict[str, Look] = {}
        self._gallery: tuple[Any, Any] = (None, None)

    def tell(
        self, p: Any, processed: Any, pairs: Sequence[tuple[int, int]], look: Look | None, notes: Sequence[str]
    ) -> None:
        """Write it into the result of `p`, and `notes` under the pictures.

        The files of a folder in img2img are drawn with one `p`, and their pictures put behind those of the first
        result, which is the one that is shown.
        """
        shown, begun = (each and each() for each in self._gallery)
        first = begun is not p or shown in (None, processed)
        if first:
            shown = processed
            self._gallery = weakref.ref(processed), weakref.ref(p)
        offset = 0 if first else len(shown.images)
        shown.comments += "".join(f"{note}\n" for note in notes)  # those of p have been read
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
        """Have the result of a plot say what is said of any cell: the first one's result becomes the plot's, and the
        cells, copies of one `p`, share its comments."""
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
        """The look of that name. Raises SettingsError where there is none (any more)."""
        if name in self._looks:
            return self._looks[name]
        raise SettingsError(
            f"PLADIS look: got {name!r}, allowed: a name in the generation's own info (extra_generation_params, "
            f"{KEY!r}, looks), of one of the last {MOST_KEPT} pictures that were looked at"
        )
