"""Machine code kept on disk: the next start compiles nothing. A file that is broken, or can't be, costs nothing."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

MOST = 128
"""Files that are kept, the latest: a kind of problem is one of 20 to 60 KB."""


def user_folder() -> Path:
    """The user's own cache."""
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "pladis"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pladis"


class Cubins:
    """Cubins in a folder, by source, options and compiler. A file starts with the hash of the rest."""

    def __init__(self, folder: Callable[[], Path] = user_folder) -> None:
        self._folder = folder

    def keep_in(self, folder: Callable[[], Path]) -> None:
        """Use this folder from now on."""
        self._folder = folder

    def get(
        self, source: str, options: Sequence[str], version: tuple[int, int], compiled: Callable[[], bytes]
    ) -> bytes:
        """The cubin, from the folder or from `compiled`, whose errors pass."""
        what = hashlib.sha256(repr((source, *options, version)).encode()).hexdigest()
        file: Path | None = None
        try:
            file = self._folder() / f"{what}.cubin"
            kept = file.read_bytes()
        except (OSError, RuntimeError):  # RuntimeError: of Path.home
            kept = b""
        if kept[:32] == hashlib.sha256(kept[32:]).digest():
            return kept[32:]
        image = compiled()
        if file is not None:
            with contextlib.suppress(OSError):
                self._write(file, hashlib.sha256(image).digest() + image)
        return image

    @staticmethod
    def _write(file: Path, content: bytes) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=file.parent)
        try:
            with os.fdopen(handle, "wb") as partial:
                partial.write(content)
            os.replace(name, file)
        except OSError:
            os.unlink(name)
            raise
        others = sorted(file.parent.glob("*.cubin"), key=lambda each: each.stat().st_mtime)
        for old in others[:-MOST]:
            old.unlink()


CUBINS = Cubins()
"""This process's."""
