"""The documentation's pictures: each has its maker and its place, and shows what the page and the presets are now."""

from __future__ import annotations

import re

import pytest

from lib_pladis.presets import PRESETS
from tests import pictures, preset_grid, screenshots

PAGES = [*pictures.ROOT.glob("*.md"), *pictures.ROOT.glob("docs/*.md"), *pictures.ROOT.glob("playground/**/*.md")]
FILES = sorted(path.name for path in pictures.FOLDER.glob("*.png"))


def test_every_picture_can_be_made_anew() -> None:
    assert sorted(pictures.makers()) == FILES


@pytest.mark.parametrize("name", FILES)
def test_every_picture_is_shown_somewhere(name: str) -> None:
    pages = [path for path in PAGES if not any(part.startswith(".") for part in path.relative_to(pictures.ROOT).parts)]
    assert any(re.search(rf"pictures/{re.escape(name)}\b", path.read_text(encoding="utf-8")) for path in pages)


@pytest.mark.parametrize("name", pictures.DIGESTS)
def test_no_picture_is_stale(name: str) -> None:
    told = screenshots.shown(pictures.FOLDER / name)
    assert told == pictures.DIGESTS[name](), f"what it shows has changed: run python -m tests.pictures {name}, and look"


def test_the_grid_has_every_preset_as_it_is() -> None:
    columns = preset_grid.columns(5.0)
    assert list(columns) == ["off", *(preset.name for preset in PRESETS)] and columns["off"].is_off
    for preset in PRESETS:
        assert vars(columns[preset.name].settings) | {"enabled": True} == vars(preset.settings)
