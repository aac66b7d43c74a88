"""The panel for a keyboard, a screen reader, small screens and both themes, on the installed gradio."""

from __future__ import annotations

from typing import Any

import pytest
from pages import SOON, choose, expect_value, open_all

from tests.browser.access import cut_texts, grave_violations

PANEL = "#pladis_txt2img_enabled"
SIZES = {"desktop": (1500, 1000), "1366x768": (1366, 768), "phone": (390, 844)}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_grave_and_no_text_is_cut(open_page: Any, theme: str) -> None:
    page = open_page(theme)
    open_all(page)
    for size, (width, height) in SIZES.items():
        page.set_viewport_size({"width": width, "height": height})
        assert cut_texts(page, PANEL) == [], size
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"scrolls sideways, {size}"
        assert grave_violations(page, PANEL) == [], size
    page.evaluate("document.querySelector('#pladis_txt2img_enabled').append(document.createElement('select'))")
    assert "select-name" in [found["id"] for found in grave_violations(page, PANEL)], "axe is not blind"


def test_the_heads_open_and_close_by_keyboard(open_page: Any) -> None:
    page = open_page()
    for name, inside in (("advanced", "start"), ("mine", "preset_name")):
        head = page.locator(f"#pladis_txt2img_{name} .label-wrap").first
        page.wait_for_selector(f"#pladis_txt2img_{name} .label-wrap[aria-expanded=false]", timeout=SOON)
        for key, state in (("Enter", "visible"), ("Space", "hidden")):
            head.focus()
            page.keyboard.press(key)
            page.wait_for_selector(f"#pladis_txt2img_{inside}", state=state, timeout=SOON)
            page.wait_for_selector(
                f"#pladis_txt2img_{name} .label-wrap[aria-expanded={str(state == 'visible').lower()}]", timeout=SOON
            )


def test_each_control_is_reached_by_tab_and_has_a_name(open_page: Any) -> None:
    page = open_page()
    open_all(page)
    page.locator("#txt2img_cfg_scale input[type=range]").focus()
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("(document.activeElement.closest('[id^=pladis_txt2img]') || {}).id || ''"))
    wanted = ("preset", "scale", "alpha", "start", "layers", "rescale", "preset_name", "preset_save", "preset_text")
    assert {f"pladis_txt2img_{name}" for name in wanted} <= reached


def test_the_head_says_what_is_set(open_page: Any) -> None:
    page = open_page()
    glance = f"{PANEL} .pladis-glance"

    def says(text: str) -> None:
        page.wait_for_function(
            "([at, text]) => (document.querySelector(at) || {}).textContent === text", arg=[glance, text], timeout=SOON
        )

    says("off · λ 2 · α 1.5")
    choose(page, "Official code")
    says("off · λ 2 · α 1.5 · d,u")
    choose(page, "Few steps")
    says("off · λ 1 · α 1.5 · φ 1")
    page.click("#txt2img_paste_start")
    expect_value(page, "start", "0.25")
    says("on · λ 1.25 · α 1.75 · from 0.25")


FOCUSED = """() => {
    const node = document.activeElement, style = getComputedStyle(node);
    return [node.closest("#pladis_txt2img_enabled") ? node.closest("[id]").id : "", node.type || node.tagName,
        style.outlineStyle, style.outlineWidth];
}"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_what_has_the_keyboard_has_a_line_around_it(open_page: Any, theme: str) -> None:
    page = open_page(theme)
    open_all(page)
    page.locator("#pladis_txt2img_preset input").focus()
    seen = []
    while True:
        page.keyboard.press("Tab")
        place, *look = page.evaluate(FOCUSED)
        if not place:
            break
        seen.append((place, *look))
    assert len(seen) > 25
    assert [each for each in seen if each[2:] != ("solid", "2px")] == []
