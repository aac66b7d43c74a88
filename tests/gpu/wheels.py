"""Compilers from PyPI's wheels, many versions beside each other, in `tests/.cache/compilers`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "tests" / ".cache" / "compilers"


def install(package: str, version: str) -> Path:
    """The folder of one version, filled on the first call. Raises RuntimeError with pip's last line."""
    folder = FOLDER / f"{package}-{version}"
    if folder.is_dir():
        return folder
    FOLDER.mkdir(parents=True, exist_ok=True)
    partial = FOLDER / f".{folder.name}"
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-compile", "--no-cache-dir"]
    done = subprocess.run(
        [*command, "--target", str(partial), f"{package}=={version}"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["pip failed"])[-1])
    partial.rename(folder)
    return folder
