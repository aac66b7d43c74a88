"""The panel as Chromium shows it, on the installed gradio: ids, and when "Advanced" opens by itself."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from pages import NEVER, SOON, choose, expect_text, expect_value, open_part

from lib_pladis.settings import TABLE
from lib_pladis.webui.preset_panel import HELP
from tests.browser.access import height_at_once


def is_open(page: Any, tab: str = "txt2img") -> bool:
    return page.locator(f"#pladis_{tab}_start").is_visible()


def expect_open(page: Any, tab: str = "txt2img") -> None:
    page.wait_for_selector(f"#pladis_{tab}_start", state="visible", timeout=SOON)


def test_every_id_is_there_once(page: Any) -> None:
    ids = Counter(page.evaluate("[...document.querySelectorAll('[id^=pladis_]')].map((node) => node.id)"))
    assert {name: count for name, count in ids.items() if count > 1} == {}
    for tab in ("txt2img", "img2img"):
        assert {f"pladis_{tab}_curve", f"pladis_{tab}_preset_reason", f"pladis_{tab}_scale"} <= set(ids)


COLUMN = ".gradio-container { max-width: 660px !important }"
"""As wide as the web UIs' column of settings on a screen of 1366 pixels."""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_what_is_used_most_is_seen_at_one_glance_and_the_rest_is_folded(open_page: Any, theme: str) -> None:
    page = open_page(theme, 1366, 768)
    page.add_style_tag(content=COLUMN + ".block.pladis-check { margin: 0.75em 1.5em 0 0 }")  # the hosts' own rule
    expect_text(page, "suggestion", "SDXL")
    for tab in ("txt2img", "img2img"):
        assert height_at_once(page, tab) <= 320, tab
        ticks = [page.locator(f"#pladis_{tab}_{name} label").bounding_box()["y"] for name in ("compare", "look")]
        assert abs(ticks[0] - ticks[1]) <= 1, "side by side"
        for name in ("advanced", "weights", "mine"):
            page.wait_for_selector(f"#pladis_{tab}_{name} .label-wrap[aria-expanded=false]", timeout=SOON)
        assert not page.locator(f"#pladis_{tab}_enabled .pladis-help >> visible=true").count(), "on demand"


FOCUSED = """(names) => names.map((name) => {
    const [block, panel] = [name, "enabled"].map((each) => document.getElementById(`pladis_txt2img_${each}`));
    const help = document.getElementById(`pladis_txt2img_${name}_help`);
    const shown = () => getComputedStyle(help).visibility === "visible" && help.getClientRects().length > 0;
    const before = shown();
    block.querySelector(".pladis-ask").focus();
    const boxes = [...block.querySelectorAll("input, textarea")];
    const [box, frame] = [help, panel].map((node) => node.getBoundingClientRect());
    const told = { name, before, after: shown(), text: help.textContent,
        inside: frame.left <= box.left && box.right <= frame.right + 1,
        about: boxes.every((x) => x.getAttribute("aria-describedby") === help.id) };
    document.activeElement.blur();
    return told;
})"""


def test_each_help_is_shown_while_its_mark_has_the_focus(open_page: Any) -> None:
    page = open_page(width=700)
    open_part(page, "advanced", "start")
    page.click("#txt2img_paste_hires")  # which makes the Hires. fix sliders active
    page.wait_for_function("!document.querySelector('#pladis_txt2img_hr_scale').inert", timeout=SOON)
    page.check("#pladis_txt2img_look input[type=checkbox]")
    page.wait_for_function("!document.querySelector('#pladis_txt2img_look_words').inert", timeout=SOON)
    helps = {"preset": HELP["preset"], **{name: row.help for name, row in TABLE.items() if name != "enabled"}}
    shown = {"before": False, "after": True, "inside": True, "about": True}
    assert page.evaluate(FOCUSED, list(helps)) == [{"name": name, "text": helps[name], **shown} for name in helps]


def test_a_help_is_shown_by_pointing_at_its_mark_and_by_a_tap_and_escape_ends_it(page: Any) -> None:
    help, mark = page.locator("#pladis_txt2img_scale_help"), page.locator("#pladis_txt2img_scale .pladis-ask")
    mark.hover()
    assert help.is_visible()
    page.mouse.move(0, 0)
    assert not help.is_visible()
    mark.click()
    page.mouse.move(0, 0)
    assert help.is_visible()
    page.keyboard.press("Escape")
    assert not help.is_visible()


def test_a_line_is_shown_whole_while_it_has_the_focus_or_is_pointed_at(open_page: Any) -> None:
    page = open_page(width=390)
    expect_text(page, "suggestion", "SDXL")
    for name in ("preset_reason", "suggestion"):
        text = page.locator(f"#pladis_txt2img_{name} .pladis-text")
        cut = "(node) => node.scrollWidth > node.clientWidth + 1"
        assert text.evaluate(cut)
        text.click(position={"x": 20, "y": 10})
        assert not text.evaluate(cut) and text.bounding_box()["height"] > 40
        page.mouse.move(5, 5)
        assert not text.evaluate(cut), "it has the focus"
        page.keyboard.press("Escape")
        assert text.evaluate(cut)
        text.hover(position={"x": 20, "y": 10})
        assert not text.evaluate(cut)
        page.mouse.move(5, 5)
        assert text.evaluate(cut)


def test_a_control_that_would_do_nothing_is_not_active(open_page: Any) -> None:
    page = open_page()

    def idle() -> set[str]:
        return set(page.evaluate("[...document.querySelectorAll('#pladis_txt2img_enabled [inert]')].map((x) => x.id)"))

    def wait(names: set[str]) -> None:
        page.wait_for_function(
            "(n) => document.querySelectorAll('#pladis_txt2img_enabled [inert]').length === n", arg=len(names)
        )
        assert idle() == {f"pladis_txt2img_{name}" for name in names}

    wait({"hr_scale", "hr_alpha", "look_words"})
    page.check("#pladis_txt2img_look input[type=checkbox]")
    wait({"hr_scale", "hr_alpha"})
    open_part(page, "advanced", "start")
    page.check("#pladis_txt2img_hr_override input[type=checkbox]")
    wait(set())
    page.click("#txt2img_paste_plain")
    wait({"hr_scale", "hr_alpha"})
    open_part(page, "advanced", "start", "img2img")
    assert not page.locator("#pladis_img2img_hr_scale").is_visible(), "there is no Hires. fix"


@pytest.mark.parametrize("tab", ["txt2img", "img2img"])
def test_the_way_to_the_blind_test_chooses_it_in_the_list_of_scripts(page: Any, tab: str) -> None:
    page.click(f"#pladis_{tab}_blind_test")
    at = f"#{tab}_script_container #script_list input"
    page.wait_for_function("(at) => document.querySelector(at).value === 'Blind test'", arg=at, timeout=SOON)
    page.wait_for_selector("ul.options", state="detached", timeout=SOON)


@pytest.mark.parametrize("pasted", ["start", "layers", "target", "hires"])
def test_a_paste_that_sets_something_under_advanced_opens_it(page: Any, pasted: str) -> None:
    assert not is_open(page)
    page.click(f"#txt2img_paste_{pasted}")
    expect_open(page)
    assert not is_open(page, "img2img"), "each tab for itself"


def test_a_preset_that_sets_something_under_advanced_opens_it(page: Any) -> None:
    choose(page, "Official code")
    expect_open(page)
    assert page.input_value("#pladis_txt2img_layers textarea, #pladis_txt2img_layers input") == "d,u"


@pytest.mark.parametrize("pasted", [True, False], ids=["paste", "preset"])
def test_one_that_sets_nothing_there_leaves_it_closed(page: Any, pasted: Any) -> None:
    if pasted:
        page.click("#txt2img_paste_scale")
    else:
        choose(page, "No guidance")
    expect_value(page, "scale", "1.25" if pasted else "1")
    page.wait_for_timeout(NEVER)
    assert not is_open(page)


def test_who_closes_it_keeps_it_closed_until_the_next_paste(page: Any) -> None:
    page.click("#txt2img_paste_start")
    expect_open(page)
    page.click("#pladis_txt2img_advanced .label-wrap")
    page.wait_for_selector("#pladis_txt2img_start", state="hidden")
    page.wait_for_timeout(NEVER)
    assert not is_open(page)
    page.click("#txt2img_paste_scale")
    expect_value(page, "start", "0")
    page.wait_for_timeout(NEVER)
    assert not is_open(page), "all of its values are the defaults now"
    page.click("#txt2img_paste_layers")
    expect_open(page)


@pytest.mark.parametrize(
    ("pasted", "why"), [("banana", "got the text 'banana'"), ("far", "Sparsity (α) (alpha): got 7")]
)
def test_a_paste_with_a_bad_value_leaves_the_panel_as_it_was_and_says_so(page: Any, pasted: str, why: str) -> None:
    page.click("#txt2img_paste_start")
    expect_value(page, "start", "0.25")
    page.click(f"#txt2img_paste_{pasted}")
    expect_text(page, "notice", "The pasted settings were rejected; the panel is unchanged: PLADIS")
    expect_text(page, "notice", why)
    page.wait_for_timeout(NEVER)
    values = page.evaluate("pladis.values('txt2img')")
    assert (values["enabled"], values["scale"], values["alpha"], values["start"]) == (True, 1.25, 1.75, 0.25)
    page.click("#txt2img_paste_without")
    page.wait_for_function("!pladis.values('txt2img').enabled", timeout=SOON)
    expect_text(page, "notice", "")
    assert not page.locator("#pladis_txt2img_notice").is_visible()
