"""The syntax that selects layers by their names: `d0-d3,m0,u2.1`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from lib_pladis.models.base import SIDES, LayerName

_NUMBER = r"\d{1,6}"
_ITEM = re.compile(
    rf"(?P<side>[{''.join(SIDES)}])(?:(?P<first>{_NUMBER})(?:-(?:(?P=side))?(?P<last>{_NUMBER}))?)?"
    rf"(?:\.(?P<top>{_NUMBER})(?:-(?P<bottom>{_NUMBER}))?)?"
)

LONGEST = 2000  # a text setting's
"""Maximum number of characters of a selection."""


@dataclass(frozen=True)
class _Item:
    text: str
    side: str
    blocks: tuple[int, int]
    depths: tuple[int, int]

    def __contains__(self, name: LayerName) -> bool:
        return (
            name.side == self.side
            and self.blocks[0] <= name.block <= self.blocks[1]
            and self.depths[0] <= name.depth <= self.depths[1]
        )


_ANY = (0, 1_000_000)


def _bounds(item: str, first: str | None, last: str | None) -> tuple[int, int]:
    if first is None:
        return _ANY
    low, high = int(first), int(last if last is not None else first)
    if low > high:
        raise ValueError(f"got {item!r}, whose range runs backwards; allowed: {LayerSelection.allowed}")
    return low, high


@dataclass(frozen=True)
class LayerSelection:
    """A parsed selection such as `d0-d3,m0,u2.1`; no items means all layers."""

    items: tuple[_Item, ...] = ()

    allowed = (
        f"all, or a list such as d0-d3,m0,u2.1 ({', '.join(f'{letter} = {word}' for letter, word in SIDES.items())}, "
        ".n or .n-m = depth)"
    )

    @classmethod
    def parse(cls, text: str) -> LayerSelection:
        """Read a selection; "" and "all" mean every layer. Raises ValueError naming the bad item."""
        if len(text) > LONGEST:
            raise ValueError(f"got {len(text)} characters; allowed: at most {LONGEST}")
        words = [word.strip().lower() for word in text.split(",")]
        if not any(words) or words == ["all"]:
            return cls()
        items = []
        for word in words:
            match = _ITEM.fullmatch(word.replace(" ", ""))
            if match is None:
                raise ValueError(f"got {word!r} in {text!r}; allowed: {cls.allowed}")
            items.append(
                _Item(
                    match.group(),
                    match["side"],
                    _bounds(word, match["first"], match["last"]),
                    _bounds(word, match["top"], match["bottom"]),
                )
            )
        return cls(tuple(items))

    def __str__(self) -> str:
        return ",".join(item.text for item in self.items) or "all"

    def pick(self, names: Iterable[LayerName]) -> list[LayerName]:
        """The selected layers of a model. Raises ValueError if an item names none of them."""
        names = sorted(names)
        if not self.items:
            return names
        for item in self.items:
            if not any(name in item for name in names):
                raise ValueError(
                    f"got {item.text!r}, which names no cross-attention layer of this model; "
                    f"it has {', '.join(map(str, names)) or 'none'}"
                )
        return [name for name in names if any(name in item for item in self.items)]
