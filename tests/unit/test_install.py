"""install.py, run as the hosts run it: in a process of its own, with the host's `launch` on the path."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAUNCH = """
import types
args = types.SimpleNamespace(skip_install={skip})
def is_installed(name):
    assert name == "entmax"
    return {installed}
def run_pip(command, desc=None):
    print("PIP", command)
    {failure}
"""


@pytest.mark.parametrize(
    ("installed", "skip", "offline", "calls_pip"),
    [(False, False, False, True), (True, False, False, False), (False, True, False, False), (False, False, True, True)],
    ids=["missing", "installed", "skip-install", "missing and offline"],
)
def test_install(tmp_path: Path, installed: Any, skip: Any, offline: Any, calls_pip: Any) -> None:
    failure = 'raise RuntimeError("no network")' if offline else "pass"
    (tmp_path / "launch.py").write_text(LAUNCH.format(skip=skip, installed=installed, failure=failure))
    done = subprocess.run(
        [sys.executable, str(ROOT / "install.py")],
        env={"PYTHONPATH": str(tmp_path), "PATH": ""},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    calls = [line for line in done.stdout.splitlines() if line.startswith("PIP")]
    assert calls == (["PIP install --no-deps entmax==1.3"] if calls_pip else [])
    assert ("no network" in done.stderr) == offline
