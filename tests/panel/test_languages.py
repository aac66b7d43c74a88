"""The panel in each language, translated as the web UIs do it: whole text nodes, as they are put in."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pages import SOON, choose, expect_text, expect_value, listed, open_all

from lib_pladis.presets import BUILT_IN
from lib_pladis.settings import TABLE
from tests.browser.access import cut_texts, grave_violations
from tests.texts import LANGUAGES, VALUE, texts, translations

PANEL = "#pladis_txt2img_enabled"
SIZES = [(1366, 768), (390, 844)]
HOST = """
document.addEventListener("DOMContentLoaded", () => {
    const translate = (node) => {
        const walk = document.createTreeWalker(node, NodeFilter.SHOW_TEXT);
        for (let n = node.nodeType === 3 ? node : walk.nextNode(); n; n = walk.nextNode()) {
            const found = window.localization[n.data.trim()];
            if (found && !n.parentElement.closest("script, style, textarea")) n.data = found;
        }
    };
    new MutationObserver((records) => records.forEach((r) => r.addedNodes.forEach(translate)))
        .observe(document, { childList: true, subtree: true });
});
"""
SEEN = """(at) => {
    const walk = document.createTreeWalker(document.querySelector(at), NodeFilter.SHOW_TEXT);
    const found = [];
    for (let n = walk.nextNode(); n; n = walk.nextNode()) {
        if (!n.parentElement.closest("ul, svg")) found.push(n.data.trim());
    }
    return found;
}"""


@pytest.fixture(params=sorted(LANGUAGES))
def translated(request: pytest.FixtureRequest, open_page: Any) -> Any:
    """The page with all of the panel open."""
    said = translations(request.param)
    page = open_page("light", 1366, 768, f"window.localization = {json.dumps(said)};" + HOST, request.param)
    open_all(page)
    page.wait_for_timeout(400)
    return page


def test_all_is_translated_and_nothing_is_cut(translated: Any, request: pytest.FixtureRequest) -> None:
    page, said = translated, translations(request.node.callspec.params["translated"])
    for name in ("schedule", "target"):
        called = [said[VALUE + value] for value in TABLE[name].choices]
        assert page.locator(f"#pladis_txt2img_{name} label").all_inner_texts() == called
    seen = page.evaluate(SEEN, PANEL)
    assert sorted(set(seen) & texts()) == [], "still in English"
    assert len([text for text in seen if not text.isascii()]) > 50
    label = page.get_attribute("#pladis_txt2img_curve svg", "aria-label")
    assert "tokens kept" not in label and "Example" not in label
    names = page.locator(f"{PANEL} input[aria-label]").evaluate_all("(all) => all.map((x) => x.ariaLabel)")
    assert names and set(names) & texts() == set(), "names for screen readers, still in English"
    for width, height in SIZES:
        page.set_viewport_size({"width": width, "height": height})
        assert cut_texts(page, PANEL) == [], width
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), width
        assert grave_violations(page, PANEL) == [], width

    page.fill("#txt2img_prompt textarea", "plain Steps, Compare")  # texts of the page as well
    at = "#pladis_txt2img_curve .pladis-token"
    page.wait_for_function("(at) => document.querySelectorAll(at).length === 5", arg=at, timeout=SOON)
    found = [text.strip("\u2060") for text in page.locator(at).all_text_contents()]
    assert found == ["<start>", "plain", "Steps", "Compare", "<end>"], "words of the prompt stay as they are"


def test_built_in_presets_have_names_in_the_list_and_english_ones_in_what_is_shared(
    translated: Any, request: pytest.FixtureRequest
) -> None:
    page = translated
    said = translations(request.node.callspec.params["translated"])
    called = {name: said[f"Preset · {name}"] for name in BUILT_IN}
    assert listed(page) == list(called.values())
    assert page.input_value("#pladis_txt2img_preset input") == called["Paper"]
    suggested = page.inner_text("#pladis_txt2img_suggestion b")
    assert suggested in called.values()
    for name in ("Official code", "Few steps"):
        choose(page, called[name])
        expect_value(page, "rescale", f"{BUILT_IN[name].settings.rescale:g}")
        expect_text(page, "preset_reason", said[BUILT_IN[name].reason])
        assert page.input_value("#pladis_txt2img_preset input") == called[name]
    page.click("#pladis_txt2img_preset_delete")
    expect_text(page, "preset_message", called["Few steps"])
    page.click("#pladis_txt2img_preset_show")
    expect_text(page, "preset_message", said["The settings above, as text:"])
    assert json.loads(page.input_value("#pladis_txt2img_preset_text textarea"))["name"] == "Few steps"
    page.click("#pladis_txt2img_suggestion .pladis-take")
    expect_text(page, "preset_reason", suggested)
    assert page.input_value("#pladis_txt2img_preset input") == suggested
