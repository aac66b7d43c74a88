"""The documentation's pictures: each has its maker and its place, and shows what the page and the presets are now."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from lib_pladis.presets import PRESETS, Preset
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


@pytest.mark.parametrize(
    ("digest", "name"),
    [
        *((screenshots.panel_digest, name) for name in screenshots.PANEL_FILES),
        *((screenshots.compare_digest, name) for name in screenshots.COMPARE_FILES),
        *((screenshots.look_digest, name) for name in screenshots.LOOK_FILES),
    ],
)
def test_what_a_part_of_the_page_is_made_of_counts(
    digest: Callable[[], str], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = digest()
    for part in {*screenshots.PANEL_FILES, *screenshots.COMPARE_FILES, *screenshots.LOOK_FILES}:
        (tmp_path / part).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / part).write_bytes((screenshots.ROOT / part).read_bytes())
    monkeypatch.setattr(screenshots, "ROOT", tmp_path)
    assert digest() == before
    (tmp_path / name).write_text("changed", encoding="utf-8")
    assert digest() != before


def test_a_presets_value_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    before = preset_grid.digest()
    other = Preset("Gentle", "", {"scale": 0.75})
    monkeypatch.setattr(preset_grid, "PRESETS", (*preset_grid.PRESETS[:-1], other))
    assert preset_grid.digest() != before


def test_the_grid_shows_prompts_by_its_rule_alone() -> None:
    def tiles(*right: bool) -> list[preset_grid.Tile]:
        return [preset_grid.Tile(Image.new("RGB", (1, 1)), each) for each in right]

    alike, differs = tiles(True, True), tiles(False, True)
    assert preset_grid.chosen([alike, differs, alike, differs, alike, differs, differs, differs]) == [1, 3, 5, 6]
    assert preset_grid.chosen([alike, tiles(False, False), differs, alike, alike]) == [2, 0, 1, 3]


def test_the_grid_has_every_preset_as_it_is() -> None:
    columns = preset_grid.columns(5.0)
    assert list(columns) == ["off", *(preset.name for preset in PRESETS)] and columns["off"].is_off
    for preset in PRESETS:
        assert vars(columns[preset.name].settings) | {"enabled": True} == vars(preset.settings)
