"""Presets of one's own: nothing is lost, whatever the file or the others do."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lib_pladis.presets import BUILT_IN, LONGEST_NAME, LONGEST_TEXT, PRESET_SETS, Preset, PresetError, read, read_text
from lib_pladis.webui import own_presets
from lib_pladis.webui.own_presets import OwnPresets

ROOT = Path(__file__).resolve().parents[2]
MINE = Preset("Mine", "For my model.", {"scale": 1.25, "layers": "d,u"})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / own_presets.FILE


@pytest.fixture
def own(path: Path) -> OwnPresets:
    return OwnPresets(lambda: path)


def stored(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))["presets"]


def test_none_yet_and_no_file_is_made(own: OwnPresets, path: Path) -> None:
    assert own.all() == {} and not path.parent.exists()


def test_save_and_read_again(own: OwnPresets, path: Path) -> None:
    own.save(MINE)
    again = OwnPresets(lambda: path).all()
    assert list(again) == ["Mine"]
    assert again["Mine"].settings == MINE.settings and again["Mine"].reason == MINE.reason
    assert set(stored(path)[0]["settings"]) == set(PRESET_SETS), "all of them: defaults may change"
    assert own.get("Mine").sets == MINE.sets and own.get("Paper") is BUILT_IN["Paper"]
    assert [file.name for file in path.parent.iterdir() if ".part" in file.name] == []


def test_a_name_that_is_there_is_replaced_only_by_who_chose_it(own: OwnPresets) -> None:
    own.save(MINE)
    other = replace(MINE, values={"scale": 3.0})
    for replacing in ("", "Other", "Paper"):
        with pytest.raises(PresetError, match="choose it in the list to replace it: Mine"):
            own.save(other, replacing)
    assert own.get("Mine").settings.scale == 1.25
    own.save(other, "Mine")
    assert own.get("Mine").settings.scale == 3.0 and len(own.all()) == 1


def test_rename(own: OwnPresets) -> None:
    own.save(MINE)
    own.save(replace(MINE, name="Other"))
    assert own.rename("Mine", "  My   best ").name == "My best"
    assert list(own.all()) == ["My best", "Other"], "in its place"
    assert own.rename("My best", "MY BEST").name == "MY BEST"
    with pytest.raises(PresetError, match="already: other"):
        own.rename("MY BEST", "other")
    with pytest.raises(PresetError, match="no longer exists: Mine"):
        own.rename("Mine", "X")
    with pytest.raises(PresetError, match="Built-in presets stay"):
        own.rename("Paper", "X")


def test_delete_gives_it_back(own: OwnPresets) -> None:
    own.save(MINE)
    gone = own.delete("Mine")
    assert own.all() == {} and gone.sets == MINE.sets
    own.add(gone)
    assert own.get("Mine").reason == MINE.reason
    for name, why in (("Paper", "Built-in presets stay"), ("Nobody", "no longer exists")):
        with pytest.raises(PresetError, match=why):
            own.delete(name)


@pytest.mark.parametrize("name", ["", "  ", None, 3, "x" * (LONGEST_NAME + 1), "a\x07b", "Paper", "pAPER", " paper "])
def test_names_that_are_not_allowed(own: OwnPresets, name: Any) -> None:
    with pytest.raises(PresetError):
        own.save(replace(MINE, name=name))
    assert own.all() == {}


@pytest.mark.parametrize("name", ["나의 설정", "わたしの", "我的预设", "λ <b>&\"'", "x" * LONGEST_NAME])
def test_any_other_name(own: OwnPresets, name: str) -> None:
    own.save(replace(MINE, name=name))
    assert list(own.all()) == [name]


def test_shared_text_comes_back(own: OwnPresets) -> None:
    text = MINE.as_text()
    assert read_text(text).settings == MINE.settings
    assert own.add(read_text(text)).name == "Mine"
    assert own.add(read_text(text)).name == "Mine" and len(own.all()) == 1, "nothing twice"
    assert own.add(replace(MINE, values={"scale": 4.0})).name == "Mine 2"
    assert own.add(BUILT_IN["Paper"]) is BUILT_IN["Paper"]
    assert own.add(Preset("Paper", "", {"scale": 4.5})).name == "Paper 2"
    assert list(own.all()) == ["Mine", "Mine 2", "Paper 2"]


def changed(**parts: Any) -> str:
    data = {**MINE.as_dict(), **parts}
    return json.dumps({key: value for key, value in data.items() if value is not None})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "Paste the text of a preset first"),
        ("{", "not JSON"),
        ("[" * 10_000, "not JSON"),
        ("x" * (LONGEST_TEXT + 1), "too long"),
        ("[1]", "not a preset"),
        ('{"scale": 1}', "not a preset"),
        (changed(pladis_preset=2), "another version of the extension: 2"),
        (changed(name=None), "Give it a name"),
        (changed(name="x" * 99), "too long"),
        (changed(reason=1), "“reason”"),
        (changed(reason="x" * 501), "“reason”"),
        (changed(settings=None), "“settings” are missing"),
        (changed(settings=[1]), "“settings” are missing"),
        (changed(settings={"scal": 1}), "can't set: scal"),
        (changed(settings={"enabled": True}), "can't set: enabled"),
        (changed(settings={"scale": 9}), "Scale (λ) (scale): got 9, allowed: a number from 0 to 5"),
        (changed(settings={"scale": "2"}), "got the text '2'"),
        (changed(settings={"layers": "x9"}), "x9"),
        (changed(extra=1), "unknown parts: extra"),
    ],
)
def test_text_that_is_not_a_preset_says_why(text: str, said: str) -> None:
    with pytest.raises(PresetError) as refused:
        read_text(text)
    assert said in str(refused.value)


def test_settings_that_a_text_leaves_out_have_their_defaults() -> None:
    assert read_text(changed(settings={"scale": 1.0})).settings.alpha == 1.5


@pytest.mark.parametrize("broken", [b"[]", b"null", b'{"presets": {}}', b'{"other": 1}'])
def test_a_file_that_is_not_understood_is_set_aside(own: OwnPresets, path: Path, broken: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(broken)
    own.save(MINE)
    (aside,) = path.parent.glob("pladis-presets.broken-*.json")
    assert aside.read_bytes() == broken and list(own.all()) == ["Mine"] and str(aside) in str(own.notices[0])


def test_entries_of_another_version_stay_in_the_file(own: OwnPresets, path: Path) -> None:
    newer = {**MINE.as_dict(), "name": "Newer", "settings": {**MINE.sets, "of_tomorrow": 1}}
    path.parent.mkdir()
    path.write_text(json.dumps({"presets": [newer, 7, MINE.as_dict()]}), encoding="utf-8")
    assert list(own.all()) == ["Mine"]
    own.save(replace(MINE, name="Third"))
    own.rename("Third", "Fourth")
    own.delete("Mine")
    assert stored(path)[:2] == [newer, 7] and list(own.all()) == ["Fourth"]
    with pytest.raises(PresetError, match="no longer exists"):
        own.delete("Newer")
    with pytest.raises(PresetError, match="of this name"):
        own.save(replace(MINE, name="newer"))


def test_a_usable_one_is_meant_where_another_has_nearly_its_name(own: OwnPresets, path: Path) -> None:
    newer = {**MINE.as_dict(), "name": "MINE", "settings": {"of_tomorrow": 1}}
    path.parent.mkdir()
    path.write_text(json.dumps({"presets": [newer, MINE.as_dict()]}), encoding="utf-8")
    own.rename("Mine", "Other")
    assert stored(path)[0] == newer and list(own.all()) == ["Other"]
    own.delete("Other")
    assert stored(path) == [newer]


def test_checkpoints_whose_long_names_begin_alike_have_presets_of_their_own(own: OwnPresets) -> None:
    names = [own_presets.remembered_as(f"{'long ' * 12}name v{version}") for version in (1, 2)]
    for name in names:
        own.save(replace(MINE, name=name))
    assert list(own.all()) == names and own_presets.remembered_as("sdxl  base") == "sdxl base"


def test_every_built_in_preset_is_valid_and_survives_sharing() -> None:
    assert list(BUILT_IN) == ["Paper", "Official code", "Steady", "No guidance", "Few steps", "Tag-based"]
    for preset in BUILT_IN.values():
        assert read(json.loads(preset.as_text())).sets == preset.sets
        assert set(preset.values) <= set(PRESET_SETS), "what it has is what it sets"
