"""A release in one command: version, changelog, commit, tag, and an archive with what a web UI needs.

    python -m tests.release 0.2.0

It changes nothing unless the working tree is clean, the version is newer and the changelog has something to release.
"""

from __future__ import annotations

import datetime
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NAME = "sd-webui-pladis"
VERSION = re.compile(r'(?m)^__version__ = "(.+)"$')
UNRELEASED = re.compile(r"(?ms)^## \[Unreleased\]\n(.*?)(?=^## \[|\Z)")


class ReleaseError(ValueError):
    """Why there is no release."""


def git(root: Path, *arguments: str) -> str:
    """Standard output of a git command. Raises CalledProcessError."""
    return subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True).stdout


def release(version: str, root: Path = ROOT, today: datetime.date | None = None) -> Path:
    """Make the release; returns the archive's path, in `root`. Raises ReleaseError before anything is changed."""
    code, changes = root / "lib_pladis" / "__init__.py", root / "CHANGELOG.md"
    source, log = code.read_text(encoding="utf-8"), changes.read_text(encoding="utf-8")
    old = VERSION.search(source)
    unreleased = UNRELEASED.search(log)
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise ReleaseError(f"version: got {version!r}, allowed: three numbers such as 0.2.0")
    if old is None or _numbers(version) <= _numbers(old[1]):
        raise ReleaseError(f"version: got {version}, allowed: newer than {old and old[1]}")
    if unreleased is None or "- " not in unreleased[1]:
        raise ReleaseError("CHANGELOG.md has nothing under [Unreleased]")
    if git(root, "status", "--porcelain"):
        raise ReleaseError("the working tree has changes that are not committed")
    heading = f"## [Unreleased]\n\n## [{version}] - {today or datetime.date.today()}\n"
    code.write_text(VERSION.sub(f'__version__ = "{version}"', source), encoding="utf-8")
    changes.write_text(log.replace("## [Unreleased]\n", heading, 1), encoding="utf-8")
    git(root, "commit", "--quiet", "--all", "--message", f"Release {version}")
    git(root, "tag", f"v{version}")
    archive = root / f"{NAME}-{version}.zip"
    git(root, "archive", "--format=zip", f"--prefix={NAME}/", f"--output={archive}", f"v{version}")
    return archive


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


if __name__ == "__main__":
    try:
        print(f"Made {release(sys.argv[1] if len(sys.argv) == 2 else '')}. Now: git push --follow-tags")
    except ReleaseError as error:
        sys.exit(f"release: {error}")
