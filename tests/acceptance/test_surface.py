"""What clients see: script-info, schema, version, infotext, XYZ."""

from __future__ import annotations

import base64
import io
import re
from typing import Any

import pytest
from PIL import Image

from lib_pladis import __version__
from lib_pladis.settings import BESIDE, TABLE, Settings
from playground.client import Refused
from tests.acceptance.webui import WebUI
from tests.acceptance.xyz import grid


@pytest.mark.parametrize("is_img2img", [False, True])
def test_script_info_lists_every_setting(ui: WebUI, is_img2img: Any) -> None:
    scripts = ui.request("/sdapi/v1/script-info")
    (info,) = [s for s in scripts if s["name"] == "pladis" and s["is_img2img"] == is_img2img]
    assert info["is_alwayson"] is True
    for argument, setting in zip(info["args"], TABLE.values()):
        assert argument["label"] == setting.label
        assert argument["value"] == setting.default
        if setting.kind == "float":
            assert (argument["minimum"], argument["maximum"], argument["step"]) == (
                setting.minimum, setting.maximum, setting.step,
            )  # fmt: skip
        if setting.kind == "choice":
            assert argument["choices"] in (list(setting.choices), [[c, c] for c in setting.choices])


def test_schema_and_version(ui: WebUI) -> None:
    schema = ui.request("/pladis/v1/schema")
    assert list(schema["properties"]) == list(TABLE)
    assert schema["properties"]["scale"]["maximum"] == 5.0
    assert schema["properties"]["target"]["enum"] == ["both", "positive", "negative"]
    assert ui.request("/pladis/v1/version") == {"version": __version__}


def png_parameters(image: str) -> str:
    png: Any = Image.open(io.BytesIO(base64.b64decode(image.split(",")[-1])))
    return str(png.text.get("parameters", ""))


def test_defaults_write_scale_alpha_and_version(ui: WebUI) -> None:
    on = ui.txt2img([True])
    text = png_parameters(on.images[0])
    assert text == on.infotext
    assert f"PLADIS scale: 2, PLADIS alpha: 1.5, PLADIS version: {__version__}" in text


ALL = {
    "enabled": True,
    "scale": 1.25,
    "alpha": 1.75,
    "start": 0.1,
    "end": 0.9,
    "schedule": "linear down",
    "target": "positive",
    "rescale": 0.4,
    "temperature": 0.8,
    "hr_override": True,
    "hr_scale": 0.5,
    "hr_alpha": 2.0,
}


def test_png_info_brings_every_setting_back(ui: WebUI) -> None:
    from lib_pladis.webui import infotext

    given = {**ALL, "layers": ",".join(ui.layers[:2])}
    on = ui.txt2img(given, **ui.hires)
    answer = ui.request("/sdapi/v1/png-info", {"image": "data:image/png;base64," + on.images[0]})
    parameters = answer["parameters"]
    assert Settings.from_dict(infotext.read(parameters) or {}) == Settings.from_dict(given)
    beside = {name: TABLE[name].default for name in BESIDE if name != "look_words"}  # which not everybody may read
    assert on.report["settings"] == {**given, **beside}


def test_hires_values_are_not_written_without_a_hires_pass(ui: WebUI) -> None:
    text = png_parameters(ui.txt2img(ALL).images[0])
    assert "PLADIS temperature: 0.8" in text and "PLADIS hires" not in text


def test_an_object_of_settings_is_on_unless_it_says_otherwise(ui: WebUI, off: Any) -> None:
    assert ui.txt2img({"scale": 3.0}).pixels == ui.txt2img({"enabled": True, "scale": 3.0}).pixels != off.pixels
    assert ui.txt2img({"enabled": False, "scale": 3.0}).pixels == off.pixels


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"args": {"scale": 3.0}}, '"args" is not a list'),
        ({"scale": 3.0}, '"args" is missing'),
        ({}, '"args" is missing'),
        ([True, 3.0], '"args" is missing'),
    ],
)
def test_what_the_host_would_pass_over_is_refused(ui: WebUI, given: Any, message: str) -> None:
    with pytest.raises(Refused) as refused:
        ui.request("/sdapi/v1/txt2img", {"steps": 1, "alwayson_scripts": {"PLADIS": given}})
    assert refused.value.status == 422
    assert message in refused.value.body["detail"] and "allowed: " in refused.value.body["detail"]


def test_the_options_list_the_kernel(ui: WebUI) -> None:
    if ui.kind in ("forge", "neo"):
        pytest.skip(f"{ui.kind}: its own ControlNet has the API list the options before extensions have added theirs")
    assert ui.options["pladis_backend"] == "auto"


def test_img2img_writes_its_parameters(ui: WebUI, off: Any) -> None:
    on = ui.img2img([True, 3.0], init_images=[off.images[0]], denoising_strength=0.5)
    assert "PLADIS scale: 3" in png_parameters(on.images[0])


def test_every_setting_has_its_axis(ui: WebUI) -> None:
    (info,) = [s for s in ui.request("/sdapi/v1/script-info") if s["name"] == "x/y/z plot" and not s["is_img2img"]]
    choices = [c[0] if isinstance(c, list) else c for c in info["args"][0]["choices"]]
    expected = ["[PLADIS] Preset", *(f"[PLADIS] {setting.axis}" for setting in TABLE.values() if setting.axis)]
    assert [c for c in choices if c.startswith("[PLADIS]")] == expected, "each once"


def test_cells_tell_the_truth_and_an_off_cell_after_an_on_cell_is_clean(ui: WebUI, off: Any) -> None:
    result = grid(ui, ("[PLADIS] Scale", "2,0,1-3 (+1)"))
    texts = result.info["infotexts"]
    cells = texts[-5:]
    assert len(texts) >= 5
    assert "PLADIS scale: 2," in cells[0]
    assert "PLADIS" not in cells[1]
    assert [f"PLADIS scale: {n}," in cells[2 + i] for i, n in enumerate((1, 2, 3))] == [True] * 3
    pixels = result.pixels[-5:]
    assert pixels[1] == off.pixels[0]
    assert pixels[0] == pixels[3] == ui.txt2img([True]).pixels[0]
    assert len({*pixels}) == 4


def test_the_enabled_axis_switches_a_panel_that_is_on(ui: WebUI, off: Any) -> None:
    result = grid(ui, ("[PLADIS] Enabled", "True,False"), args=[True, 3.0])
    assert "PLADIS scale: 3" in result.info["infotexts"][-2]
    assert "PLADIS" not in result.info["infotexts"][-1]
    assert result.pixels[-1] == off.pixels[0]


def test_two_axes_and_other_kinds(ui: WebUI) -> None:
    two = ",".join(ui.layers[:2])
    result = grid(ui, ("[PLADIS] Target", "both,positive"), ("[PLADIS] Layers", f'all,"{two}"'))
    cells = result.info["infotexts"][-4:]
    assert ["PLADIS target: positive" in cell for cell in cells] == [False, True, False, True]
    assert [f'PLADIS layers: "{two}"' in cell for cell in cells] == [False, False, True, True]


@pytest.mark.parametrize(
    ("label", "hires"), [("Hires scale", {(1.0, 1.5), (1.5, 1.5)}), ("Hires alpha", {(2.0, 1.0), (2.0, 1.5)})]
)
def test_a_hires_axis_switches_the_override_on(ui: WebUI, label: Any, hires: Any) -> None:
    cells = grid(ui, (f"[PLADIS] {label}", "1,1.5"), **ui.hires).info["infotexts"][-2:]
    read = set()
    for cell in cells:
        match = re.search(r"PLADIS hires scale: ([\d.]+), PLADIS hires alpha: ([\d.]+)", cell)
        assert match is not None, cell
        read.add((float(match[1]), float(match[2])))
    assert read == hires
    off = grid(ui, (f"[PLADIS] {label}", "1"), ("[PLADIS] Hires override", "False"), **ui.hires).info["infotexts"][-1]
    assert "PLADIS scale: 2" in off and "PLADIS hires" not in off


@pytest.mark.parametrize(
    ("label", "values", "message"),
    [
        ("[PLADIS] Scale", "2,abc", "Scale"),
        ("[PLADIS] Alpha", "1.5,3", "1 to 2"),
        ("[PLADIS] Layers", "all,x9", "x9"),
        ("[PLADIS] Target", "both,none", "none"),
    ],
)
def test_a_bad_axis_value_stops_the_grid_before_it_starts(
    ui: WebUI, off: Any, label: Any, values: Any, message: str
) -> None:
    with pytest.raises(Refused) as refused:
        grid(ui, (label, values))
    assert refused.value.status == 422
    assert message in refused.value.body["detail"]
    assert ui.txt2img([False]).pixels == off.pixels
