"""The extension as a person uses it, in the page of any running web UI: `--webui http://127.0.0.1:7860`.

What a host can't do is skipped by name. With PLADIS_SHOTS=<folder> the pages are saved as pictures.
"""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest
from PIL import ImageChops
from webui_page import WebPage

from lib_pladis.presets import PRESETS
from lib_pladis.settings import TABLE
from tests.acceptance.webui import WebUI

TABS = ["txt2img", "img2img"]
WITH = (
    "a green star\nNegative prompt: blurred\n"
    "Steps: 4, Sampler: Euler, CFG scale: 7, Seed: 7, Size: {size}x{size}, "
    "PLADIS scale: 3.25, PLADIS alpha: 1.75, PLADIS start: 0.1, PLADIS temperature: 0.8, "
    "PLADIS hires scale: 1.5, PLADIS hires alpha: 1.25, PLADIS version: 0.1.0"
)
WITHOUT = (
    "a yellow ring\nNegative prompt: blurred\nSteps: 4, Sampler: Euler, CFG scale: 7, Seed: 7, Size: {size}x{size}"
)


@pytest.mark.parametrize("tab", TABS)
def test_the_panel_is_there_and_its_chart_follows_the_sliders(web: WebPage, tab: str) -> None:
    web.open().go(tab)
    web.expect_enabled(False, tab)
    chart = web.open_panel(tab, advanced=True)
    web.expect_enabled(True, tab)
    text = " ".join(web.page.text_content(f"#pladis_{tab}_enabled").split())
    for setting in list(TABLE.values())[1:]:
        assert setting.label in text and setting.help in text, setting.name
        if setting.kind == "float":
            box = web.page.locator(f"#pladis_{tab}_{setting.name} input[type=range]")
            limits = [float(box.get_attribute(name)) for name in ("min", "max", "step")]
            assert limits == [setting.minimum, setting.maximum, setting.step]
    web.expect_values({s.name: s.default for s in TABLE.values() if s.kind == "float"}, tab)
    chart.expect(2.0, 1.5, 1.0)
    said = web.page.get_attribute(f"#pladis_{tab}_curve svg", "aria-label")
    for _ in range(5):
        web.page.locator(f"#pladis_{tab}_scale input[type=range]").press("ArrowRight")
    web.expect_values({"scale": 2.25}, tab)
    chart.expect(2.25, 1.5, 1.0)
    web.set("alpha", 2.0, tab)
    web.set("temperature", 0.5, tab)
    chart.expect(2.25, 2.0, 0.5)
    assert web.page.get_attribute(f"#pladis_{tab}_curve svg", "aria-label") != said


@pytest.mark.parametrize("tab", TABS)
def test_presets_set_the_sliders_and_the_chart(web: WebPage, tab: str) -> None:
    web.open().go(tab)
    chart = web.open_panel(tab, advanced=True)
    web.set("temperature", 0.5, tab)
    for preset in [*PRESETS[1:], PRESETS[0]]:  # the first is chosen already
        web.choose(f"#pladis_{tab}_preset", preset.name)
        wanted = preset.settings
        web.expect_values({s.name: getattr(wanted, s.name) for s in TABLE.values() if s.kind == "float"}, tab)
        chart.expect(wanted.scale, wanted.alpha, wanted.temperature, wanted.rescale)
        assert preset.name in web.page.inner_text(f"#pladis_{tab}_preset_reason")
    web.shoot(f"preset-{tab}")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_themes(web: WebPage, theme: str) -> None:
    web.open(theme)
    web.open_panel().expect(2.0, 1.5)
    assert web.page.evaluate("document.body.classList.contains('dark')") == (theme == "dark")
    web.shoot(f"panel-{theme}", "#pladis_txt2img_enabled")
    web.open_panel(advanced=True)
    web.shoot(f"advanced-{theme}", "#pladis_txt2img_enabled")
    web.shoot(f"page-{theme}")


def test_off_then_on_then_off(web: WebPage, ui: WebUI) -> None:
    web.open().prepare()
    off = web.generate()
    assert "PLADIS" not in off.infotext
    web.open_panel()
    on = web.generate()
    assert "PLADIS scale: 2" in on.infotext and "PLADIS alpha: 1.5" in on.infotext
    assert ImageChops.difference(on.picture, off.picture).getbbox(), "the picture changes"
    (only,) = ui.report()["passes"]
    assert only["calls_blended"] == only["calls_seen"] > 0
    assert len(only["layers_hooked"]) == only["layers_found"] > 0
    web.shoot("generated")
    web.tick(False)
    again = web.generate()
    assert "PLADIS" not in again.infotext
    assert ImageChops.difference(again.picture, off.picture).getbbox() is None, "and is the host's own again"


@pytest.mark.parametrize("tab", TABS)
def test_paste_switches_the_panel_on_and_off(web: WebPage, ui: WebUI, tab: str) -> None:
    web.open().go(tab)
    web.paste(WITH.format(size=ui.size), tab)
    web.expect_enabled(True, tab)
    web.page.wait_for_selector(f"#pladis_{tab}_start", state="visible")  # Advanced opens by itself
    chart = web.open_panel(tab)
    web.expect_values({"scale": 3.25, "alpha": 1.75, "start": 0.1, "end": 1, "temperature": 0.8}, tab)
    web.expect_values({"hr_scale": 1.5, "hr_alpha": 1.25}, tab)
    assert web.page.is_checked(f"#pladis_{tab}_hr_override input")
    assert "λ = 3.25, α = 1.75, T = 0.80" in chart.summary()
    web.shoot(f"pasted-{tab}")
    if tab == "txt2img":
        pasted = web.generate()
        assert "PLADIS scale: 3.25" in pasted.infotext and "PLADIS alpha: 1.75" in pasted.infotext
    web.paste(WITHOUT.format(size=ui.size), tab)
    web.expect_enabled(False, tab)
    if tab == "txt2img":
        assert "PLADIS" not in web.generate().infotext


def test_send_to_img2img_carries_the_settings(web: WebPage, ui: WebUI) -> None:
    layer = ui.layers[-1]
    web.open().prepare()
    web.open_panel(advanced=True)
    web.set("scale", 3.25)
    web.set("alpha", 1.75)
    web.set("layers", layer)
    assert f"PLADIS layers: {layer}" in web.generate().infotext
    web.send_to_img2img()
    web.page.wait_for_selector("#pladis_img2img_layers", state="visible")  # the panel and Advanced open by themselves
    web.expect_values({"scale": 3.25, "alpha": 1.75}, "img2img")
    web.number("img2img_steps", web.ui.steps)
    shown = web.generate("img2img")
    for key in ("PLADIS scale: 3.25", "PLADIS alpha: 1.75", f"PLADIS layers: {layer}", "Denoising strength"):
        assert key in shown.infotext
    web.shoot("sent-to-img2img")
    web.go("txt2img")
    web.tick(False)
    web.generate()
    web.send_to_img2img(enabled=False)


@pytest.mark.parametrize("tab", TABS)
def test_png_info_sends_to_the_panel(web: WebPage, ui: WebUI, tmp_path: Path, tab: str) -> None:
    made = ui.txt2img({"enabled": True, "scale": 2.75, "alpha": 1.25, "temperature": 0.7})
    picture = tmp_path / "made.png"
    picture.write_bytes(base64.b64decode(made.images[0].split(",")[-1]))
    web.open().go("PNG Info")
    web.page.set_input_files("#pnginfo_image input[type=file]", str(picture))
    for key in ("PLADIS scale: 2.75", "PLADIS alpha: 1.25", "PLADIS temperature: 0.7"):
        web.page.locator("#tab_pnginfo").get_by_text(key).first.wait_for(state="visible")
    web.shoot(f"png-info-{tab}")
    web.page.click(f"#tab_pnginfo #{tab}_tab")
    web.page.wait_for_selector(f"#{tab}_generate", state="visible")
    web.expect_enabled(True, tab)
    web.page.wait_for_selector(f"#pladis_{tab}_start", state="visible")  # the panel and Advanced open by themselves
    web.open_panel(tab)
    web.expect_values({"scale": 2.75, "alpha": 1.25, "temperature": 0.7}, tab)


def test_xyz_plot(web: WebPage, ui: WebUI) -> None:
    if "grid_format" in ui.options:
        ui.set_option("grid_format", "png")  # Neo's own is jpg, which loses what is compared here
    web.open().prepare()
    off = web.generate()
    web.tick(True)
    on = web.generate()
    web.choose("#tab_txt2img #script_list", "X/Y/Z plot")
    web.choose("#script_txt2img_xyz_plot_x_type", "[PLADIS] Scale")
    values = web.page.locator("#script_txt2img_xyz_plot_x_values").locator("textarea, input").first
    web.fill_when_settled(values, "0,2")
    shown = web.generate()
    web.shoot("xyz")
    assert "rror" not in shown.log
    grid = shown.picture
    if os.environ.get("PLADIS_SHOTS"):
        grid.save(Path(os.environ["PLADIS_SHOTS"]) / "xyz-grid.png")
    top = grid.height - ui.size
    left = grid.crop((0, top, ui.size, grid.height))
    right = grid.crop((grid.width - ui.size, top, grid.width, grid.height))
    assert ImageChops.difference(left, off.picture).getbbox() is None, "the cell of scale 0 is the host's own"
    assert ImageChops.difference(right, on.picture).getbbox() is None, "the cell of scale 2 is PLADIS's"


def test_bad_input_is_shown_on_the_page(web: WebPage, ui: WebUI) -> None:
    layer = ui.layers[-1]
    web.open().prepare()
    web.open_panel(advanced=True)
    web.set("layers", "x9")
    refused = web.generate()
    assert refused.images == [] and "PLADIS" not in refused.infotext
    if ui.kind != "reforge":  # which prints errors on its console and shows another in their place
        for part in ("PLADIS Layers", "'x9'", "d0-d3,m0,u2.1"):
            assert part in refused.log
    assert "x9" in ui.report()["error"]
    web.shoot("refused")
    web.set("layers", layer)
    assert f"PLADIS layers: {layer}" in web.generate().infotext


def test_settings_page_has_the_kernel(web: WebPage, ui: WebUI) -> None:
    web.open().go("Settings")
    web.page.locator("#settings > .tab-nav button").get_by_text("PLADIS", exact=True).click()
    choices = web.page.locator("#setting_pladis_backend label")
    choices.first.wait_for(state="visible")
    assert [text.strip() for text in choices.all_inner_texts()] == ["auto", "triton", "cuda", "torch", "entmax"]
    assert choices.filter(has=web.page.locator("input:checked")).all_inner_texts() == ["auto"]
    web.shoot("settings")
    ui.changed_options["pladis_backend"] = "auto"  # put back after the test
    choices.get_by_text("torch", exact=True).click()
    web.page.click("#settings_submit")
    web.page.locator("#settings_result", has_text="pladis_backend").last.wait_for()  # Forge's API does not list it
    assert ui.txt2img([True]).passes[0]["kernel"] == "torch"


def test_the_playground_greets(web: WebPage, ui: WebUI) -> None:
    """At 1366 × 768 without scrolling: what it is, examples, PLADIS, and a picture with what the model did not know."""
    if ui.kind != "playground":
        pytest.skip(f"this is {ui.kind}")
    web.page.set_viewport_size({"width": 1366, "height": 768})
    web.open()
    for shown in ("#welcome", ".examples button", "#pladis_txt2img_enabled", "#txt2img_generate", "#txt2img_gallery"):
        box = web.page.locator(shown).first.bounding_box()
        assert box and box["y"] + box["height"] <= 768, shown
    prompt = web.page.locator("#txt2img_prompt textarea")
    assert prompt.input_value(), "Generate works at once"
    first = web.generate()
    assert prompt.input_value() in first.infotext and "never learnt" not in first.log
    web.page.locator(".examples button").nth(1).click()
    web.page.wait_for_function(
        "([box, last]) => document.querySelector(box).value !== last",
        arg=["#txt2img_prompt textarea", first.infotext.split("\n")[0]],
    )
    prompt.fill(prompt.input_value() + " and a cat")
    web.number("txt2img_steps", 60)  # long enough to be looked at
    web.page.click("#txt2img_generate")
    web.page.wait_for_selector(".progressDiv")
    on_top = "() => document.elementFromPoint(...(({x, y, width, height}) => [x + width / 2, y + height / 2])"
    on_top += "(document.querySelector('#txt2img_gallery').getBoundingClientRect())).closest('.livePreview') !== null"
    assert web.page.evaluate(on_top), "the old picture is covered from the start"
    web.page.wait_for_function("() => !document.querySelector('.progressDiv')")
    said = web.page.locator("#html_log_txt2img .comments")
    assert "never learnt “cat”" in said.inner_text()
    box = said.bounding_box()
    assert box and box["y"] + box["height"] <= 768
    web.shoot("greeting")


def test_the_playgrounds_checkpoints_are_a_list_that_loads(web: WebPage, ui: WebUI) -> None:
    if ui.kind != "playground":
        pytest.skip(f"this is {ui.kind}")
    first = ui.options["sd_model_checkpoint"]
    other = next(title for title in ui.models if title != first)
    web.open().go("Settings")
    web.choose("#setting_sd_model_checkpoint", other)
    web.page.click("#settings_submit")
    web.page.wait_for_function(
        "async (title) => (await (await fetch('/sdapi/v1/options')).json()).sd_model_checkpoint === title", arg=other
    )
    ui.changed_options["sd_model_checkpoint"] = first  # put back after the test
    web.go("txt2img")
    web.prepare()
    web.open_panel()
    assert f"Model: {other.split('.')[0]}," in web.generate().infotext
    web.page.wait_for_function(  # it asks again until the checkpoint is loaded
        "() => document.querySelector('#pladis_txt2img_suggestion').innerText.includes('Few steps')"
    )
    assert "not loaded" not in web.page.inner_text("#pladis_txt2img_suggestion")
