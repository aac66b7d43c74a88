"""install.py, run as the hosts run it: in a process of its own, with the host's `launch` on the path."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAUNCH = """
import types
args = types.SimpleNamespace(skip_install={skip})
def is_installed(name):
    assert name == "entmax"
    return {installed}
"""
PIP = """
import pathlib, sys, time
with open({calls!r}, "a") as file:
    file.write(" ".join(sys.argv[1:]) + chr(10))
time.sleep({seconds})
sys.exit(1)
"""


def started(folder: Path, calls: int) -> list[str]:
    """What pip was asked for, once it was asked so often, or after a while."""
    log = folder / "calls.txt"
    for _ in range(100):
        found = log.read_text().splitlines() if log.exists() else []
        if len(found) >= calls:
            return found
        time.sleep(0.1)
    return found


@pytest.mark.parametrize(
    ("installed", "skip", "asks"),
    [(False, False, 1), (True, False, 0), (False, True, 0)],
    ids=["missing", "installed", "skip-install"],
)
def test_nobody_waits_for_pip_which_is_tried_once(tmp_path: Path, installed: bool, skip: bool, asks: int) -> None:
    """A pip that hangs, as one without a network may, and fails."""
    shutil.copy(ROOT / "install.py", tmp_path)
    (tmp_path / "launch.py").write_text(LAUNCH.format(skip=skip, installed=installed))
    (tmp_path / "pip").mkdir()
    (tmp_path / "pip" / "__init__.py").touch()
    (tmp_path / "pip" / "__main__.py").write_text(PIP.format(calls=str(tmp_path / "calls.txt"), seconds=20))

    def start() -> None:
        before = time.monotonic()
        done = subprocess.run(
            [sys.executable, str(tmp_path / "install.py")],
            env={"PYTHONPATH": str(tmp_path), "PATH": ""},
            cwd=tmp_path,
            capture_output=True,  # as the hosts do: they wait until nobody can write any more
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert time.monotonic() - before < 15

    start()
    wanted = ["install --no-deps --timeout 5 --retries 0 entmax==1.3"] * asks
    assert started(tmp_path, asks) == wanted
    start()
    assert started(tmp_path, asks) == wanted, "not tried again"
    if asks:
        (tmp_path / ".entmax-tried").write_text("entmax==1.2")
        start()
        assert len(started(tmp_path, 2)) == 2, "but with the next version"
