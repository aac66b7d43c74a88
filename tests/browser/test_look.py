"""Look inside, under the gallery, in the page of any running web UI: `--webui http://127.0.0.1:7860`."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from webui_page import WebPage

from tests.acceptance.webui import WebUI
from tests.browser.access import cut_texts, grave_violations

STEPS = 6


def tick(web: WebPage, tab: str = "txt2img", words: str = "") -> None:
    web.open_panel(tab)
    web.page.check(f"#pladis_{tab}_look input[type=checkbox]")
    if words:
        web.set("look_words", words, tab)


def view(web: WebPage, tab: str = "txt2img") -> Any:
    found = web.page.locator(f"#pladis_{tab}_look_view")
    found.wait_for(state="visible")
    return found


def maps(web: WebPage, tab: str = "txt2img") -> list[str]:
    return web.page.evaluate(
        "(at) => [...document.querySelectorAll(at)].map((image) => image.src)",
        f"#pladis_{tab}_look_view .pladis-look-map",
    )


def told_of(web: WebPage, part: str = "", tab: str = "txt2img") -> Any:
    """What the API tells of the look at the picture that the gallery has first."""
    info = json.loads(web.page.locator(f"#generation_info_{tab} textarea").input_value())
    name = info["extra_generation_params"]["PLADIS beside"]["looks"][0][2]
    return web.ui.request(f"/pladis/v1/look?name={name}&{part}")


def wait_for_others(web: WebPage, before: list[str], tab: str = "txt2img") -> list[str]:
    web.page.wait_for_function(
        "([at, before]) => { const now = [...document.querySelectorAll(at)].map((x) => x.src);"
        " return now.length === 2 && now.join() !== before.join(); }",
        arg=[f"#pladis_{tab}_look_view .pladis-look-map", before],
    )
    return maps(web, tab)


def test_where_a_word_went(web: WebPage, ui: WebUI) -> None:
    web.open().prepare()
    tick(web)
    web.generate()
    seen = view(web)
    told = told_of(web)
    words = {each["word"]: each for each in told["pictures"][0]["words"]}
    buttons = seen.get_by_role("group", name="Word").get_by_role("button")
    assert buttons.all_inner_texts() == list(words) == ["red", "circle", "left", "blue", "square"]
    before = maps(web)
    assert before == [words["circle"][half]["image"] for half in ("plain", "pladis")], "it opens on a noun"
    blue = buttons.get_by_text("blue", exact=True)
    blue.focus()
    web.page.keyboard.press("Enter")
    assert wait_for_others(web, before) == [words["blue"][half]["image"] for half in ("plain", "pladis")]
    pressed = seen.get_by_role("button", pressed=True)
    assert pressed.inner_text() == "blue"
    assert web.page.evaluate("document.activeElement.innerText") == "blue", "the keyboard stays where it was"
    for picture, heat in zip(seen.locator(".pladis-look-picture").all(), seen.locator(".pladis-look-map").all()):
        assert picture.bounding_box() == heat.bounding_box(), "the map lies over the picture"
        assert picture.bounding_box()["width"] > 100
    for bar in seen.locator(".pladis-look-bar").all():
        assert bar.bounding_box()["width"] >= 60, "the colours of the scale can be told apart"
    assert seen.get_by_text("share of attention", exact=True).count() == 2
    assert re.search(r"Look inside took \d+\.\d s\.", seen.inner_text())
    log = web.page.locator("#html_log_txt2img").first.inner_text()
    assert "look inside" not in log, "nothing that looks like a warning"
    assert ("that of a colour word may be bright" in log) == (ui.kind == "playground")
    web.shoot("look", "#pladis_txt2img_look_view")
    web.shoot("look-page")


def test_the_live_curve_has_the_pictures_own_weights(web: WebPage, ui: WebUI) -> None:
    web.open().prepare()
    tick(web)
    chart = web.open_panel()
    assert chart.tokens == ["<start>", "red", "circle", "left", "blue", "square", "<end>"]
    assert "Example weights for your words" in web.page.inner_text("#pladis_txt2img_curve .pladis-about")
    web.generate()
    seen = view(web)
    told = told_of(web)
    words = {each["word"]: each for each in told["pictures"][0]["words"]}
    assert told["shown"]["mix"] == {
        "scale": 2.0, "alpha": 1.5, "temperature": 1.0, "rescale": 0.0, "schedule": "constant",
    }  # fmt: skip
    for word in ("red", "blue"):
        seen.get_by_role("group", name="Word").get_by_role("button").get_by_text(word, exact=True).click()
        web.page.wait_for_function(
            "(said) => document.querySelector('#pladis_txt2img_curve .pladis-about').textContent.includes(said)",
            arg=f"Measured in this picture, at the point that attends most to “{word}”",
        )
        assert chart.tokens == list(words)
        values, there = chart.values(), words[word]["there"]
        assert values["softmax"] == there["plain"]
        assert values["blend"] == pytest.approx(there["pladis"], abs=1e-9)
        place = list(words).index(word)
        assert there["plain"][place] >= words[word]["plain"]["mean"], "where it is most"
        assert len(values["entmax"]) == len(words) and min(values["entmax"]) > -1e-6
    web.shoot("look-curve", "#pladis_txt2img_enabled")
    web.set("scale", 0)
    assert chart.values()["blend"] == words["blue"]["there"]["plain"]
    web.set("scale", 2)
    web.page.uncheck("#pladis_txt2img_look input[type=checkbox]")
    web.generate()
    chart.expect(2.0, 1.5)
    assert chart.tokens[0] == "<start>"


def test_steps_layers_scale_and_table(web: WebPage, ui: WebUI) -> None:
    side = ui.layers[-1][0]
    web.open().prepare()
    tick(web, words="blue, green")
    web.generate()
    seen = view(web)
    assert '"green" is not in the prompt' in seen.inner_text()
    buttons = web.page.locator("#image_buttons_txt2img")
    if buttons.count():  # the web UI's own, for the pictures of the gallery
        assert buttons.bounding_box()["y"] < seen.bounding_box()["y"], "they stay beneath the gallery"
    now = maps(web)
    for label, value, part in (("Steps", "last", "steps=last"), ("Layers", side, f"steps=last&layers={side}")):
        seen.get_by_label(label).select_option(value)
        now = wait_for_others(web, now)
        word = told_of(web, part)["pictures"][0]["words"][0]
        assert now == [word["plain"]["image"], word["pladis"]["image"]]
        assert seen.get_by_label(label).input_value() == value
    seen.get_by_label("separate colour scales").check()
    now = wait_for_others(web, now)
    word = told_of(web, f"steps=last&layers={side}&own_scale=true")["pictures"][0]["words"][0]
    assert now == [word["plain"]["image"], word["pladis"]["image"]]

    seen.get_by_text("Layer by layer").click()
    rows = seen.locator("tbody tr")
    table = told_of(web, f"steps=last&layers={side}")["table"]
    assert rows.locator("th").all_inner_texts() == [row["layer"] for row in table]
    first = [text.strip() for text in rows.first.locator("td").all_inner_texts()]
    assert first[0] == f"{table[0]['keys_kept']:.1f} / {77 if ui.unet else table[0]['keys']}"
    assert first[1] == f"{100 * table[0]['plain']['words']:.1f}" and first[-1] == f"{table[0]['entropy_sparse']:.2f}"
    assert len(first) == 11
    web.shoot("look-table", "#pladis_txt2img_look_view")


def test_the_two_maps_are_side_by_side(web: WebPage) -> None:
    web.open().prepare()
    tick(web)
    web.generate()
    seen = view(web)
    for width in (1500, 1366, 1280, 1100, 1000):
        web.page.set_viewport_size({"width": width, "height": 800})
        left, right = (each.bounding_box() for each in seen.locator(".pladis-look-stage").all())
        assert (left["y"], left["height"]) == (right["y"], right["height"]) or left["x"] == right["x"], width


def test_answers_that_overtake_each_other(web: WebPage, ui: WebUI) -> None:
    side = ui.layers[-1][0]
    web.open().prepare()
    tick(web)
    web.generate()
    seen = view(web)
    before = maps(web)
    late: list[Any] = []
    web.page.route("**/pladis/page/look?*", lambda route: route.continue_() if late else late.append(route))
    seen.get_by_label("Steps").select_option("last")
    seen.get_by_label("Layers").select_option(side)
    now = wait_for_others(web, before)
    late[0].continue_()
    web.page.wait_for_timeout(1500)
    assert maps(web) == now
    chosen = [seen.get_by_label(label).input_value() for label in ("Steps", "Layers")]
    assert chosen == ["last", side]


@pytest.mark.parametrize("why", ["no answer", "an error"])
def test_maps_that_cannot_be_changed_stay_and_that_is_said(web: WebPage, ui: WebUI, why: str) -> None:
    web.open().prepare()
    tick(web)
    web.generate()
    seen = view(web)
    now = maps(web)
    web.page.route(
        "**/pladis/page/look?*", lambda route: route.abort() if why == "no answer" else route.fulfill(status=500)
    )
    seen.get_by_label("Steps").select_option("last")
    seen.get_by_role("alert").wait_for()
    assert "Nothing else of this picture can be shown" in seen.get_by_role("alert").inner_text()
    assert maps(web) == now and seen.get_by_label("Steps").input_value() == "all"
    web.page.unroute("**/pladis/page/look?*")
    web.problems = [each for each in web.problems if "Failed to load resource" not in each]  # Chromium's own word
    ui.txt2img({"look": True}, seed=8)  # what others draw in the meantime changes nothing
    seen.get_by_label("Steps").select_option("last")
    wait_for_others(web, now)
    assert seen.get_by_role("alert").count() == 0


def test_pictures_of_a_batch_with_compare_and_nothing_without(web: WebPage, ui: WebUI) -> None:
    web.open("dark").prepare()
    tick(web)
    web.page.check("#pladis_txt2img_compare input[type=checkbox]")
    web.number("txt2img_batch_size", 2)
    web.generate()
    seen = view(web)
    web.page.locator("#pladis_txt2img_compare_view").wait_for(state="visible")
    before = maps(web)
    source = seen.locator(".pladis-look-picture").first.get_attribute("src")
    web.page.locator("#pladis_txt2img_views").get_by_role("button", name="Next picture").click()
    now = wait_for_others(web, before)
    word = told_of(web)["pictures"][1]["words"][1]
    assert now == [word["plain"]["image"], word["pladis"]["image"]]
    assert seen.locator(".pladis-look-picture").first.get_attribute("src") != source
    web.page.set_viewport_size({"width": 390, "height": 844})
    width = web.page.evaluate("document.documentElement.clientWidth")
    box = seen.bounding_box()
    for part in ("words", "choices", "halves"):  # the table can be scrolled
        assert cut_texts(web.page, f"#pladis_txt2img_look_view .pladis-look-{part}") == []
    assert box["x"] >= 0 and box["x"] + box["width"] <= width
    web.shoot("look-phone-dark", "#pladis_txt2img_look_view")
    web.page.set_viewport_size({"width": 1500, "height": 1300})
    web.page.uncheck("#pladis_txt2img_look input[type=checkbox]")
    web.generate()
    seen.wait_for(state="detached")


def test_img2img(web: WebPage, ui: WebUI) -> None:
    web.open().prepare()
    web.open_panel()
    web.generate()
    web.send_to_img2img()
    web.number("img2img_steps", ui.steps)
    tick(web, "img2img")
    web.generate("img2img")
    assert re.search(r"plain", view(web, "img2img").inner_text()) and len(maps(web, "img2img")) == 2


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_accessibility(web: WebPage, theme: str) -> None:
    web.open(theme).prepare()
    tick(web, words="blue, green")
    web.generate()
    view(web).get_by_text("Layer by layer").click()
    assert grave_violations(web.page, "#pladis_txt2img_look_view") == []
