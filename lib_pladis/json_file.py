"""A small JSON document in a file that users, processes, links and synchronised folders share.

Each change reads the file again and writes it whole, under a lock between processes. A link stays a link, the mode is
kept, and a file that can't be understood is kept under another name.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

PATIENCE = 10.0
"""Seconds to wait for the lock."""

IN_PLACE = (errno.EBUSY, errno.EACCES, errno.EPERM, errno.EROFS, errno.EXDEV)
"""Errors if a file can't be replaced but perhaps can be written: a bind mount, another user's folder."""

CANNOT_READ, CANNOT_WRITE = "This file can't be read:", "This file can't be written:"

PAUSE = 0.3
"""Seconds before the second attempt if another program is using the file."""


class FileError(ValueError):
    """An error with a message for the user. `text` is a fixed sentence, which can be translated; `detail` is its
    object."""

    def __init__(self, text: str, detail: str = "") -> None:
        super().__init__(f"{text} {detail}".strip())
        self.text = text
        self.detail = detail


class JsonFile:
    """The document in `path()`, which is called each time; its folder is created on the first write.

    understood: whether this version can read a document; if not, it is kept under another name like a broken one.
    Every method raises FileError if the file can't be read, written or locked.
    """

    def __init__(self, path: Callable[[], Path], understood: Callable[[Any], bool] = lambda document: True) -> None:
        self.path = path
        self._understood = understood
        self.notices: list[FileError] = []
        """Messages for the user about the file, oldest first; the list only grows."""

    def read(self) -> Any:
        """The document; None if there is no file."""
        if not self.path().exists():
            return None
        with self._locked() as path:
            return self._read(path)

    def change(self, change: Callable[[Any], Any]) -> Any:
        """Write the result of `change` for the document, which is None if there is no file; returns it."""
        try:
            self.path().resolve().parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _because(CANNOT_WRITE, self.path(), error) from error
        with self._locked() as path:
            document = change(self._read(path))
            text = json.dumps(document, ensure_ascii=False, indent=1)
            try:
                _twice(lambda: _write(path, text))
            except OSError as error:
                raise _because(CANNOT_WRITE, path, error) from error
        return document

    def _read(self, path: Path) -> Any:
        try:
            document = json.loads(_twice(lambda: path.read_text(encoding="utf-8-sig")))  # Windows may add a mark
            if self._understood(document):
                return document
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _because(CANNOT_READ, path, error) from error
        except (ValueError, RecursionError):
            pass
        aside = path.with_name(f"{path.stem}.broken-{datetime.now():%Y%m%d-%H%M%S-%f}{path.suffix}")
        self.notices.append(FileError("This file could not be understood. It was kept as", str(aside)))  # first:
        try:  # once the file has gone, its absence must be explained
            os.replace(path, aside)
        except OSError as error:
            self.notices[-1] = _because(CANNOT_READ, path, error)
            raise self.notices[-1] from error
        print(f"PLADIS: {self.notices[-1]}")
        return None

    @contextmanager
    def _locked(self) -> Iterator[Path]:
        """Lock the file that `path()` is, or links to, for one process and thread; yields it.

        The lock ends with its holder. The lock file is beside the file; if it can't be created there, in the system's
        temporary folder; if that fails too, the file is used without a lock.
        """
        path = self.path().resolve()
        name = f"pladis-{hashlib.sha256(str(path).encode()).hexdigest()[:16]}.lock"
        with ExitStack() as held:
            for place in (path.with_name(f".{path.stem}.lock"), Path(tempfile.gettempdir()) / name):
                try:
                    held.enter_context(FileLock(str(place), timeout=PATIENCE))
                    break
                except Timeout as error:
                    raise FileError("Another program holds this file:", str(path)) from error
                except (OSError, NotImplementedError):  # a folder, or a file system, without locks
                    continue
            yield path


def _write(path: Path, text: str) -> None:
    """Replace the file atomically; if its folder doesn't allow that, or it is a mount of its own, overwrite it."""
    part = path.with_name(f".{path.name}.part")  # its own: the lock is held
    try:
        with part.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, part)
        os.replace(part, path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        if error.errno not in IN_PLACE or not path.exists():
            raise
        _write_into(path, text.encode())


def _write_into(path: Path, data: bytes) -> None:
    """Overwrite the file; if that fails, restore its contents."""
    before = path.read_bytes()
    with path.open("r+b", buffering=0) as file:
        try:
            if file.write(data) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            file.truncate()
            os.fsync(file.fileno())
        except OSError:
            file.seek(0)
            file.write(before)
            file.truncate()
            raise


def _twice(action: Callable[[], Any]) -> Any:
    """Run the action, and again after a pause if it fails: a scanner or a synchronised folder may hold it briefly."""
    try:
        return action()
    except FileNotFoundError:
        raise
    except OSError:
        time.sleep(PAUSE)
        return action()


def _because(text: str, path: Path, error: OSError) -> FileError:
    return FileError(text, f"{path}: {error.strerror}")
