"""The panel really builds, under whichever gradio is installed (the suite runs it under both hosts' pins)."""

from __future__ import annotations

import html
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

gr = pytest.importorskip("gradio", reason="gradio is not installed here")

import stand_in  # noqa: E402

from lib_pladis.presets import BUILT_IN, PRESET_SETS, Preset  # noqa: E402
from lib_pladis.settings import BESIDE, TABLE  # noqa: E402
from lib_pladis.webui import own_presets  # noqa: E402


@pytest.fixture
def panel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """Builds the panel of one tab inside a page."""
    for name, module in stand_in.modules(str(tmp_path)).items():
        monkeypatch.setitem(sys.modules, name, module)
    for name in ("panel", "preset_panel"):
        monkeypatch.delitem(sys.modules, f"lib_pladis.webui.{name}", raising=False)
    from lib_pladis.webui.panel import Panel

    made: dict[str, Any] = {}

    def build(tab: str) -> Any:
        with gr.Blocks() as page:
            made[tab] = Panel(tab)
        made[tab].page = page
        made["config"] = page.get_config_file()
        return made[tab], made["config"]

    yield build
    for name in ("panel", "preset_panel"):
        sys.modules.pop(f"lib_pladis.webui.{name}", None)


@pytest.mark.parametrize("tab", ["txt2img", "img2img"])
def test_components_follow_the_table(panel: Any, tab: str) -> None:
    built, _ = panel(tab)
    *components, rest = built.components
    assert len(components) == len(TABLE)
    for component, setting in zip(components, TABLE.values()):
        assert component.value == setting.default
        assert type(component.value) is type(setting.default), "script-info needs float sliders to be floats"
        if setting.name != "enabled":
            assert component.label == setting.label
            assert component.elem_id == f"pladis_{tab}_{setting.name}"
            assert component.info == setting.help
        if setting.kind == "float":
            assert (component.minimum, component.maximum, component.step) == (
                setting.minimum, setting.maximum, setting.step,
            )  # fmt: skip
    assert rest.visible is False and rest.value == ""


def test_ids_are_unique_and_the_chart_has_its_place(panel: Any) -> None:
    _, config = panel("txt2img")
    ids = [c["props"].get("elem_id") for c in config["components"] if c["props"].get("elem_id")]
    assert len(ids) == len(set(ids))
    assert {"pladis_txt2img_enabled", "pladis_txt2img_advanced"} <= set(ids)
    texts = [c["props"] for c in config["components"] if c["type"] == "html"]
    assert [props.get("elem_id") for props in texts] == [None] * 6, "gradio 3 would write it twice"
    found = re.findall(r'id="(\w+)"', " ".join(props["value"] for props in texts))
    places = ("curve", "notice", "preset_message", "preset_reason", "suggestion")
    assert sorted(found) == [f"pladis_txt2img_{name}" for name in places]


def test_the_pages_script_gets_its_facts_from_the_table(panel: Any) -> None:
    _, config = panel("txt2img")
    (chart,) = [c["props"]["value"] for c in config["components"] if "pladis-curve" in str(c["props"].get("value"))]
    match = re.search(r'data-facts="([^"]*)"', chart)
    assert match is not None
    facts = json.loads(html.unescape(match[1]))
    assert facts["ranges"] == {"scale": [0, 5], "alpha": [1, 2], "temperature": [0.1, 2], "rescale": [0, 1]}
    shown_first = {"enabled", "scale", *BESIDE}
    assert facts["advanced"] == [name for name in TABLE if name not in shown_first]
    assert facts["defaults"] == {name: row.default for name, row in TABLE.items()}


def test_labels_are_unique_within_the_panel() -> None:
    labels = [setting.label for setting in TABLE.values()]
    assert len(labels) == len(set(labels)), "ui-config.json stores values by label"


def test_both_tabs_share_the_functions_that_send_to_uses(panel: Any) -> None:
    first, _ = panel("txt2img")
    second, _ = panel("img2img")
    assert [name for _, name in first.infotext_fields[:-1]] == [name for _, name in second.infotext_fields[:-1]]
    assert first.paste_field_names == [name for _, name in first.infotext_fields[:-1]]


def test_pasting_fills_every_component(panel: Any) -> None:
    built, _ = panel("txt2img")
    params = {"PLADIS scale": "1.25", "PLADIS alpha": "1.75", "PLADIS target": "negative", "PLADIS version": "0.1.0"}
    values = {c.elem_id.removeprefix("pladis_txt2img_"): read(params) for c, read in built.infotext_fields[:-1]}
    assert values.pop("enabled-checkbox") is True
    expected = {name: None if name in BESIDE else setting.default for name, setting in TABLE.items()}
    expected.update(scale=1.25, alpha=1.75, target="negative")
    del expected["enabled"]
    assert values == expected


def test_nothing_but_the_settings_is_saved_as_a_default(panel: Any) -> None:
    """A1111 and Forge keep each component with a label in ui-config.json, unless it says that it isn't wanted."""
    built, _ = panel("txt2img")
    ours = set(map(id, built.components[:-1]))
    kept = [block for block in built.page.blocks.values() if getattr(block, "label", None) and id(block) not in ours]
    others = [block for block in kept if not isinstance(block, gr.Accordion) and block is not built.components[-1]]
    assert others and all(getattr(block, "do_not_save_to_config", False) for block in others)


def test_a_stored_preset_is_in_the_list_from_the_start(panel: Any, tmp_path: Path) -> None:
    own_presets.OwnPresets(lambda: tmp_path / own_presets.FILE).save(Preset("Mine", "", {"scale": 1.0}))
    _, config = panel("txt2img")
    (chosen,) = [c["props"] for c in config["components"] if c["props"].get("elem_id") == "pladis_txt2img_preset"]
    names = [each[0] if isinstance(each, (list, tuple)) else each for each in chosen["choices"]]
    assert names == [*BUILT_IN, "Mine"] and chosen["value"] == "Paper"
    assert {name: getattr(BUILT_IN["Paper"].settings, name) for name in PRESET_SETS} == {
        name: TABLE[name].default for name in PRESET_SETS
    }, "the first of the list is what a fresh panel has"


@pytest.mark.parametrize(("switched_on", "sets"), [(False, ""), (True, "random-sdxl")])
def test_a_checkpoint_sets_what_was_remembered_only_where_that_is_switched_on(
    panel: Any, tmp_path: Path, switched_on: bool, sets: str
) -> None:
    from modules import shared

    from lib_pladis.webui.preset_panel import PresetPanel

    if switched_on:
        shared.opts.data["pladis_follow_checkpoint"] = True
    else:
        shared.opts.data.pop("pladis_follow_checkpoint")  # as before it was ever saved
    store = own_presets.OwnPresets(lambda: tmp_path / own_presets.FILE)
    store.save(Preset("random-sdxl", "", {"scale": 3.0}))
    with gr.Blocks():
        presets = PresetPanel("txt2img", store)
    assert presets._follow("random-sdxl") == sets
    assert presets._follow("another") == ""
