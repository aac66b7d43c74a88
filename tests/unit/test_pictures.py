"""The documentation's pictures: each has its maker and its place, and the panel's shows what the panel shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

from tests import pictures

PAGES = [*pictures.ROOT.glob("*.md"), *pictures.ROOT.glob("docs/*.md"), *pictures.ROOT.glob("playground/**/*.md")]
FILES = sorted(path.name for path in pictures.FOLDER.glob("*.png"))


def test_every_picture_can_be_made_anew() -> None:
    assert sorted(pictures.makers()) == FILES


@pytest.mark.parametrize("name", FILES)
def test_every_picture_is_shown_somewhere(name: str) -> None:
    pages = [path for path in PAGES if not any(part.startswith(".") for part in path.relative_to(pictures.ROOT).parts)]
    assert any(re.search(rf"pictures/{re.escape(name)}\b", path.read_text(encoding="utf-8")) for path in pages)


def test_the_panels_picture_is_not_stale() -> None:
    with Image.open(pictures.PANEL) as picture:
        shows = picture.info.get(pictures.SHOWS)
    assert shows == pictures.panel_digest(), "the panel has changed: run python -m tests.pictures panel.png, and look"


@pytest.mark.parametrize("name", pictures.PANEL_FILES)
def test_what_the_panel_is_made_of_counts(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = pictures.panel_digest()
    for part in pictures.PANEL_FILES:
        (tmp_path / part).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / part).write_bytes((pictures.ROOT / part).read_bytes())
    monkeypatch.setattr(pictures, "ROOT", tmp_path)
    assert pictures.panel_digest() == before
    (tmp_path / name).write_text("changed", encoding="utf-8")
    assert pictures.panel_digest() != before
