"""A virtual environment that makes itself: used by the playground and by the tests.

Standard library only: it runs on the Python that a newcomer has.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

TORCH = "2.13.0"
CPU_BUILDS = "https://download.pytorch.org/whl/cpu"
CUDA_SIZE = "about 2.7 GB to download, 4.5 GB on disk"
"""What PyPI's build for Linux on x86-64 weighs with the CUDA libraries that it needs."""
CUDA_ROOM = 7.5
"""GB that must be free for it: pip keeps the download until it is unpacked."""
SUPPORTED = ((3, 10), (3, 11), (3, 12), (3, 13))
"""The Python versions that the pinned packages have wheels for."""
LARGE = 100
"""MB from which a download is worth a line of its own."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment in `folder` with torch and what the requirement files name.

    `no_deps` files are installed without their dependencies. `say` takes progress, a line each.
    With `same_python` it is made anew when another Python asks for it; otherwise it stays as it is.
    """

    folder: Path
    requirements: Sequence[Path]
    no_deps: Sequence[Path]
    say: Callable[[str], None]
    same_python: bool = False

    @property
    def python(self) -> Path:
        """The environment's interpreter."""
        return self.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    @property
    def is_ready(self) -> bool:
        """Whether it is made, of these requirements."""
        return self.python.exists() and self._stamp.exists() and self._stamp.read_text().strip() == self._wanted()

    def ensure(self) -> None:
        """Make it, or make it anew when the requirements have changed. Raises SystemExit with pip's words."""
        if self.is_ready:
            return
        start = time.perf_counter()
        base = find_python()
        self.say(f"making {self.folder.name} with {base} (once, a few minutes)")
        subprocess.run([base, "-m", "venv", "--clear", str(self.folder)], check=True)
        (self.folder / ".gitignore").write_text("*\n")
        self._torch()
        for file in self.requirements:
            self._pip(f"{file.parent.name}/{file.name}", "-r", str(file))
        for file in self.no_deps:
            self._pip(f"{file.parent.name}/{file.name}", "--no-deps", "-r", str(file))
        self._stamp.write_text(self._wanted() + "\n")
        self.say(f"{self.folder.name} is ready after {time.perf_counter() - start:.0f} s")

    @property
    def is_ours(self) -> bool:
        """Whether this very process runs in it."""
        return Path(sys.prefix).resolve() == self.folder.resolve()

    def run(self, *arguments: str) -> NoReturn:
        """`python ARGUMENTS` in this environment, made where it is missing, in place of this process."""
        self.ensure()
        command = [str(self.python), *arguments]
        variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
        if os.name != "nt":
            os.execve(command[0], command, variables)  # one process: what stops it stops all of it
        try:
            sys.exit(subprocess.run(command, env=variables, check=False).returncode)
        except KeyboardInterrupt:
            sys.exit(130)

    @property
    def _stamp(self) -> Path:
        return self.folder / "requirements.sha256"

    def _wanted(self) -> str:
        digest = hashlib.sha256(TORCH.encode())
        if self.same_python:
            digest.update(version_of(sys.version_info[:2]).encode())
        for file in (*self.requirements, *self.no_deps):
            digest.update(file.read_bytes())
        return digest.hexdigest()

    def _torch(self) -> None:
        """torch's CPU build where PyPI's would bring CUDA for nothing; PyPI's where that can't be had, or is wanted."""
        what = f"torch {TORCH} (the largest part)"
        if brings_cuda() and not has_nvidia():
            where = ["--extra-index-url", CPU_BUILDS, "--retries", "1", "--timeout", "30"]
            words = self._try_pip(f"torch {TORCH}, CPU build", "--no-deps", *where, f"torch=={TORCH}+cpu")
            if words is None:
                what = "what torch needs"
            else:
                self._need_room(words)
                self.say(f"no CPU build of torch {TORCH} from {CPU_BUILDS}; taking PyPI's with CUDA: {CUDA_SIZE}")
        self._pip(what, f"torch=={TORCH}")

    def _need_room(self, words: str) -> None:
        """Raises SystemExit, after pip's `words` on the CPU build, where PyPI's would not fit on the disk."""
        free = shutil.disk_usage(self.folder).free / 1e9
        if free < CUDA_ROOM:
            print(words)
            raise SystemExit(
                f"could not install torch {TORCH}: its CPU build could not be had (pip's words are above), and PyPI's, "
                f"with CUDA, needs {CUDA_ROOM:g} GB; {self.folder} has {free:.1f} GB free."
            )

    def _pip(self, what: str, *arguments: str) -> None:
        """One pip call; its output is shown only when it fails."""
        words = self._try_pip(what, *arguments)
        if words is not None:
            print(words)
            raise SystemExit(f"could not install {what}; pip's words are above.")

    def _try_pip(self, what: str, *arguments: str) -> str | None:
        """One pip call, with a line for each large download; pip's words if it failed."""
        start = time.perf_counter()
        self.say(f"installing {what} ...")
        command = [str(self.python), "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off"]
        words = []
        with subprocess.Popen(
            [*command, "--no-compile", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as pip:
            assert pip.stdout is not None
            for line in pip.stdout:
                words.append(line)
                file = download(line)
                if file and file[1] >= LARGE:
                    self.say(f"    downloading {file[0]} ({file[1]:.0f} MB) ...")
        if pip.returncode != 0:
            return "".join(words)
        size = sum(size for _, size in filter(None, map(download, words)))
        self.say(f"installing {what}: {time.perf_counter() - start:.0f} s, {size:.0f} MB downloaded")
        return None


def download(line: str) -> tuple[str, float] | None:
    """What a line of pip's output says of a file that it fetches: name and MB; None where it says something else."""
    found = re.match(r"\s*Downloading (?:\S*/)?([^/\s]+?)-\d\S* \(([\d.]+) (kB|MB|GB)\)", line)
    return (found[1], float(found[2]) * {"kB": 0.001, "MB": 1, "GB": 1000}[found[3]]) if found else None


def brings_cuda() -> bool:
    """Whether PyPI's torch for this machine is built with CUDA."""
    return sys.platform == "linux"


def has_nvidia() -> bool:
    """Whether an NVIDIA card and its driver seem to be here."""
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def version_of(numbers: Sequence[int]) -> str:
    return ".".join(map(str, numbers))


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
    first, last = version_of(SUPPORTED[0]), version_of(SUPPORTED[-1])
    this = platform.python_version()
    raise SystemExit(f"needs Python {first} to {last} (this is {this}); install one and run again.")
