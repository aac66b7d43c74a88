"""Extensions are folders given on the command line; the repository itself is the first."""

from __future__ import annotations

import dataclasses
import os


@dataclasses.dataclass
class Extension:
    name: str
    path: str
    enabled: bool = True
    is_builtin: bool = False

    @property
    def canonical_name(self) -> str:
        return self.name.lower()

    def list_files(self, subdir: str, extension: str) -> list[str]:
        """Sorted paths of the files `<path>/<subdir>/*<extension>`."""
        folder = os.path.join(self.path, subdir)
        if not os.path.isdir(folder):
            return []
        return [os.path.join(folder, x) for x in sorted(os.listdir(folder)) if x.lower().endswith(extension)]


extensions: list[Extension] = []


def active() -> list[Extension]:
    return [x for x in extensions if x.enabled]
