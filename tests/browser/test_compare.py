"""The before/after slider under the gallery, in the page of any running web UI: `--webui http://127.0.0.1:7860`."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import pytest
from PIL import Image, ImageChops
from webui_page import WebPage

from tests.acceptance.webui import WebUI
from tests.browser.access import cut_texts, grave_violations
from tests.texts import LANGUAGES, translations

VIEW = "#pladis_{tab}_compare_view"


@pytest.fixture
def context() -> dict[str, Any]:
    return {"viewport": {"width": 1500, "height": 1300}, "has_touch": True}


class Slider:
    """The comparison that a tab shows."""

    def __init__(self, web: WebPage, tab: str = "txt2img") -> None:
        self.page = web.page
        self.view = web.page.locator(VIEW.format(tab=tab))
        self.view.wait_for(state="visible")
        self.stage = self.view.locator(".pladis-stage")
        self.line = self.view.get_by_role("slider")
        web.page.wait_for_function(
            "(at) => [...document.querySelectorAll(at)].every((x) => x.complete && x.naturalWidth)",
            arg=f"{VIEW.format(tab=tab)} img",
        )
        self.stage.scroll_into_view_if_needed()
        line, knob, stage = (each.bounding_box() for each in (self.line, self.line.locator("span"), self.stage))
        assert abs(line["height"] - stage["height"]) < 3, "the line goes from top to bottom"
        assert abs(knob["y"] + knob["height"] / 2 - stage["y"] - stage["height"] / 2) < 3, "its knob is in the middle"

    @property
    def at(self) -> int:
        return int(self.line.get_attribute("aria-valuenow"))

    def middle(self, part: float) -> tuple[float, float]:
        """A point of the page: so far from the stage's left, in the middle of its height."""
        box = self.stage.bounding_box()
        return box["x"] + part * box["width"], box["y"] + box["height"] / 2

    def seen(self, width: int) -> Image.Image:
        """What one sees of the pictures: without the line and the labels, each pixel of `width` a whole number wide."""
        width *= max(1, min(4, self.page.viewport_size["width"] // width))
        bare = f""".pladis-tag, .pladis-divider {{ opacity: 0 !important }}
            .pladis-stage {{ position: fixed !important; inset: 0 auto auto 0 !important; margin: 0 !important;
                padding: 0; border: 0; border-radius: 0 !important; width: {width}px !important; height: auto }}
            .pladis-stage img {{ image-rendering: pixelated !important }}"""
        style = self.page.add_style_tag(content=bare)
        self.stage.evaluate("(node) => { node.popover = 'manual'; node.showPopover(); }")  # over all else
        try:
            return Image.open(io.BytesIO(self.stage.screenshot())).convert("RGB")
        finally:
            self.stage.evaluate("(node) => node.removeAttribute('popover')")
            style.evaluate("(node) => node.remove()")

    def expect(self, on: Image.Image, off: Image.Image) -> None:
        """The plain picture up to the line, and the other one from there."""
        seen = self.seen(on.width)
        line = round(seen.width * self.at / 100)
        parts = {(0, line - 3): off, (line + 3, seen.width): on}
        for (left, right), wanted in parts.items():
            if right <= left:
                continue
            box = (left, 2, right, seen.height - 2)
            near, far = (
                difference(seen.crop(box), picture.resize(seen.size, Image.Resampling.NEAREST).crop(box))
                for picture in (wanted, on if wanted is off else off)
            )
            assert near < far / 5, (self.at, near, far)


def difference(a: Image.Image, b: Image.Image) -> float:
    """Mean difference of the channels, 0 to 255."""
    histogram = ImageChops.difference(a, b).histogram()
    return sum(i % 256 * n for i, n in enumerate(histogram)) / sum(histogram)


def compare(web: WebPage, tab: str = "txt2img") -> Any:
    web.open_panel(tab)
    web.set("scale", 4, tab)
    web.page.check(f"#pladis_{tab}_compare input[type=checkbox]")
    return web.generate(tab)


def pictures(shown: Any) -> list[Image.Image]:
    return [Image.open(io.BytesIO(image)).convert("RGB") for image in shown.images]


def test_the_slider_shows_both_pictures_by_key_and_by_pointer(web: WebPage) -> None:
    web.open().prepare()
    shown = compare(web)
    on, off = pictures(shown)
    slider = Slider(web)
    assert slider.at == 50
    slider.expect(on, off)
    web.shoot("compare", VIEW.format(tab="txt2img"))
    web.shoot("compare-page")
    head = slider.view.locator(".pladis-view-head").bounding_box()
    assert head["y"] + head["height"] <= slider.stage.bounding_box()["y"], "the title is over the pictures"
    assert "λ 4 · α 1.5" in slider.view.inner_text() and "version" not in slider.view.inner_text()

    slider.line.focus()
    for keys, at in ((["ArrowLeft"], 48), (["ArrowUp", "PageUp"], 60), (["Home"], 0), (["End"], 100)):
        for key in keys:
            web.page.keyboard.press(key)
        assert slider.at == at
        slider.expect(on, off)
    assert slider.line.get_attribute("aria-valuetext") == "100% plain, 0% PLADIS"

    web.page.mouse.move(*slider.middle(0.9))
    web.page.mouse.down()
    web.page.mouse.move(*slider.middle(0.25), steps=5)
    web.page.mouse.up()
    web.page.mouse.move(*slider.middle(0.7))
    assert slider.at == 25, "it follows while the button is down, and not after"
    slider.expect(on, off)


def test_the_slider_follows_a_finger(web: WebPage) -> None:
    web.open().prepare()
    on, off = pictures(compare(web))
    slider = Slider(web)
    web.page.touchscreen.tap(*slider.middle(0.8))
    web.page.wait_for_function("(at) => document.querySelector(at).getAttribute('aria-valuenow') === '80'",
                               arg=f"{VIEW.format(tab='txt2img')} [role=slider]")  # fmt: skip
    cdp = web.page.context.new_cdp_session(web.page)
    for kind, part in (("touchStart", 0.8), ("touchMove", 0.6), ("touchMove", 0.3), ("touchEnd", None)):
        points = [] if part is None else [dict(zip("xy", slider.middle(part)))]
        cdp.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    assert slider.at == 30
    slider.expect(on, off)


def test_each_picture_of_a_batch_and_nothing_without_compare(web: WebPage) -> None:
    web.open().prepare()
    web.number("txt2img_batch_size", 2)
    shown = compare(web)
    *_, on, other_on, off, other_off = pictures(shown)  # the grid is first, where the host makes one
    slider = Slider(web)
    slider.expect(on, off)
    views = web.page.locator("#pladis_txt2img_views")
    following = views.get_by_role("button", name="Next picture")
    following.focus()
    web.page.keyboard.press("Enter")
    slider = Slider(web)
    assert "2 / 2" in views.inner_text()
    slider.expect(other_on, other_off)
    assert web.page.evaluate("document.activeElement.getAttribute('aria-label')") == "Previous picture"
    web.shoot("compare-batch")
    web.number("txt2img_batch_size", 1)
    web.page.uncheck("#pladis_txt2img_compare input[type=checkbox]")
    web.generate()
    slider.view.wait_for(state="detached")


def test_img2img_and_a_dark_narrow_page(web: WebPage, ui: WebUI) -> None:
    web.open("dark").prepare()
    web.open_panel()
    web.generate()
    web.send_to_img2img()
    web.number("img2img_steps", ui.steps)
    on, off = pictures(compare(web, "img2img"))
    slider = Slider(web, "img2img")
    slider.expect(on, off)
    web.page.set_viewport_size({"width": 390, "height": 844})
    slider.stage.scroll_into_view_if_needed()
    assert cut_texts(web.page, VIEW.format(tab="img2img")) == []
    box = slider.stage.bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 390
    web.shoot("compare-phone-dark")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_accessibility(web: WebPage, theme: str) -> None:
    web.open(theme).prepare()
    web.number("txt2img_batch_size", 2)
    compare(web)
    Slider(web)
    assert grave_violations(web.page, VIEW.format(tab="txt2img")) == []


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_what_a_screen_reader_says_is_in_the_pages_language(web: WebPage, language: str) -> None:
    said = translations(language)
    web.open().prepare()
    web.page.evaluate("(table) => { window.localization = table; }", said)
    web.number("txt2img_batch_size", 2)
    compare(web)
    slider = Slider(web)
    assert slider.view.get_attribute("aria-label") == said["Compare"]
    assert slider.line.get_attribute("aria-label") == said["Plain against PLADIS"]
    values = {"{plain}": "50", "{pladis}": "50"}
    wanted = re.sub(r"{\w+}", lambda found: values[found[0]], said["{plain}% plain, {pladis}% PLADIS"])
    assert slider.line.get_attribute("aria-valuetext") == wanted
    names = [image.get_attribute("alt") for image in slider.stage.locator("img").all()]
    assert names == [said["Picture with PLADIS"], said["Plain picture"]]
    modes = slider.view.locator("button").all_inner_texts()
    assert modes == [said[f"Look inside · {mode}"] for mode in ("slider", "blink", "difference")]
    views = web.page.locator("#pladis_txt2img_views")
    views.get_by_role("button", name=said["Next picture"]).click()
    assert "2 / 2" in views.inner_text() and views.get_by_role("button", name=said["Previous picture"]).is_enabled()


def test_which_two_belong_together(web: WebPage) -> None:
    """As the web UI tells it: whatever the texts say, and where the gallery is cut short, as of a folder's files."""
    web.open()
    ours = ', PLADIS scale: 2, PLADIS alpha: 1.5, PLADIS layers: "d0,m0", PLADIS version: 0.1'
    on = f"a, PLADIS scale: 9, b\nNegative prompt: c\nSteps: 4, Wildcard: x{ours}, Version: 1"
    told = {"pairs": [[1, 3], [2, 4], [9, 10]], "looks": [[1, 5, "one", 0], [2, None, "two", 0], [9, 11, "far", 0]]}
    info = {"infotexts": ["grid", on, on, "off", "", on], "index_of_first_image": 1}
    read = """(text) => {
        const found = pladis.info(text);
        return found && [found.pairs, [...found.sheets], [...found.looks], found.pictures, found.chosen];
    }"""

    def found(more: Any) -> Any:
        return web.page.evaluate(read, json.dumps({**info, "extra_generation_params": more}))

    said = "λ 2 · α 1.5 · layers d0,m0"
    assert found({"PLADIS beside": told}) == [
        [{"picture": 1, "plain": 3, "settings": said}, {"picture": 2, "plain": 4, "settings": said}],
        [[5, 1]],
        [[1, {"name": "one", "number": 0}], [2, {"name": "two", "number": 0}]],
        [1, 2],
        1,
    ]
    assert found({}) is None and web.page.evaluate("pladis.info('')") is None


def test_a_thumbnail_chooses_its_picture_in_both_views_and_says_what_it_is(web: WebPage) -> None:
    web.open().prepare()
    web.number("txt2img_batch_size", 2)
    web.open_panel()
    web.page.check("#pladis_txt2img_look input[type=checkbox]")
    compare(web)
    Slider(web)
    thumbnails = web.page.locator("#txt2img_gallery .thumbnails .thumbnail-item")
    web.page.locator("#txt2img_gallery [data-pladis=PLADIS]").first.wait_for()
    kinds = [each.get_attribute("data-pladis") for each in thumbnails.all()]
    assert kinds[-6:] == ["PLADIS", "PLADIS", "plain", "plain", "maps", "maps"] and set(kinds[:-6]) <= {"grid"}
    views = web.page.locator("#pladis_txt2img_views")
    sources = [each.get_attribute("src") for each in thumbnails.locator("img").all()][-6:]

    def shown() -> list[str]:
        at = [".pladis-changed", ".pladis-stage .pladis-plain", ".pladis-look-picture"]
        return [views.locator(each).first.get_attribute("src") for each in at]

    for place, number in ((-1, 2), (-4, 1), (-5, 2), (-6, 1)):
        thumbnails.nth(len(kinds) + place).click()
        views.get_by_text(f"{number} / 2", exact=True).wait_for()
        picture, plain = sources[number - 1], sources[number + 1]
        assert shown() == [picture, plain, picture], kinds[place]


def test_blink_and_difference_show_small_changes(web: WebPage) -> None:
    web.open().prepare()
    on, off = pictures(compare(web))
    slider = Slider(web)
    slider.view.get_by_role("button", name="difference").click()
    assert slider.view.get_by_role("button", pressed=True).inner_text() == "difference"
    assert not slider.line.is_visible()
    four_times = ImageChops.difference(on, off).point(lambda value: min(255, 4 * value))
    seen = slider.seen(web.ui.size)
    assert difference(seen, four_times.resize(seen.size, Image.Resampling.NEAREST)) < 6
    web.shoot("compare-difference", VIEW.format(tab="txt2img"))
    slider.view.get_by_role("button", name="blink").click()
    played = "document.querySelector('#pladis_txt2img_compare_view .pladis-plain').getAnimations()[0]"
    for at, wanted in ((100, off), (900, on)):
        web.page.evaluate(f"(() => {{ const run = {played}; run.pause(); run.currentTime = {at}; }})()")
        seen = slider.seen(web.ui.size)
        assert difference(seen, wanted.resize(seen.size, Image.Resampling.NEAREST)) < 1, at
    slider.view.get_by_role("button", name="slider").click()
    slider.expect(on, off)
