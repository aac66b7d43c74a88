"""Extensions are folders given on the command line; the repository itself is the first."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass
class Extension:
    name: str
    path: str


extensions: list[Extension] = []
