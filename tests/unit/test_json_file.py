"""A shared JSON file: nothing is lost, whatever the disk, a link or another program does."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lib_pladis import json_file
from lib_pladis.json_file import FileError, JsonFile

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "notes.json"


@pytest.fixture
def file(path: Path) -> JsonFile:
    return JsonFile(lambda: path, lambda document: isinstance(document, list))


def add(entry: Any) -> Callable[[Any], Any]:
    return lambda document: [*(document or []), entry]


def failing(function: Callable[..., Any], number: int, times: int = 10**9) -> Callable[..., Any]:
    """`function`, whose first calls raise an OSError."""
    left = [times]

    def fails(*args: Any, **kwargs: Any) -> Any:
        left[0] -= 1
        if left[0] >= 0:
            raise OSError(number, os.strerror(number))
        return function(*args, **kwargs)

    return fails


def test_no_file_is_none_and_makes_nothing(file: JsonFile, path: Path) -> None:
    assert file.read() is None and not path.parent.exists()


def test_changes_are_kept_and_nothing_is_left_beside(file: JsonFile, path: Path) -> None:
    file.change(add("λ"))
    file.change(add(2))
    assert file.read() == JsonFile(lambda: path).read() == ["λ", 2]
    assert {each.name for each in path.parent.iterdir()} <= {"notes.json", ".notes.lock"}


def test_the_mark_of_windows_editors_is_read(file: JsonFile, path: Path) -> None:
    file.change(add(1))
    path.write_text(path.read_text(encoding="utf-8"), encoding="utf-8-sig")
    assert file.read() == [1] and file.notices == []


@pytest.mark.parametrize("broken", [b"", b"{", b"\xff\xfe", b"{}", b"[" * 10_000])
def test_a_broken_file_is_set_aside(file: JsonFile, path: Path, broken: bytes, capsys: Any) -> None:
    path.parent.mkdir()
    for _ in range(2):
        path.write_bytes(broken)
        assert file.read() is None
    kept = sorted(path.parent.glob("notes.broken-*.json"))
    assert [each.read_bytes() for each in kept] == [broken] * 2
    printed = capsys.readouterr().out
    assert all(str(each) in printed for each in kept) and len(file.notices) == 2


def test_a_broken_file_that_cannot_be_moved_stays(file: JsonFile, path: Path, monkeypatch: Any) -> None:
    path.parent.mkdir()
    path.write_text("{")
    monkeypatch.setattr(json_file.os, "replace", failing(os.replace, errno.EACCES))
    with pytest.raises(FileError, match=r"can't be read: .*Permission denied"):
        file.change(add(1))
    assert path.read_text() == "{" and "Permission denied" in str(file.notices[-1])


@pytest.mark.skipif(sys.platform == "win32", reason="links and modes as POSIX has them")
def test_a_link_stays_a_link_and_the_mode_stays(file: JsonFile, path: Path, tmp_path: Path) -> None:
    real = tmp_path / "synchronised" / "real.json"
    real.parent.mkdir()
    real.write_text("[0]")
    real.chmod(0o664)
    path.parent.mkdir()
    path.symlink_to(real)
    file.change(add(1))
    assert path.is_symlink() and json.loads(real.read_text()) == [0, 1]
    assert real.stat().st_mode & 0o777 == 0o664


@pytest.mark.parametrize("number", [errno.EBUSY, errno.EACCES, errno.EROFS])
def test_a_file_that_cannot_be_replaced_is_written_in_place(
    file: JsonFile, path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """As a bind mount (EBUSY) is, or a file one may write in a folder that one may not."""
    file.change(add("long enough that the new text is shorter"))
    before = path.stat().st_ino
    monkeypatch.setattr(json_file, "PAUSE", 0.0)
    monkeypatch.setattr(json_file.os, "replace", failing(os.replace, number))
    file.change(lambda document: [1])
    assert file.read() == [1] and path.stat().st_ino == before
    assert not list(path.parent.glob("*.part")) and not list(path.parent.glob(".*.part"))


def test_a_disk_that_is_full_leaves_the_old_file(file: JsonFile, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.change(add(1))
    before = path.read_bytes()
    monkeypatch.setattr(json_file, "PAUSE", 0.0)
    monkeypatch.setattr(json_file.os, "fsync", failing(os.fsync, errno.ENOSPC))
    with pytest.raises(FileError, match="No space left on device"):
        file.change(add(2))
    synced: list[int] = []  # the file beside is written, the file itself can't be

    def fsync(number: int) -> None:
        synced.append(number)
        if len(synced) % 2 == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(json_file.os, "replace", failing(os.replace, errno.EBUSY))
    monkeypatch.setattr(json_file.os, "fsync", fsync)
    with pytest.raises(FileError, match="No space left on device"):
        file.change(add(2))
    assert path.read_bytes() == before and not list(path.parent.glob(".*.part"))


@pytest.mark.parametrize("what", ["replace", "read_text"])
def test_a_file_that_is_in_use_for_a_moment_is_tried_again(
    file: JsonFile, path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    file.change(add(1))
    monkeypatch.setattr(json_file, "PAUSE", 0.0)
    owner: Any = json_file.os if what == "replace" else Path
    monkeypatch.setattr(owner, what, failing(getattr(owner, what), errno.EIO, times=1))
    file.change(add(2))
    assert file.read() == [1, 2]


@pytest.mark.skipif(sys.platform == "win32", reason="takes fcntl's place")
def test_a_file_system_without_locks_is_used(file: JsonFile, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    monkeypatch.setattr(fcntl, "flock", failing(fcntl.flock, errno.ENOTSUP))
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("waited for a lock that nobody can hold"))
    file.change(add(1))
    assert file.read() == [1]


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="can't be written"):
        JsonFile(lambda: tmp_path / "file" / "notes.json").change(add(1))


def test_a_lock_that_is_held_is_said(file: JsonFile, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_file, "PATIENCE", 0.1)
    path.parent.mkdir()
    with file._locked(), pytest.raises(FileError, match="Another program holds"):
        JsonFile(lambda: path).change(add(1))
    file.change(add(1))


WORK = """
import sys
from pathlib import Path
from lib_pladis import json_file
json_file.PATIENCE = 300.0
file = json_file.JsonFile(lambda: Path(sys.argv[1]))
for number in range(10):
    file.change(lambda document: [*(document or []), f"{sys.argv[2]}-{number}"])
"""


def test_processes_and_threads_lose_nothing(file: JsonFile, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_file, "PATIENCE", 300.0)
    running = [subprocess.Popen([sys.executable, "-c", WORK, str(path), name], cwd=ROOT) for name in "abc"]

    def work(name: str) -> None:
        for number in range(10):
            file.change(add(f"{name}-{number}"))

    threads = [threading.Thread(target=work, args=(name,)) for name in "de"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [process.wait(300) for process in running] == [0, 0, 0]
    assert set(file.read()) == {f"{name}-{number}" for name in "abcde" for number in range(10)}
