"""The live curve's picture in a real gradio page: bars, colours, sizes, and what a screen reader gets.

CURVE_SHOTS=<folder> keeps screenshots.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from tests.browser.curve_page import Chart, contrast, luminance


def test_negative_bars_hang_below_the_zero_line(open_chart: Any) -> None:
    chart = open_chart()
    chart.expect(2.0, 1.5)
    zero = chart.page.locator("#pladis_txt2img_curve .pladis-zero").bounding_box()["y"]
    bars = chart.page.locator("#pladis_txt2img_curve rect.pladis-blend")
    values = chart.values()["blend"]
    assert bars.count() == len(values) == len(chart.logits)
    for i, value in enumerate(values):
        box = bars.nth(i).bounding_box()
        middle = box["y"] + box["height"] / 2
        assert (middle > zero) == (value < 0), (i, value)
    assert sum(value < 0 for value in values) == 9
    assert "4 of 12 tokens kept · weights below 0: 9 · sum 1.00" in chart.summary()


def test_a_screen_reader_gets_the_numbers(open_chart: Any) -> None:
    chart = open_chart()
    svg = chart.page.locator("#pladis_txt2img_curve svg")
    assert svg.get_attribute("role") == "img"
    label = svg.get_attribute("aria-label")
    assert "λ = 2.00, α = 1.50, T = 1.00" in label
    assert "circle softmax 0.31, entmax 0.58, blend 0.86" in label


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_both_themes_are_readable(open_chart: Any, theme: str) -> None:
    chart = open_chart(theme=theme)
    chart.expect(2.0, 1.5)
    colours = chart.page.evaluate(
        """() => {
            const box = document.querySelector("#pladis_txt2img_curve .pladis-curve");
            const style = (at, name) => getComputedStyle(box.querySelector(at))[name];
            return {
                background: getComputedStyle(box).backgroundColor,
                outline: ["softmax", "entmax", "blend"].map((name) => style(`rect.pladis-${name}`, "stroke")),
                text: [style(".pladis-token", "fill"), style(".pladis-value", "fill"),
                       style(".pladis-tick", "fill"), style(".pladis-summary", "color"),
                       style(".pladis-legend > span", "color")],
                bars: [style("rect.pladis-softmax", "fill"), style("rect.pladis-entmax", "fill"),
                       style("rect.pladis-blend:not(.pladis-negative)", "fill"),
                       style("rect.pladis-negative", "fill"), style(".pladis-zero", "stroke")],
            };
        }"""
    )
    dark = luminance(colours["background"]) < 0.2
    assert dark == (theme == "dark")
    assert len(set(colours["bars"])) == 5
    plain, sparse, blended = colours["bars"][:3]
    assert contrast(plain, sparse) >= 3.0, "in grey, too"
    assert colours["outline"] == ["none", "none", colours["text"][0]], "the blend alone has a line around it"
    assert min(contrast(blended, plain), contrast(blended, sparse)) >= 1.5
    for colour in colours["text"]:
        assert contrast(colour, colours["background"]) >= 4.5, (theme, colour)
    for colour in colours["bars"]:
        assert contrast(colour, colours["background"]) >= 3.0, (theme, colour)


PROMPTS = {
    "example": "",
    "long": "watercolour, masterpiece, unphotographable, impressionistic, WWWWWWWWWWWWW, chiaroscuro, worn, on, "
    "kaleidoscopic, counterclockwise",
    "wide": "물감으로그린수채화, 青い四角の隣にある赤い丸, 一只红色的猫坐在桌子上",
}


INSIDE = """() => {
    const svg = document.querySelector("#pladis_txt2img_curve svg");
    const frame = svg.getBoundingClientRect();
    return [...svg.querySelectorAll("text, rect")].map((node) => {
        const box = node.getBoundingClientRect();
        return [node.textContent || node.className.baseVal,
                box.left >= frame.left - 1 && box.right <= frame.right + 1
                && box.top >= frame.top - 1 && box.bottom <= frame.bottom + 1];
    }).filter(([, fits]) => !fits);
}"""


def test_the_chart_fits_its_panel(open_chart: Any) -> None:
    chart = open_chart()
    for width, prompt in itertools.product((360, 760, 1400), PROMPTS):
        chart.page.set_viewport_size({"width": width, "height": 900})
        fits(chart, width, prompt)


def fits(chart: Chart, width: int, prompt: str) -> None:
    chart.page.fill("#txt2img_prompt textarea", PROMPTS[prompt])
    wanted = {"example": "example"}.get(prompt, "words")
    at = "#pladis_txt2img_curve .pladis-token"
    chart.page.wait_for_function(
        "([at, kind]) => { const row = pladis.row('txt2img'); return row.kind === kind"
        " && document.querySelectorAll(at).length === row.tokens.length; }",
        arg=[at, wanted],
    )
    chart.expect(2.0, 1.5)
    size = "[...document.querySelectorAll('#pladis_txt2img_curve .pladis-curve, #pladis_txt2img_curve svg')]"
    chart.page.wait_for_function(f"{size}.map((x) => x.clientWidth).every((x, i, [box]) => x === Math.max(200, box))")
    box = chart.page.locator("#pladis_txt2img_curve .pladis-curve").bounding_box()
    svg = chart.page.locator("#pladis_txt2img_curve svg").bounding_box()
    chart.shoot(f"width{width}-{prompt}")
    assert svg["width"] == pytest.approx(max(200, box["width"]), abs=1)
    assert 130 <= svg["height"] <= 220, "whatever the font of the lines around it"
    assert chart.page.evaluate(INSIDE) == [], (width, prompt)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_extreme_settings_draw_inside_the_axes(open_chart: Any, theme: str) -> None:
    chart = open_chart(theme=theme)
    for name, scale, alpha, temperature in (
        ("default", 2.0, 1.5, 1.0),
        ("off", 0.0, 1.5, 1.0),
        ("sparsemax", 5.0, 2.0, 1.0),
        ("strongest", 5.0, 2.0, 0.1),
    ):
        for setting, value in (("scale", scale), ("alpha", alpha), ("temperature", temperature)):
            chart.set(setting, value)
        chart.expect(scale, alpha, temperature)
        assert "sum 1.00" in chart.summary()
        outside = chart.page.evaluate(
            """() => {
                const all = (at) => [...document.querySelectorAll(`#pladis_txt2img_curve ${at}`)]
                    .map((node) => node.getBoundingClientRect());
                const lines = all(".pladis-grid, .pladis-zero").map((box) => box.top);
                const [top, bottom] = [Math.min(...lines) - 1, Math.max(...lines) + 1];
                return all(".pladis-bar").filter((box) => box.top < top || box.bottom > bottom);
            }"""
        )
        assert outside == [], name
        chart.shoot(f"{theme}-{name}")
