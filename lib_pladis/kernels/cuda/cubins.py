"""A cache of compiled kernels on disk. A broken file is compiled again; if nothing can be written, nothing is
cached."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

MOST = 128
"""Maximum number of files, of 20 to 60 KB each, one for each kind of problem; the oldest are deleted."""


def user_folder() -> Path:
    """The cache folder of the current user."""
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "pladis"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pladis"


class Cubins:
    """Cubins in a folder, by the hash of source, options and compiler. A file begins with the SHA-256 of its cubin."""

    def __init__(self, folder: Callable[[], Path] = user_folder) -> None:
        self._folder = folder

    def keep_in(self, folder: Callable[[], Path]) -> None:
        """Keep cubins in this folder from now on."""
        self._folder = folder

    def get(
        self, source: str, options: Sequence[str], version: tuple[int, int], compiled: Callable[[], bytes]
    ) -> bytes:
        """The cubin, from the folder or from `compiled`, whose errors propagate."""
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
"""The cache of this process."""
