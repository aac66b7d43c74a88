"""The live curve follows its sliders, in the panel's page, on the installed gradio, 3.41 or 4.40."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tests.browser.curve_page import Chart, softmax, sparse_by_sorting


def test_chart_follows_the_sliders(open_chart: Any) -> None:
    chart = open_chart()
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
    assert "norm × 0.4" in chart.summary()
    chart.set("rescale", 0)
    chart.expect(2.0, 1.5)
    assert "φ" not in chart.summary()


def test_values_set_by_gradio(open_chart: Any) -> None:
    chart = open_chart()
    chart.page.click("#txt2img_paste_plain")
    chart.expect(1.25, 1.75)
    assert "λ = 1.25, α = 1.75, T = 1.00" in chart.summary()


def test_tabs_are_separate(open_chart: Any) -> None:
    chart = open_chart()
    chart.set("scale", 0.5)
    chart.expect(0.5, 1.5)
    other = Chart(chart.page, "img2img")
    other.expect(2.0, 1.5)
    other.set("alpha", 2)
    other.expect(2.0, 2.0)
    chart.expect(0.5, 1.5)


def test_junk_keeps_the_last_picture(open_chart: Any) -> None:
    chart = open_chart()
    chart.set("alpha", 2)
    chart.expect(2.0, 2.0)
    for junk in ("", "abc", "-3", "1e9"):
        chart.set("alpha", junk)
        chart.page.wait_for_timeout(400)
        chart.expect(2.0, 2.0)
    chart.set("alpha", 1.5)
    chart.expect(2.0, 1.5)


def test_a_chart_that_was_taken_away_comes_back(open_chart: Any) -> None:
    chart = open_chart()
    chart.page.evaluate("document.querySelector('#pladis_txt2img_curve svg').remove()")
    chart.page.wait_for_selector("#pladis_txt2img_curve svg")
    chart.expect(2.0, 1.5)
