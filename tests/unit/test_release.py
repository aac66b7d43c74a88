"""A release is one command, and its archive is all that a web UI needs."""

from __future__ import annotations

import datetime
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from lib_pladis import __version__
from tests.release import NAME, ROOT, ReleaseError, git, release

DAY = datetime.date(2026, 1, 2)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What is committed and what is not yet, as a repository of its own."""
    root = tmp_path / "clone"
    root.mkdir()
    for name in git(ROOT, "ls-files", "--cached", "--others", "--exclude-standard").splitlines():
        source = ROOT / name
        if source.suffix in {".py", ".md", ".js", ".css", ".json", ".ini", ".toml", ""} and source.is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(source.read_bytes())
    for command in (
        ["init", "--quiet"],
        ["config", "user.email", "release@example.org"],
        ["config", "user.name", "Release"],
        ["add", "--all"],
        ["commit", "--quiet", "--message", "all"],
    ):
        git(root, *command)
    return root


def test_the_archive_has_what_a_web_ui_needs_and_the_version_is_committed(clone: Path, tmp_path: Path) -> None:
    archive = release("99.0.0", clone, DAY)
    zipfile.ZipFile(archive).extractall(tmp_path / "extensions")
    installed = tmp_path / "extensions" / NAME
    assert {path.name for path in installed.iterdir()} == {
        *("CHANGELOG.md", "LICENSE", "README.md", "install.py", "javascript", "lib_pladis", "localizations"),
        *("metadata.ini", "pyproject.toml", "scripts", "style.css"),
    }
    told = [sys.executable, "-c", "import lib_pladis; print(lib_pladis.__version__, lib_pladis.entmax)"]
    said = subprocess.run(told, cwd=installed, capture_output=True, text=True, check=True).stdout
    assert said.startswith("99.0.0 <function entmax")
    assert "## [Unreleased]\n\n## [99.0.0] - 2026-01-02\n" in (clone / "CHANGELOG.md").read_text(encoding="utf-8")
    assert git(clone, "describe", "--tags").strip() == "v99.0.0"
    assert git(clone, "status", "--porcelain", "--untracked-files=no") == ""


def test_a_version_that_is_not_allowed_changes_nothing_and_what_is_not_committed_stops_it(clone: Path) -> None:
    for version in ("", "1.0", "v99.0.0", __version__, "0.0.1"):
        with pytest.raises(ReleaseError, match="allowed"):
            release(version, clone, DAY)
        assert git(clone, "status", "--porcelain") == "", version
    (clone / "README.md").write_text("other", encoding="utf-8")
    with pytest.raises(ReleaseError, match="not committed"):
        release("99.0.0", clone, DAY)


def test_nothing_to_release_stops_it(clone: Path) -> None:
    log = "# Changelog\n\n## [Unreleased]\n\n## [0.1.0] - 2025-01-01\n- all\n"
    (clone / "CHANGELOG.md").write_text(log, encoding="utf-8")
    with pytest.raises(ReleaseError, match="nothing"):
        release("99.0.0", clone, DAY)
