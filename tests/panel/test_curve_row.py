"""Which row of attention the live curve shows: the words of the prompt, and after a look inside the real weights."""

from __future__ import annotations

from typing import Any

import pytest
from pages import SOON

from lib_pladis.webui.tokens import IN_BETWEEN
from tests.browser.curve_page import Chart

EXAMPLE = ["<start>", "a", "red", "circle", "left", "of", "a", "blue", "square", "on", "grey", "<end>"]
SEEN: dict[str, Any] = {
    "words": ["red", "circle", "blue square"],
    "plain": [0.08, 0.1, 0.02],
    "pladis": [0.12, 0.16, -0.01],
    "word": "circle",
    "from": {"scale": 2.0, "alpha": 1.5, "temperature": 1.0, "rescale": 0.0, "schedule": "constant"},
}


def write(chart: Chart, text: str) -> None:
    chart.page.fill(f"#{chart.tab}_prompt textarea", text)


def expect_tokens(chart: Chart, tokens: list[str]) -> None:
    chart.page.wait_for_function(
        "([at, wanted]) => [...document.querySelectorAll(at)]"
        ".map((node) => node.textContent.replace('\u2060', '')).join() === wanted",
        arg=[f"#pladis_{chart.tab}_curve .pladis-token", ",".join(tokens)],
        timeout=SOON,
    )


def about(chart: Chart) -> str:
    return chart.page.inner_text(f"#pladis_{chart.tab}_curve .pladis-about")


def look(chart: Chart, **changes: Any) -> None:
    """As pladis_view_look.js tells it."""
    chart.page.evaluate("([tab, seen]) => pladis.measured(tab, seen)", [chart.tab, {**SEEN, **changes}])


WORDS = {
    "a red circle left of a blue square": ["red", "circle", "left", "blue", "square"],
    "(red:1.2) circle, ((blue)) [square] <lora:style_v2:0.8>": ["red", "circle", "blue", "square"],
    "a cat BREAK a dog AND a bird :1.5": ["cat", "dog", "bird"],
    "[day:night:0.5] sky, well-lit, artist's 3d": ["day", "night", "sky", "well-lit", "artist's", "3d"],
    "red red Red": ["red", "Red"],
    "Über Straße, 빨간 원, 青い四角": ["Über", "Straße", "빨간", "원", "青い四角"],
    "BREAK, <lora:a:1>, the (of:1.3)": [],
}


def test_the_words_of_a_prompt(open_page: Any) -> None:
    words = "([all, between]) => all.map((each) => pladis.words(each, between))"
    found = open_page().evaluate(words, [list(WORDS), sorted(IN_BETWEEN)])
    assert dict(zip(WORDS, found)) == WORDS


def test_before_a_look_it_is_example_weights_on_the_prompts_words_and_says_so(open_chart: Any) -> None:
    chart = open_chart()
    assert chart.tokens == EXAMPLE and about(chart).startswith("Example:")
    write(chart, "a (green:1.2) star, pink ring")
    expect_tokens(chart, ["<start>", "green", "star", "pink", "ring", "<end>"])
    chart.expect(2.0, 1.5)
    assert about(chart) == "Example weights for your words; “Look inside” shows the real ones."
    assert about(chart) in chart.page.get_attribute("#pladis_txt2img_curve svg", "aria-label")
    chart.set("rescale", 1)
    chart.expect(2.0, 1.5, 1.0, 1.0)
    write(chart, " ")
    expect_tokens(chart, EXAMPLE)


def test_a_long_prompt_shows_its_first_words_and_how_many_there_are(open_chart: Any) -> None:
    chart = open_chart(width=360)
    write(chart, ", ".join(f"word{i}" for i in range(30)) + ", " + "x" * 5000)
    expect_tokens(chart, ["<start>", *(f"word{i}" for i in range(10)), "<end>"])
    assert about(chart).endswith("Shown: 10 of 31 words.")
    write(chart, "y" * 5000)
    expect_tokens(chart, ["<start>", "y" * 11 + "…", "<end>"])


def expect_blend(chart: Chart, blend: list[float]) -> None:
    """Wait until the chart shows it; fails with what it shows."""
    for _ in range(100):
        if chart.values()["blend"] == pytest.approx(blend, abs=1e-12):
            return
        chart.page.wait_for_timeout(100)
    assert chart.values()["blend"] == pytest.approx(blend, abs=1e-12)


def test_after_a_look_it_is_what_was_measured(open_chart: Any) -> None:
    chart = open_chart()
    write(chart, "a red circle left of a blue square")
    look(chart)
    expect_tokens(chart, SEEN["words"])
    values = chart.values()
    assert values["softmax"] == SEEN["plain"] and values["blend"] == pytest.approx(SEEN["pladis"], abs=1e-12)
    assert values["entmax"] == pytest.approx([0.1, 0.13, 0.005], abs=1e-12), "λ 2 is as far beyond it again"
    assert about(chart) == (
        "Measured in this picture, at the point that attends most to “circle” "
        "(mean over steps, layers and heads; α 1.5)."
    )
    assert "weights below 0: 1 · sum of these words: plain 0.20, PLADIS 0.27" in chart.summary()

    chart.set("scale", 1)
    expect_blend(chart, [0.1, 0.13, 0.005])
    chart.set("scale", 0)
    expect_blend(chart, SEEN["plain"])
    assert "no change (off)" in chart.summary()
    chart.set("scale", 4)
    chart.set("rescale", 1)
    blend = [0.16, 0.22, -0.04]
    factor = (sum(x * x for x in [*SEEN["plain"], 0.8]) / sum(x * x for x in [*blend, 0.66])) ** 0.5
    expect_blend(chart, [factor * weight for weight in blend])
    chart.set("rescale", 0)

    chart.set("alpha", 1.75)
    said = "for another α or T, generate again"
    chart.page.wait_for_function("(text) => document.body.innerText.includes(text)", arg=said)
    assert said in about(chart), "and the bars stay what was measured"
    assert chart.values()["entmax"] == pytest.approx([0.1, 0.13, 0.005], abs=1e-12)
    assert "α = 1.50" in chart.summary()


def test_where_the_scale_changed_from_step_to_step_there_is_no_sparse_bar(open_chart: Any) -> None:
    chart = open_chart()
    look(chart, **{"from": {**SEEN["from"], "schedule": "cosine"}})
    expect_tokens(chart, SEEN["words"])
    assert chart.values()["entmax"] == [] and len(chart.values()["blend"]) == 3
    assert "α-entmax" not in chart.page.inner_text("#pladis_txt2img_curve .pladis-legend")


def test_the_strongest_of_many_measured_words_are_shown_in_their_order(open_chart: Any) -> None:
    chart = open_chart()
    words = [f"w{i}" for i in range(20)]
    plain = [0.001 * (i % 10) for i in range(20)]
    look(chart, words=words, plain=plain, pladis=[0.0] * 18 + [-0.5, 0.0], word="w9")
    expect_tokens(chart, [f"w{i}" for i in (*range(4, 10), *range(14, 20))])
    assert about(chart).endswith("Shown: 12 of 20 words.")


def test_another_prompt_and_a_look_that_is_gone_end_it_and_each_tab_has_its_own(open_chart: Any) -> None:
    chart = open_chart()
    write(chart, "red circle")
    look(chart)
    expect_tokens(chart, SEEN["words"])
    write(chart, "red circles")
    expect_tokens(chart, ["<start>", "red", "circles", "<end>"])
    write(chart, "red circle")
    expect_tokens(chart, SEEN["words"])
    chart.page.evaluate("pladis.measured('txt2img', null)")
    expect_tokens(chart, ["<start>", "red", "circle", "<end>"])
    look(chart)
    assert chart.page.evaluate("pladis.row('img2img').kind") == "example"


def test_small_weights_have_an_axis_of_their_size(open_chart: Any) -> None:
    chart = open_chart()
    look(chart, plain=[0.004, 0.002, 0.001], pladis=[0.006, 0.003, -0.001])
    expect_tokens(chart, SEEN["words"])
    ticks = chart.page.locator("#pladis_txt2img_curve .pladis-tick").all_text_contents()
    assert len(ticks) == len(set(ticks)) and 4 <= len(ticks) <= 9, ticks
    heights = [
        chart.page.locator("#pladis_txt2img_curve rect.pladis-blend").nth(i).bounding_box()["height"] for i in range(3)
    ]
    assert heights[0] > 40 and heights[0] == pytest.approx(2 * heights[1], rel=0.1)
