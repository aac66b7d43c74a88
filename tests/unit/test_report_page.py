"""report.html: one file that says what the report says, asks nothing of the net and shows only what was drawn."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from benchmarks.align import charts, page
from benchmarks.align.point import Point, grid
from benchmarks.align.report import Report, difference_of
from benchmarks.align.store import Record

COMMON = {
    "model": "mine & <b>yours</b>",
    "steps": 4,
    "sampler": "Euler",
    "scheduler": "Karras",
    "width": 64,
    "height": 96,
}
PROMPT = 'a "cat" </figcaption><script>alert(1)</script>'
POINTS = grid({"cfg": [5.0, 1.0], "scale": [1.0, 2.0], "rescale": [0.0, 1.0]})


class Read(HTMLParser):
    """The page as a browser has it: what stands in tags, the text, and tags left open or closed twice."""

    EMPTY = frozenset(("meta", "img", "br"))

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


def drawn(folder: Path, points: Sequence[Point] = POINTS, prompts: int = 12) -> Report:
    """A report in which λ helps with φ = 1 and hurts without, at CFG 5 more than at CFG 1; a picture is in `folder`."""
    rng = np.random.default_rng(0)
    (folder / "pictures").mkdir(exist_ok=True)
    notes = PngImagePlugin.PngInfo()
    notes.add_text("parameters", "a secret")
    Image.new("RGBA", (300, 600), "red").save(folder / "pictures" / "one.png", pnginfo=notes)
    records = []
    for number in range(prompts):
        before = rng.normal(25, 3)
        for point in points:
            change = 0.0 if point.is_off else point.scale * point.cfg * (1 if point.rescale else -1) / 5
            noise = 0.0 if point.is_off else rng.normal(0, 0.1)
            value = {"CLIPScore": before + change + noise, "ImageReward": noise}
            records.append(Record(point, f"{PROMPT} {number}", "single", 7, value, "pictures/one.png"))
    return Report(records, points, ["CLIPScore", "ImageReward"])


@pytest.fixture
def text(tmp_path: Path) -> str:
    page.write(drawn(tmp_path), tmp_path, COMMON, tmp_path / "out" / "report.html")
    return (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_all_is_inside_the_file(text: str) -> None:
    read = Read(text)
    assert not read.wrong and not read.open
    assert not {"script", "link", "iframe", "object", "base"} & {tag for tag, _ in read.tags}
    sources = [
        value or "" for _, found in read.tags for name, value in found.items() if name in ("src", "href", "srcset")
    ]
    assert sources and all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert not re.search(r"https?:|url\(|@import", text)
    policy = [found["content"] for tag, found in read.tags if found.get("http-equiv") == "Content-Security-Policy"]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_words_of_others_stay_words(text: str) -> None:
    read = Read(text)
    assert "mine & <b>yours</b>" in read.text and PROMPT in read.text
    assert [tag for tag, _ in read.tags].count("b") == 4, "the names of the sheets, and nobody else's"
    assert "<script" not in text


def test_pictures_are_small_and_carry_no_notes(text: str) -> None:
    sources = [found["src"] or "" for tag, found in Read(text).tags if tag == "img"]
    for data in {base64.b64decode(source.split(",", 1)[1]) for source in sources}:
        assert b"secret" not in data
        with Image.open(io.BytesIO(data)) as picture:
            assert picture.format == "JPEG" and picture.size == (128, 256)


def test_it_says_what_the_report_says(text: str, tmp_path: Path) -> None:
    made, read = drawn(tmp_path), Read(text)
    for score in made.scores:
        for point in (point for point in POINTS if not point.is_off):
            one = made.estimate(point, score)
            assert one is not None and difference_of(one, score) in read.text
    assert "Of 8 settings 4 are clearly better than off and 4 clearly worse; 0 can't be told from it." in read.text
    for words in ("12 (12 single)", "64 × 96", "Euler Karras", "CFG=5, off: "):
        assert words in read.text
    cells = [found["class"] or "" for tag, found in read.tags if tag == "td" and "value" in (found.get("class") or "")]
    assert sum("better clear" in cell for cell in cells[:8]) == sum("worse clear" in cell for cell in cells[:8]) == 4


def test_one_prompt_makes_a_page_too(tmp_path: Path) -> None:
    page.write(drawn(tmp_path, prompts=1), tmp_path, {}, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "nan" not in re.sub('base64,[^"]*', "", text) and not Read(text).wrong


def test_sheets_are_those_of_the_best_and_the_worst_and_need_all_their_pictures(tmp_path: Path) -> None:
    made = drawn(tmp_path)
    assert page.chosen(made) == [
        Point(5, 2.0, rescale=1.0), Point(5, 2.0), Point(1, 2.0, rescale=1.0), Point(1, 2.0)
    ]  # fmt: skip
    (tmp_path / "pictures" / "one.png").unlink()
    page.write(made, tmp_path, COMMON, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<img" not in text and "Pictures</h2>" not in text and "CFG=5, off: " in text


def test_a_line_for_each_phi_in_a_panel_for_each_cfg_and_alpha(tmp_path: Path) -> None:
    made = drawn(tmp_path, grid({"cfg": [1.0, 5.0], "alpha": [1.5, 2.0], "scale": [2.0, 1.0], "rescale": [1.0, 0.0]}))
    panels = made.panels()
    assert list(panels) == ["CFG=5 α=1.5", "CFG=5 α=2", "CFG=1 α=1.5", "CFG=1 α=2"]
    assert list(panels["CFG=5 α=2"]) == ["φ=0", "φ=1"]
    assert panels["CFG=5 α=2"]["φ=1"] == [Point(5, 0.0), *(Point(5, x, 2.0, rescale=1.0) for x in (1.0, 2.0))]
    assert not drawn(tmp_path, grid({"cfg": [5.0], "rescale": [0.0, 1.0]})).panels(), "one λ is no curve"


def test_curves_stand_where_their_numbers_are() -> None:
    dots = [charts.Dot(0, 10, 10, 10, "off"), charts.Dot(1, 20, 15, 30, "on <1>")]
    drawing = charts.lines("CFG=5", "λ", "right %", [charts.Line(9, dots)], (0, 40), off=10)
    tall = charts.HEIGHT - charts.TOP - charts.BOTTOM
    read = Read(drawing)
    shown: list[dict[str, Any]] = [found for tag, found in read.tags if tag == "circle"]
    assert [float(one["cy"]) for one in shown] == pytest.approx(
        [charts.TOP + tall * 30 / 40, charts.TOP + tall * 20 / 40], abs=0.1
    )
    assert float(shown[0]["cx"]) < float(shown[1]["cx"])
    (bar,) = [found for tag, found in read.tags if found.get("class") == "bar"]
    assert (float(bar["y1"] or 0), float(bar["y2"] or 0)) == pytest.approx(
        (charts.TOP + tall * 25 / 40, charts.TOP + tall * 10 / 40), abs=0.1
    )
    assert "on <1>" in read.text and 'class="c1 dashed"' in drawing and not read.wrong


@pytest.mark.parametrize(
    "low, high, expected",
    [
        (0, 100, [0, 20, 40, 60, 80, 100]),
        (78.6, 101.3, [80, 85, 90, 95, 100]),
        (-0.31, 0.22, [-0.2, 0, 0.2]),
        (3, 3, [3]),
    ],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert charts.ticks(low, high) == pytest.approx(expected)
