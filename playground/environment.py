"""A virtual environment that makes itself: used by the playground and by the tests.

Standard library only: it runs on the Python that a newcomer has.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

TORCH = "torch==2.13.0"
SUPPORTED = ((3, 10), (3, 11))
"""The Python versions that the pinned packages have wheels for."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment in `folder` with torch and what the requirement files name.

    `no_deps` files are installed without their dependencies. `say` takes progress, a line each.
    """

    folder: Path
    requirements: Sequence[Path]
    no_deps: Sequence[Path]
    say: Callable[[str], None]

    @property
    def python(self) -> Path:
        """The environment's interpreter."""
        return self.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    def ensure(self) -> None:
        """Make it, or make it anew when the requirements have changed. Raises SystemExit with pip's words."""
        if self.python.exists() and self._stamp.exists() and self._stamp.read_text().strip() == self._wanted():
            return
        start = time.perf_counter()
        self.say(f"making {self.folder.name} (once, a few minutes)")
        subprocess.run([find_python(), "-m", "venv", "--clear", str(self.folder)], check=True)
        (self.folder / ".gitignore").write_text("*\n")
        self._pip("torch (the largest part)", TORCH)
        for file in self.requirements:
            self._pip(file.name, "-r", str(file))
        for file in self.no_deps:
            self._pip(file.name, "--no-deps", "-r", str(file))
        self._stamp.write_text(self._wanted() + "\n")
        self.say(f"ready after {time.perf_counter() - start:.0f} s")

    @property
    def _stamp(self) -> Path:
        return self.folder / "requirements.sha256"

    def _wanted(self) -> str:
        digest = hashlib.sha256(TORCH.encode())
        for file in (*self.requirements, *self.no_deps):
            digest.update(file.read_bytes())
        return digest.hexdigest()

    def _pip(self, what: str, *arguments: str) -> None:
        """One pip call; its output is shown only when it fails."""
        start = time.perf_counter()
        self.say(f"installing {what} ...")
        command = [str(self.python), "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off"]
        done = subprocess.run(
            [*command, "--no-compile", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode != 0:
            print(done.stdout)
            raise SystemExit(f"could not install {what}; pip's words are above.")
        self.say(f"installing {what}: {time.perf_counter() - start:.0f} s")


def find_python() -> str:
    """A supported Python: this one, else one on the PATH. Raises SystemExit if there is none."""
    if sys.version_info[:2] in SUPPORTED:
        return sys.executable
    for major, minor in reversed(SUPPORTED):
        for candidate in ([f"python{major}.{minor}"], ["py", f"-{major}.{minor}"] if os.name == "nt" else []):
            path = shutil.which(candidate[0]) if candidate else None
            if path is None:
                continue
            code = "import sys, venv; print('%d.%d' % sys.version_info[:2]); print(sys.executable)"
            found = subprocess.run([path, *candidate[1:], "-c", code], capture_output=True, text=True, check=False)
            lines = found.stdout.split("\n")
            if found.returncode == 0 and lines[0].strip() == f"{major}.{minor}":
                return lines[1].strip()
    version = ".".join(map(str, sys.version_info[:2]))
    raise SystemExit(f"needs Python 3.10 or 3.11 (this is {version}); install one and run again.")
