"""Other machines that draw some of a generation's pictures (stable-diffusion-webui-distributed).

What tells is the size of `p`'s batch: it shrinks before the first batch is sampled, and grows after the last one by the
pictures that came back, among them extra ones that nobody asked for (`complement_production`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lib_pladis.webui import infotext
from lib_pladis.webui.compare import stopping
from lib_pladis.webui.result import picture_places, seeds, texts


@dataclass
class Drawn:
    """Indices of the generated pictures in a result."""

    here: list[int]
    elsewhere: list[int]
    plain: list[int]
    """Those from elsewhere that PLADIS was not applied to."""
    notes: list[str] = field(default_factory=list)
    """Messages for the user."""

    @property
    def on(self) -> list[int]:
        return [place for place in self.here + self.elsewhere if place not in self.plain]


class Shares:
    """How many pictures of one generation are drawn here, and how many elsewhere."""

    def __init__(self) -> None:
        self.drawn = 0
        """Pictures that were sampled here."""
        self._asked = 0
        self._batch = 0

    def begin(self, p: Any, asked: int) -> None:
        """asked: the size of a batch before any script touched `p`."""
        self._asked = asked * p.n_iter if asked > p.batch_size else 0

    def begin_batch(self, p: Any) -> None:
        self._batch = getattr(p, "batch_size", 0)

    def with_others(self, p: Any) -> bool:
        """Whether other machines drew some, or were to; known after the last batch."""
        return self._asked > 0 or 0 < self._batch < getattr(p, "batch_size", 0)

    def look_at(self, p: Any, processed: Any) -> Drawn:
        """Where the pictures of `p` come from, and what is wrong with them."""
        places, said = picture_places(processed), texts(processed)
        count = self.drawn if self.with_others(p) else len(places)
        plain = [place for place in places[count:] if not infotext.says(said[place])]
        drawn = Drawn(places[:count], places[count:], plain)
        lost = 0 if stopping() else self._lost(p, processed, places)
        if lost:
            of = f"{lost} of {self._asked} pictures"
            drawn.notes.append(f"PLADIS: {of} did not come back (from another machine, if you use several)")
        if plain:
            of = f"{len(plain)} of {len(places)} pictures"
            why = "another machine drew them without PLADIS"
            drawn.notes.append(f"PLADIS: not applied to {of}, though their files say so: {why}")
        return drawn

    def _lost(self, p: Any, processed: Any, places: list[int]) -> int:
        """Pictures that were asked for and are not there. Extra ones don't make up for them, so seeds are counted where
        they are known."""
        apart = "Variation seed" if getattr(p, "subseed_strength", 0) else "Seed"
        of_all = getattr(p, "all_subseeds" if getattr(p, "subseed_strength", 0) else "all_seeds", None)
        found = seeds(processed)
        there = {int(dict(found[place]).get(apart, -1)) for place in places}
        if not of_all or of_all[0] not in there:
            return max(0, self._asked - len(places))
        return sum(of_all[0] + i not in there for i in range(self._asked))
