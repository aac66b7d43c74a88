"""The live curve: its maths against `lib_pladis.math.sparse.entmax`, its picture in a real gradio page.

The page is a tiny app (curve_app.py) on the installed gradio, 3.41 or 4.40, in headless Chromium.
CURVE_SHOTS=<folder> keeps screenshots.
"""

from __future__ import annotations

import itertools
import json
import math
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from curve_app import PASTED
from curve_page import (
    WEBUI,
    Chart,
    blend,
    contrast,
    launch_chromium,
    luminance,
    serve_app,
    softmax,
    sparse_by_sorting,
)

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "javascript" / "pladis.js"
STYLE = ROOT / "style.css"

ALPHAS = [1.0, 1.0 + 1e-6, 1.01, 1.1, 1.25, 1.333, 1.5, 1.75, 1.9, 2.0]
TEMPERATURES = [0.1, 0.5, 1.0, 2.0]
SCALES = [0.0, 0.5, 1.0, 2.0, 5.0]
ROWS = [
    None,  # the chart's own logits
    [0.0, 0.0, 0.0],
    [3.0],
    [40.0, -40.0, 39.5, 0.0],
    [math.sin(7.0 * i) * 4.0 for i in range(77)],
]


# ---- maths -----------------------------------------------------------------------------------


EVALUATE = """(rows) => ({
    logits: pladis.logits,
    rows: rows.map(([z, scale, alpha, temperature]) => {
        const logits = z || pladis.logits;
        return {
            softmax: pladis.softmax(logits),
            entmax: pladis.entmax(logits.map((x) => x / temperature), alpha),
            blend: pladis.blend(logits, scale, alpha, temperature),
        };
    }),
})"""


def evaluate_in_javascript(rows: list[list[Any]]) -> dict[str, Any]:
    node = shutil.which("node")
    if node:
        program = (
            f"const pladis = require({json.dumps(str(SCRIPT))}); const evaluate = {EVALUATE};"
            "process.stdout.write(JSON.stringify("
            "evaluate(JSON.parse(require('fs').readFileSync(0, 'utf8')))));"
        )
        done = subprocess.run(
            [node, "-e", program],
            input=json.dumps(rows),
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(done.stdout)
    with launch_chromium() as chromium:
        page = chromium.new_page()
        page.add_script_tag(path=str(SCRIPT))
        return page.evaluate(EVALUATE, rows)


@pytest.fixture(scope="module")
def computed() -> tuple[list[list[Any]], dict[str, Any]]:
    rows = [
        [logits, scale, alpha, temperature]
        for logits, scale, alpha, temperature in itertools.product(ROWS, SCALES, ALPHAS, TEMPERATURES)
    ]
    return rows, evaluate_in_javascript(rows)


def test_maths_equals_lib_pladis_sparse(computed: tuple[list[list[Any]], dict[str, Any]]) -> None:
    torch = pytest.importorskip("torch", reason="lib_pladis.math.sparse needs torch")
    sys.path.insert(0, str(ROOT))
    from lib_pladis.math.sparse import entmax

    rows, answer = computed
    for (logits, scale, alpha, temperature), got in zip(rows, answer["rows"]):
        z = torch.tensor(logits or answer["logits"], dtype=torch.float64)
        dense = torch.softmax(z, dim=-1)
        sparse = entmax(z / temperature, alpha, dim=-1)
        want = {
            "softmax": dense,
            "entmax": sparse,
            "blend": scale * sparse + (1.0 - scale) * dense,
        }
        for name, weights in want.items():
            gap = (torch.tensor(got[name], dtype=torch.float64) - weights).abs().max().item()
            assert gap <= 1e-5, (name, logits, scale, alpha, temperature, gap)


def test_maths_equals_closed_forms(computed: tuple[list[list[Any]], dict[str, Any]]) -> None:
    rows, answer = computed
    seen = 0
    for (logits, scale, alpha, temperature), got in zip(rows, answer["rows"]):
        z = logits or answer["logits"]
        for weights in got.values():
            assert sum(weights) == pytest.approx(1.0, abs=1e-9)
        assert got["softmax"] == pytest.approx(softmax(z), abs=1e-12)
        if alpha == 1.0:
            assert got["entmax"] == pytest.approx(softmax([x / temperature for x in z]), abs=1e-12)
        if alpha in (1.5, 2.0):
            seen += 1
            want = sparse_by_sorting([x / temperature for x in z], alpha)
            assert got["entmax"] == pytest.approx(want, abs=1e-9)
            assert [w == 0 for w in got["entmax"]] == [w == 0 for w in want]
            assert got["blend"] == pytest.approx(blend(z, scale, alpha, temperature), abs=1e-8)
    assert seen == len(ROWS) * len(SCALES) * len(TEMPERATURES) * 2


# ---- the page --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launch_chromium() as chromium:
        yield chromium


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pytest.importorskip("gradio", reason="gradio is not installed")
    with serve_app(tmp_path_factory.mktemp("curve") / "app.log") as url:
        yield url


@pytest.fixture
def open_chart(browser: Any, address: str) -> Iterator[Any]:
    """open_chart(theme, width, webui) gives the chart of the txt2img tab."""
    contexts = []

    def opened(theme: str = "light", width: int = 760, webui: bool = True) -> Chart:
        context = browser.new_context(viewport={"width": width, "height": 620})
        contexts.append(context)
        # Nothing but the app itself: gradio's own fonts and iframe script are not needed.
        context.route(lambda url: not url.startswith(address.rstrip("/")), lambda route: route.abort())
        page = context.new_page()
        page.errors = []
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        if webui:
            page.add_init_script(WEBUI)
        page.add_init_script(path=str(SCRIPT))
        page.goto(f"{address}?__theme={theme}")
        page.add_style_tag(path=str(STYLE))
        page.wait_for_selector("#pladis_txt2img_curve svg")
        return Chart(page)

    yield opened
    for context in contexts:
        context.close()


@pytest.mark.parametrize("webui", [True, False], ids=["webui functions", "bare page"])
def test_chart_follows_the_sliders(open_chart: Any, webui: bool) -> None:
    chart = open_chart(webui=webui)
    chart.expect(2.0, 1.5)
    first = chart.values()
    assert first["softmax"] == pytest.approx(softmax(chart.logits), abs=1e-12)
    assert first["entmax"] == pytest.approx(sparse_by_sorting(chart.logits, 1.5), abs=1e-9)

    chart.set("alpha", 2, kind="range")
    chart.expect(2.0, 2.0)
    chart.set("scale", 4.5)
    chart.expect(4.5, 2.0)
    chart.set("temperature", 0.5)
    chart.expect(4.5, 2.0, 0.5)
    last = chart.values()
    assert last["softmax"] == first["softmax"], "temperature is the sparse branch's alone"
    assert chart.page.errors == []


def test_dragging_with_the_keyboard(open_chart: Any) -> None:
    chart = open_chart()
    slider = chart.page.locator("#pladis_txt2img_scale input[type=range]")
    slider.focus()
    for _ in range(4):
        chart.page.keyboard.press("ArrowRight")
    chart.expect(2.2, 1.5)


def test_rescaling_brings_the_blend_back_to_the_length_of_plain_attention(open_chart: Any) -> None:
    chart = open_chart()
    chart.expect(2.0, 1.5)
    before = chart.values()
    for rescale in (0.5, 1.0):
        chart.set("rescale", rescale)
        chart.expect(2.0, 1.5, 1.0, rescale)
        now = chart.values()
        assert (now["softmax"], now["entmax"]) == (before["softmax"], before["entmax"])
        assert f"φ = {rescale:.2f}" in chart.summary()
    assert math.dist(now["blend"], [0] * 12) == pytest.approx(math.dist(now["softmax"], [0] * 12), abs=1e-12)
    assert "brought back to length × 0.4" in chart.summary()
    chart.set("rescale", 0)
    chart.expect(2.0, 1.5)
    assert "φ" not in chart.summary()


STAGED = """async (tab) => {
    const frame = () => new Promise((done) => requestAnimationFrame(done));
    const input = document.querySelector(`#pladis_${tab}_scale input[type=number]`);
    const box = document.querySelector(`#pladis_${tab}_curve .pladis-curve`);
    const times = [];
    for (let i = 0; i < 40; i++) {
        const before = box.querySelector("svg");
        input.value = String(1 + i / 20);
        await frame();
        const start = performance.now();
        input.dispatchEvent(new Event("input", { bubbles: true }));
        const told = performance.now();
        await frame();                       // ours was asked for before this one
        box.getBoundingClientRect();         // with its layout
        const drawn = performance.now();
        if (box.querySelector("svg") === before) throw new Error("not drawn in the next frame");
        times.push([told - start, drawn - told]);
    }
    return times;
}"""


def test_the_chart_is_drawn_in_the_frame_after_the_slider_moves(open_chart: Any) -> None:
    chart = open_chart()
    chart.expect(2.0, 1.5)
    work = chart.page.evaluate(
        """() => {
            const box = document.querySelector("#pladis_txt2img_curve .pladis-curve");
            const times = [];
            for (let i = 0; i < 40; i++) {
                const start = performance.now();
                pladis.draw(box, { scale: 1 + i / 20, alpha: 1.5, temperature: 1, rescale: 0.5 }, 740);
                box.getBoundingClientRect();
                times.push(performance.now() - start);
            }
            return times;
        }"""
    )
    print(f"first paint {work[0]:.1f} ms, then {sorted(work)[20]:.1f} ms")
    assert work[0] <= 16 and sorted(work)[20] <= 16
    told, waited = zip(*chart.page.evaluate(STAGED, "txt2img"))
    print(f"the event {sorted(told)[20]:.1f} ms, to the chart {sorted(waited)[20]:.1f} ms")
    assert sorted(told)[20] + sorted(waited)[20] <= 16 * 2, "the next frame, at 60 a second"


def test_values_set_by_gradio(open_chart: Any) -> None:
    chart = open_chart()
    chart.page.click("#txt2img_paste")
    want = [
        PASTED["scale"] * s + (1 - PASTED["scale"]) * d
        for s, d in zip(
            chart.page.evaluate(
                "([a, t]) => pladis.entmax(pladis.logits.map((z) => z / t), a)",
                [PASTED["alpha"], PASTED["temperature"]],
            ),
            softmax(chart.logits),
        )
    ]
    deadline = time.monotonic() + 30
    while chart.values()["blend"] != pytest.approx(want, abs=1e-9):
        assert time.monotonic() < deadline, chart.summary()
        time.sleep(0.05)
    assert "λ = 3.25, α = 1.75, T = 0.50" in chart.summary()


def test_tabs_are_separate(open_chart: Any) -> None:
    chart = open_chart()

    def switch(tab: str) -> None:
        chart.page.locator("button:visible", has_text=re.compile(rf"^\s*{tab}\s*$")).click()

    chart.set("scale", 0.5)
    chart.expect(0.5, 1.5)
    switch("img2img")
    other = Chart(chart.page, "img2img")
    other.expect(2.0, 1.5)
    other.set("alpha", 2)
    other.expect(2.0, 2.0)
    switch("txt2img")
    chart.expect(0.5, 1.5)


def test_junk_keeps_the_last_picture(open_chart: Any) -> None:
    chart = open_chart()
    chart.set("alpha", 2)
    chart.expect(2.0, 2.0)
    box = chart.page.locator("#pladis_txt2img_alpha input[type=number]")
    for junk in ("", "abc", "-3", "1e9"):
        box.evaluate("(input, value) => { input.value = value; }", junk)
        chart.page.dispatch_event("#pladis_txt2img_alpha", "input")
        chart.page.wait_for_timeout(400)
        chart.expect(2.0, 2.0)
    box.evaluate("(input) => { input.value = '1.5'; }")
    chart.expect(2.0, 1.5)
    assert chart.page.errors == []


def test_a_chart_that_was_taken_away_comes_back(open_chart: Any) -> None:
    chart = open_chart()
    chart.page.evaluate("document.querySelector('#pladis_txt2img_curve svg').remove()")
    chart.page.wait_for_selector("#pladis_txt2img_curve svg")
    chart.expect(2.0, 1.5)


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
    assert "4 of 12 tokens kept · 9 pushed below 0 · sum 1.00" in chart.summary()


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


@pytest.mark.parametrize("width", [360, 760, 1400])
def test_the_chart_fits_its_panel(open_chart: Any, width: int) -> None:
    chart = open_chart(width=width)
    chart.expect(2.0, 1.5)
    box = chart.page.locator("#pladis_txt2img_curve .pladis-curve").bounding_box()
    svg = chart.page.locator("#pladis_txt2img_curve svg").bounding_box()
    chart.shoot(f"width{width}")
    assert svg["width"] == pytest.approx(max(260, box["width"]), abs=1)
    assert 150 <= box["height"] <= (280 if width < 400 else 220)
    inside = chart.page.evaluate(
        """() => {
            const svg = document.querySelector("#pladis_txt2img_curve svg");
            const frame = svg.getBoundingClientRect();
            return [...svg.querySelectorAll("text, rect")].map((node) => {
                const box = node.getBoundingClientRect();
                return [node.textContent || node.className.baseVal,
                        box.left >= frame.left - 1 && box.right <= frame.right + 1
                        && box.top >= frame.top - 1 && box.bottom <= frame.bottom + 1];
            }).filter(([, fits]) => !fits);
        }"""
    )
    assert inside == []


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
