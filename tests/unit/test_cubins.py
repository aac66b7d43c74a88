"""Machine code that is kept for the next start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lib_pladis.kernels.cuda import cubins
from lib_pladis.kernels.cuda.cubins import Cubins


class Compiler:
    """Counts what it compiles."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> bytes:
        self.count += 1
        return b"machine code"


def get(kept: Cubins, compiler: Compiler, **changes: Any) -> bytes:
    what: dict[str, Any] = {"source": "text", "options": ["--gpu-architecture=sm_86"], "version": (12, 1)}
    return kept.get(**{**what, **changes}, compiled=compiler)


def test_what_was_compiled_is_kept_for_the_next_start(tmp_path: Path) -> None:
    compiler = Compiler()
    for _ in range(2):
        kept = Cubins(lambda: tmp_path / "new" / "folder")
        assert get(kept, compiler) == get(kept, compiler) == b"machine code"
    assert compiler.count == 1
    changes: tuple[dict[str, Any], ...] = ({"source": "t"}, {"options": []}, {"version": (12, 2)})
    for number, change in enumerate(changes, 2):
        get(kept, compiler, **change)
        assert compiler.count == number


@pytest.mark.parametrize("content", [b"", b"short", bytes(64), None])
def test_a_broken_file_costs_a_compilation(tmp_path: Path, content: bytes | None) -> None:
    compiler, kept = Compiler(), Cubins(lambda: tmp_path)
    get(kept, compiler)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-1] if content is None else content)
    assert [get(kept, compiler) for _ in range(2)] == [b"machine code"] * 2
    assert compiler.count == 2
    assert [each.name for each in tmp_path.iterdir()] == [file.name]


def test_a_folder_that_can_not_be_costs_nothing_else(tmp_path: Path) -> None:
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    (tmp_path / "file").touch()
    for folder in (lambda: tmp_path / "file" / "folder", nowhere):
        assert get(Cubins(folder), Compiler()) == b"machine code"


def test_only_the_latest_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cubins, "MOST", 3)
    for dim in range(40, 80, 8):
        get(Cubins(lambda: tmp_path), Compiler(), options=[f"-DD={dim}"])
    assert len(list(tmp_path.iterdir())) == 3
