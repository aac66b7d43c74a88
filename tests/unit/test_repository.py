"""The repository's own files say what is so."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from lib_pladis import __version__

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
# not those that begin with a dot: a first run makes them
PATHS = sorted(set(re.findall(r"`((?:lib_pladis|playground|tests|benchmarks)/\w[\w/.]*)`", GUIDE)))


def test_the_version_is_said_once_and_has_its_changes() -> None:
    assert 'dynamic = ["version"]' in PYPROJECT and 'attr = "lib_pladis.__version__"' in PYPROJECT
    changes = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert changes[0] == "Unreleased" and __version__ in changes


def test_pre_commit_has_the_tests_ruff() -> None:
    wanted = re.search(r"^ruff==\S+$", (ROOT / "tests" / "requirements.txt").read_text(encoding="utf-8"), re.M)
    found = re.findall(r"ruff==[\d.]+", (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert wanted and set(found) == {wanted[0]}


def test_the_index_entry_has_what_the_index_asks_for() -> None:
    entry = json.loads((ROOT / "docs" / "extension-index.json").read_text(encoding="utf-8"))
    assert set(entry) == {"name", "url", "description", "tags"}
    assert re.fullmatch(r"https://\S+\.git", entry["url"])
    assert set(entry["tags"]) <= {"script", "manipulations"}


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\((?!https?:|#)([^)]+)\)", GUIDE))))
def test_the_guides_links_exist(target: str) -> None:
    assert (ROOT / target).exists()


@pytest.mark.parametrize("path", PATHS)
def test_the_guides_paths_exist(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize("name", ["SCHEDULES", "Settings", "PRESETS", "KERNELS", "AUTO", "ARCHITECTURES", "HOSTS"])
def test_the_guides_registries_exist(name: str) -> None:
    assert f"`{name}`" in GUIDE
    files = (ROOT / "lib_pladis").rglob("*.py")
    assert any(re.search(rf"^(class {name}\b|{name}\b.*=)", path.read_text(encoding="utf-8"), re.M) for path in files)
