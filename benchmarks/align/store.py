"""Results as JSON lines: appended one by one, read back to go on after a stop."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .point import Point
from .prompts import Prompt

Key = tuple[Point, str, int]
"""(point, prompt, seed): what makes a picture."""


@dataclass(frozen=True)
class Record:
    """One picture and its scores. `picture` is its file, relative to the store's folder."""

    point: Point
    prompt: str
    kind: str
    seed: int
    scores: dict[str, float]
    picture: str

    @property
    def key(self) -> Key:
        return self.point, self.prompt, self.seed


class Store:
    """A folder with results.jsonl, run.json (what all its pictures have in common) and pictures/."""

    def __init__(self, folder: Path, common: Mapping[str, Any]) -> None:
        """Opens or makes it. Raises ValueError like `require`."""
        self.folder = folder
        self._lines, self._about = folder / "results.jsonl", folder / "run.json"
        self._lock = threading.Lock()
        (folder / "pictures").mkdir(parents=True, exist_ok=True)
        self.require(common)
        self.records: dict[Key, Record] = {record.key: record for record in self._read()}

    def require(self, common: Mapping[str, Any]) -> None:
        """Note what all pictures here have in common. Raises ValueError where it was something else before."""
        before = self.common
        changed = [name for name in common if name in before and before[name] != common[name]]
        if changed:
            said = "; ".join(f"{name} was {before[name]!r}, is {common[name]!r}" for name in changed)
            raise ValueError(f"{self.folder} holds results of another run ({said}); choose another --out")
        text = json.dumps({**before, **common}, indent=1, ensure_ascii=False)
        self._about.write_text(text + "\n", encoding="utf-8")

    @property
    def common(self) -> dict[str, Any]:
        """What all pictures here have in common, as noted so far."""
        return dict(json.loads(self._about.read_text(encoding="utf-8"))) if self._about.exists() else {}

    def of(self, prompts: Iterable[Prompt]) -> list[Record]:
        """The records of these prompts."""
        texts = {prompt.text for prompt in prompts}
        return [record for record in self.records.values() if record.prompt in texts]

    def add(self, record: Record, png: bytes | None = None) -> None:
        """Keep a result (the last one of a key counts) and its picture; safe from several threads."""
        with self._lock:
            if png is not None:
                (self.folder / record.picture).write_bytes(png)
            line = json.dumps(asdict(record), ensure_ascii=False)
            with self._lines.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
            self.records[record.key] = record

    @staticmethod
    def picture_name(key: Key) -> str:
        point, prompt, seed = key
        text = json.dumps([asdict(point), prompt, seed], ensure_ascii=False)
        return f"pictures/{hashlib.sha256(text.encode()).hexdigest()[:20]}.png"

    def _read(self) -> Iterator[Record]:
        if not self._lines.exists():
            return
        data = self._lines.read_bytes()
        whole, _, torn = data.rpartition(b"\n")
        if torn:  # the last line of a run that was killed while it wrote
            self._lines.write_bytes(whole + b"\n" if whole else b"")
        for line in whole.decode("utf-8").splitlines():
            values = json.loads(line)
            yield Record(**{**values, "point": Point.read(values["point"])})
