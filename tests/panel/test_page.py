"""The panel as Chromium shows it, on the installed gradio: ids, and when "Advanced" opens by itself."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from pages import NEVER, SOON, choose, expect_text, expect_value

from lib_pladis.settings import TABLE


def is_open(page: Any, tab: str = "txt2img") -> bool:
    return page.locator(f"#pladis_{tab}_start").is_visible()


def expect_open(page: Any, tab: str = "txt2img") -> None:
    page.wait_for_selector(f"#pladis_{tab}_start", state="visible", timeout=SOON)


def test_every_id_is_there_once(page: Any) -> None:
    ids = Counter(page.evaluate("[...document.querySelectorAll('[id^=pladis_]')].map((node) => node.id)"))
    assert {name: count for name, count in ids.items() if count > 1} == {}
    for tab in ("txt2img", "img2img"):
        assert {f"pladis_{tab}_curve", f"pladis_{tab}_preset_reason", f"pladis_{tab}_scale"} <= set(ids)


def test_a_checkbox_stands_before_its_help_and_beside_other_labels(page: Any) -> None:
    page.add_style_tag(content=".block.pladis-check { margin: 0.75em 1.5em 0 0 }")  # the hosts' own rule
    for name in ("compare", "look"):
        box = page.locator(f"#pladis_txt2img_{name} label").bounding_box()
        help = page.get_by_text(TABLE[name].help).locator("visible=true").first.bounding_box()
        assert box["y"] + box["height"] <= help["y"] + 1, name
    tops = {round(page.locator(f"#pladis_txt2img_{name} label").bounding_box()["y"]) for name in ("compare", "look")}
    assert len(tops) == 1, "side by side"
    label = page.locator("#pladis_txt2img_look_words").get_by_text(TABLE["look_words"].label).bounding_box()["y"]
    text = page.locator("#pladis_txt2img_look").get_by_text(TABLE["look"].label).bounding_box()["y"]
    assert abs(label - text) <= 3


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
        page.click("#txt2img_paste_plain")
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
    page.click("#txt2img_paste_plain")
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
    expect_text(page, "notice", "The pasted settings were not taken; the panel stays as it was: PLADIS")
    expect_text(page, "notice", why)
    page.wait_for_timeout(NEVER)
    values = page.evaluate("pladis.values('txt2img')")
    assert (values["enabled"], values["scale"], values["alpha"], values["start"]) == (True, 1.25, 1.75, 0.25)
    page.click("#txt2img_paste_without")
    page.wait_for_function("!pladis.values('txt2img').enabled", timeout=SOON)
    expect_text(page, "notice", "")
    assert not page.locator("#pladis_txt2img_notice").is_visible()
