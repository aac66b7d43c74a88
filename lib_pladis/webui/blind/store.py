"""Blind tests and their pictures, each in a folder of its own in the web UI's data folder."""

from __future__ import annotations

import io
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lib_pladis.json_file import JsonFile
from lib_pladis.presets import PRESET_SETS
from lib_pladis.settings import TABLE, Settings, SettingsError
from lib_pladis.suggestion import Model, Own
from lib_pladis.webui.blind.blind_test import OFF, BlindTest, BlindTestError, against_off
from lib_pladis.webui.own_presets import folder

FOLDER, FILE = "pladis-blind-tests", "test.json"
ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{4}")
QUALITY = 92


class Store:
    """The tests in `path()`, which is called each time. Methods raise BlindTestError and json_file.FileError."""

    def __init__(self, path: Callable[[], Path] = lambda: folder() / FOLDER) -> None:
        self.path = path
        self._said: set[str] = set()
        self._kept: dict[Path, tuple[tuple[int, int], BlindTest]] = {}

    def create(self, **values: Any) -> BlindTest:
        """A new test."""
        made = time.localtime()
        test = BlindTest(
            id=f"{time.strftime('%Y%m%d-%H%M%S', made)}-{secrets.token_hex(2)}",
            made=time.strftime("%Y-%m-%d %H:%M", made),
            **values,
        )
        self._file(test.id).change(lambda document: asdict(test))
        return test

    def get(self, test: str) -> BlindTest:
        return _read(test, self._file(test).read())

    def change(self, test: str, change: Callable[[BlindTest], None]) -> BlindTest:
        """Apply `change` to the test as it is in the file now. Returns the changed test."""

        def changed(document: Any) -> dict[str, Any]:
            found = _read(test, document)
            change(found)
            return asdict(found)

        if not self._folder(test).is_dir():  # don't create the folder of a deleted test again
            _read(test, None)
        return BlindTest(**self._file(test).change(changed))

    def all(self) -> list[BlindTest]:
        """All readable tests, newest first. Do not change them: a file is read again only when it has changed."""
        before, self._kept = self._kept, {}
        for place in sorted(self.path().glob(f"*/{FILE}"), reverse=True):
            if not ID.fullmatch(place.parent.name):
                continue
            try:
                now = (place.stat().st_mtime_ns, place.stat().st_size)
                kept = before.get(place)
                self._kept[place] = kept if kept and kept[0] == now else (now, self.get(place.parent.name))
            except (ValueError, OSError) as error:
                if str(error) not in self._said:
                    print(f"PLADIS: {error}")
                self._said.add(str(error))
        return [test for _, test in self._kept.values()]

    def own(self, model: Model, cfg: float) -> list[Own]:
        """The results of the user's tests of this checkpoint at this CFG scale, for each candidate against off."""
        found = []
        for candidate, tally in against_off(self.all(), {"name": model.name, "hash": model.hash}, cfg):
            try:  # another version may have other settings
                settings = Settings.from_dict({k: v for k, v in candidate["settings"].items() if k in TABLE})
            except SettingsError:
                continue
            sets = {name: getattr(settings, name) for name in PRESET_SETS}
            name = str(candidate["name"])
            found.append(Own(name, sets, tally.share, tally.clear, tally.said(name, OFF)))
        return found

    def add_picture(self, test: str, image: Any) -> str:
        """Store a PIL picture for the voting, without its PNG info and under a random name. Returns the name."""
        name = f"{secrets.token_hex(8)}.jpg"
        data = io.BytesIO()
        image.convert("RGB").save(data, "JPEG", quality=QUALITY, subsampling=0)
        (self._folder(test) / name).write_bytes(data.getvalue())
        return name

    def picture(self, test: str, name: str) -> bytes:
        """A picture that `add_picture` has stored, as JPEG."""
        try:
            return (self._folder(test) / Path(name).name).read_bytes()
        except OSError as error:
            raise BlindTestError(f"Blind test: this picture can't be read: {name}: {error.strerror}") from error

    def _folder(self, test: str) -> Path:
        if not isinstance(test, str) or not ID.fullmatch(test):
            raise BlindTestError(f"Blind test: there is no test {test!r}")
        return self.path() / test

    def _file(self, test: str) -> JsonFile:
        path = self._folder(test) / FILE
        return JsonFile(lambda: path, lambda document: isinstance(document, dict))


def _read(test: str, document: Any) -> BlindTest:
    if document is None:
        raise BlindTestError(f"Blind test: there is no test {test!r}")
    try:
        return BlindTest(**document)
    except TypeError as error:
        raise BlindTestError(f"Blind test: {test} is of another version of the extension: {error}") from error


STORE = Store()
"""The tests of this web UI."""
