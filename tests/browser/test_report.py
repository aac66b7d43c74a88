"""The alignment report's page in Chromium: on a desk and on a phone, light and dark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.align import page
from benchmarks.align.point import grid
from benchmarks.align.report import Report
from benchmarks.align.store import Record

# The smallest contrast of a text with the page or card that it stands on, by the formula of WCAG 2.2
CONTRAST = """() => {
    const light = (colour) => {
        const parts = colour.match(/[\\d.]+/g).slice(0, 3).map((one) => one / 255)
            .map((one) => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4);
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
    };
    const ground = (node) => {
        const colour = getComputedStyle(node).backgroundColor;
        return node.parentElement && /, 0\\)$/.test(colour) ? ground(node.parentElement) : colour;
    };
    const shown = [...document.querySelectorAll("body *")].filter((node) => !node.closest("style, title"))
        .filter((node) => [...node.childNodes].some((one) => one.nodeType === 3 && one.data.trim()));
    return Math.min(...shown.map((node) => {
        const style = getComputedStyle(node);
        const pair = [light(node.closest("svg") ? style.fill : style.color), light(ground(node))].sort();
        return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
    }));
}"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    (folder / "pictures").mkdir()
    Image.new("RGB", (512, 768), "teal").save(folder / "pictures" / "one.png")
    rng = np.random.default_rng(0)
    points = grid({"cfg": [7.0, 1.0], "scale": [0.5, 1.0, 2.0], "rescale": [0.0, 0.5, 1.0]})
    prompts = [f"a photograph of a bench left of a very-long-word-{'x' * 40} {number}" for number in range(8)]
    records = [
        Record(
            point,
            prompt,
            "position",
            1,
            {"CLIPScore": rng.normal(25 + point.scale * point.rescale)},
            "pictures/one.png",
        )
        for prompt in prompts
        for point in points
    ]
    common = {"model": "someones-own-model-XL_v12-pruned.safetensors [0123456789]", "negative": "worst quality, " * 9}
    page.write(Report(records, points, ["CLIPScore"]), folder, common, folder / "report.html")
    return folder / "report.html"


@pytest.mark.parametrize("width, scheme", [(1280, "light"), (1280, "dark"), (360, "light"), (360, "dark")])
def test_it_fits_is_readable_and_asks_for_nothing(report: Path, chromium: Any, width: int, scheme: Any) -> None:
    context = chromium.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    shown, said, asked = context.new_page(), [], []
    shown.on("console", lambda message: said.append(message.text))
    shown.on("request", lambda request: asked.append(request.url))
    shown.goto(report.as_uri())
    shown.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    assert shown.evaluate(CONTRAST) >= 4.5
    small = "[...document.querySelectorAll('svg text')].map((one) => one.getBoundingClientRect().height)"
    assert min(shown.evaluate(small)) >= 11, "px"
    assert shown.evaluate("[...document.images].every((one) => one.complete && one.naturalWidth === 171)")
    zeros = "[...document.querySelectorAll('.zero')].map((one) => Math.round(one.getBoundingClientRect().x))"
    assert len(set(shown.evaluate(zeros))) == 1, "0 stands in one line from row to row"
    assert [url for url in asked if not url.startswith("data:")] == [report.as_uri()] and not said
    context.close()
