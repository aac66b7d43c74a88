"""The user's own presets, in a file of the web UI's data folder."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lib_pladis.json_file import JsonFile
from lib_pladis.presets import BUILT_IN, LONGEST_NAME, Preset, PresetError, check_name, read

FILE = "pladis-presets.json"

Entries = list[Any]


def folder() -> Path:
    """The web UI's data folder (`--data-dir`)."""
    from modules import paths_internal

    return Path(paths_internal.data_path)


def remembered_as(checkpoint: str) -> str:
    """The name of the preset that holds a checkpoint's settings: the checkpoint's, cut to the longest allowed."""
    name = " ".join(checkpoint.split())
    if len(name) <= LONGEST_NAME:
        return name
    number = f" {zlib.crc32(name.encode()):08x}"  # distinguishes names with the same beginning
    return name[: LONGEST_NAME - len(number)] + number


class OwnPresets:
    """The presets in `path()`, which is called each time. Entries that this version can't read stay in the file
    unchanged.

    Every method raises PresetError or FileError, with a message for the user, if something can't be done.
    """

    def __init__(self, path: Callable[[], Path] = lambda: folder() / FILE) -> None:
        self._file = JsonFile(path, _understood)
        self.notices = self._file.notices
        """Messages for the user about the file, oldest first; each panel shows those that it hasn't shown yet."""

    def all(self) -> dict[str, Preset]:
        """The usable presets by name, in the order in which they were saved."""
        return _usable(_entries(self._file.read()))

    def get(self, name: str) -> Preset:
        """A built-in preset or one of the user's own."""
        found = BUILT_IN.get(name) or self.all().get(name)
        if found is None:
            raise PresetError("This preset no longer exists:", name)
        return found

    def save(self, preset: Preset, replacing: str = "") -> Preset:
        """Add `preset`, or replace the one named `replacing` if that has the same name."""
        preset = read({**preset.as_dict(), "name": check_name(preset.name)})

        def change(entries: Entries) -> None:
            at = _find(entries, preset.name)
            if at is None:
                entries.append(preset.as_dict())
            elif _name(entries[at]) == replacing:
                entries[at] = preset.as_dict()
            else:
                raise PresetError("A preset of this name exists; choose it in the list to replace it:", preset.name)

        self._change(change)
        return preset

    def add(self, preset: Preset) -> Preset:
        """Add a shared preset, with a number behind its name if that is taken; the same preset is not added twice."""
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
            raise PresetError("There are too many presets of this name:", preset.name)

        self._change(change)
        return added[0]

    def rename(self, old: str, new: str) -> Preset:
        """Rename one of the user's own presets."""
        new = check_name(new)

        def change(entries: Entries) -> None:
            at = self._own(entries, old)
            if _find(entries, new) not in (None, at):
                raise PresetError("A preset of this name exists already:", new)
            entries[at] = {**entries[at], "name": new}

        self._change(change)
        return self.get(new)

    def delete(self, name: str) -> Preset:
        """Delete one of the user's own presets; returns it."""
        gone: list[Preset] = []

        def change(entries: Entries) -> None:
            gone.append(read(entries.pop(self._own(entries, name))))

        self._change(change)
        return gone[0]

    def _own(self, entries: Entries, name: str) -> int:
        if name in BUILT_IN:
            raise PresetError("Built-in presets stay as they are:", name)
        for at, entry in enumerate(entries):
            if name in _usable([entry]):
                return at
        raise PresetError("This preset no longer exists:", name)

    def _change(self, change: Callable[[Entries], None]) -> None:
        def changed(document: Any) -> dict[str, Any]:
            entries = _entries(document)
            change(entries)
            return {"pladis_presets": 1, "presets": entries}

        self._file.change(changed)


def _understood(document: Any) -> bool:
    return isinstance(document, dict) and isinstance(document.get("presets"), list)


def _entries(document: Any) -> Entries:
    return [] if document is None else document["presets"]


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


STORE = OwnPresets()
"""The presets of this web UI, shared by the panels of both tabs, so that either panel reports the state of the file."""
