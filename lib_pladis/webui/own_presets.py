"""Presets of one's own, in a file of the web UI's data folder.

Each change reads the file anew and writes it whole, under a lock between processes, so that no two of them lose
anything; the file is replaced at once, so that it is never half written.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from lib_pladis.presets import BUILT_IN, Preset, PresetError, check_name, read

FILE = "pladis-presets.json"
PATIENCE = 10.0
"""Seconds to wait for the lock."""

Entries = list[Any]


def folder() -> Path:
    """The web UI's data folder (`--data-dir`)."""
    from modules import paths_internal

    return Path(paths_internal.data_path)


class OwnPresets:
    """The presets in `path()`, which is asked each time. What this version can't read stays in the file as it is.

    Every method raises PresetError, in words for the person, where something can't be done.
    """

    def __init__(self, path: Callable[[], Path] = lambda: folder() / FILE) -> None:
        self.path = path
        self.notices: list[PresetError] = []
        """What a person should hear of the file, oldest first; each panel shows what it hasn't shown yet."""

    def all(self) -> dict[str, Preset]:
        """Those that can be used, by name, in the order in which they were saved."""
        if not self.path().exists():
            return {}
        with self._locked(to_read=True):
            return _usable(self._read())

    def get(self, name: str) -> Preset:
        """A built-in preset or one's own."""
        found = BUILT_IN.get(name) or self.all().get(name)
        if found is None:
            raise PresetError("There is no such preset any more:", name)
        return found

    def save(self, preset: Preset, replacing: str = "") -> Preset:
        """Add `preset`, or put it in the place of the one named `replacing`, if that has the same name."""
        preset = read({**preset.as_dict(), "name": check_name(preset.name)})

        def change(entries: Entries) -> None:
            at = _find(entries, preset.name)
            if at is None:
                entries.append(preset.as_dict())
            elif _name(entries[at]) == replacing:
                entries[at] = preset.as_dict()
            else:
                raise PresetError("There is one of this name; choose it in the list to replace it:", preset.name)

        self._change(change)
        return preset

    def add(self, preset: Preset) -> Preset:
        """Add one that somebody shared; where its name is taken it gets a number. Nothing twice."""
        added = [preset]

        def change(entries: Entries) -> None:
            usable = {**BUILT_IN, **_usable(entries)}
            for number in range(1, 1000):
                name = preset.name if number == 1 else f"{preset.name} {number}"
                there = usable.get(name)
                if there is not None and there.sets == preset.sets:
                    added[0] = there
                    return
                if there is None and _find(entries, name) is None:
                    added[0] = replace(preset, name=check_name(name))
                    entries.append(added[0].as_dict())
                    return
            raise PresetError("There are too many of this name:", preset.name)

        self._change(change)
        return added[0]

    def rename(self, old: str, new: str) -> Preset:
        """Give one's own preset another name."""
        new = check_name(new)

        def change(entries: Entries) -> None:
            at = self._own(entries, old)
            if _find(entries, new) not in (None, at):
                raise PresetError("There is one of this name already:", new)
            entries[at] = {**entries[at], "name": new}

        self._change(change)
        return self.get(new)

    def delete(self, name: str) -> Preset:
        """Take one's own preset out; returns it."""
        gone: list[Preset] = []

        def change(entries: Entries) -> None:
            gone.append(read(entries.pop(self._own(entries, name))))

        self._change(change)
        return gone[0]

    # ---- the file ----------------------------------------------------------------------------

    def _own(self, entries: Entries, name: str) -> int:
        if name in BUILT_IN:
            raise PresetError("Built-in presets stay as they are:", name)
        for at, entry in enumerate(entries):
            if name in _usable([entry]):
                return at
        raise PresetError("There is no such preset any more:", name)

    def _change(self, change: Callable[[Entries], None]) -> None:
        with self._locked():
            entries = self._read()
            change(entries)
            self._write(entries)

    def _read(self) -> Entries:
        """The entries of the file; one that can't be understood is set aside, with a notice."""
        path = self.path()
        try:
            data = json.loads(path.read_text(encoding="utf-8-sig"))  # some of Windows' editors write a mark first
            entries = data["presets"]
            if not isinstance(entries, list):
                raise TypeError
            return entries
        except FileNotFoundError:
            return []
        except OSError as error:
            raise PresetError("The file of your presets can't be read:", f"{path}: {error.strerror}") from error
        except (ValueError, TypeError, LookupError, RecursionError):
            aside = _free(path.with_name(f"{path.stem}.broken-{time.strftime('%Y%m%d-%H%M%S')}{path.suffix}"))
            notice = PresetError("The file of your presets could not be understood. It was kept as", str(aside))
            self.notices.append(notice)  # before the file goes: who finds none is to know why
            try:
                os.replace(path, aside)
            except OSError as error:
                failed = PresetError("The file of your presets can't be read:", f"{path}: {error.strerror}")
                self.notices[-1] = failed  # the list never gets shorter: panels remember how far they have read
                raise failed from error
            print(f"PLADIS: {notice}")
            return []

    def _write(self, entries: Entries) -> None:
        path = self.path()
        text = json.dumps({"pladis_presets": 1, "presets": entries}, ensure_ascii=False, indent=1)
        part = None
        try:
            with tempfile.NamedTemporaryFile(
                "w", encoding="utf-8", dir=path.parent, prefix=f".{path.stem}-", suffix=".part", delete=False
            ) as file:
                part = file.name
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        except OSError as error:
            if part is not None and os.path.exists(part):
                os.unlink(part)
            raise PresetError("The file of your presets can't be written:", f"{path}: {error.strerror}") from error

    @contextmanager
    def _locked(self, to_read: bool = False) -> Iterator[None]:
        """One process and thread at a time. The lock is the system's: it goes when its holder ends, however it ends.

        To read goes without, where no lock can be made: in a folder that nobody writes to.
        """
        path = self.path()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = open(path.with_name(f".{path.stem}.lock"), "a+b")  # noqa: SIM115
        except OSError as error:
            if to_read:
                yield
                return
            raise PresetError("The file of your presets can't be written:", f"{path}: {error.strerror}") from error
        with lock:
            deadline = time.monotonic() + PATIENCE
            while (held := _try_lock(lock.fileno())) is False:
                if time.monotonic() > deadline:
                    raise PresetError("Another program holds the file of your presets:", str(path))
                time.sleep(0.02)
            try:
                yield
            finally:
                if held:
                    _unlock(lock.fileno())


STORE = OwnPresets()
"""The web UI's, which the panels of both tabs share: what one of them found in the file the other says as well."""

HELD = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)
"""What a system says where another one has the lock."""


def _try_lock(number: int) -> bool | None:
    """Whether this one has the lock now; None on a file system that has no locks, as some of networks."""
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(number, 0, os.SEEK_SET)
            msvcrt.locking(number, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in HELD else None
    return True


def _unlock(number: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        os.lseek(number, 0, os.SEEK_SET)
        msvcrt.locking(number, msvcrt.LK_UNLCK, 1)
    else:
        import fcntl

        fcntl.flock(number, fcntl.LOCK_UN)


def _free(path: Path) -> Path:
    """`path`, or with a number the first that isn't there."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return free


def _name(entry: Any) -> str | None:
    name = entry.get("name") if isinstance(entry, Mapping) else None
    return name if isinstance(name, str) else None


def _find(entries: Entries, name: str) -> int | None:
    names = [(_name(entry) or "").casefold() for entry in entries]
    return names.index(name.casefold()) if name.casefold() in names else None


def _usable(entries: Entries) -> dict[str, Preset]:
    found: dict[str, Preset] = {}
    for entry in entries:
        try:
            preset = read(entry)
        except PresetError:
            continue
        if preset.name not in BUILT_IN:
            found.setdefault(preset.name, preset)
    return found
