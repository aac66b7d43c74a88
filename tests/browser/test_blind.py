"""Blind test on the page of a running web UI, as a person does it: `--webui http://127.0.0.1:7860`.

Draw, judge by keys, click and touch, reload in the middle, undo, the result, what the panel suggests then, and the file
to share. `PLADIS_SHOTS=FOLDER` saves pictures.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from access import cut_texts, grave_violations
from webui_page import WebPage, in_time

from tests.acceptance.webui import WebUI

STEPS = 2
LINES = ("a red circle left of a blue square", "a yellow star above a purple ring", "an orange star in the middle")
VIEW = "#pladis_txt2img_blind_view"
JUDGED = ".pladis-blind-head [role=status]"
WIDTHS = {"1366": (1366, 768), "390": (390, 844)}


class Voter:
    """Who has the Blind test before them."""

    def __init__(self, web: WebPage) -> None:
        self.web, self.page = web, web.page
        self.before: list[str] = []

    def open(self, theme: str = "light") -> None:
        self.web.open(theme)
        self.choose()

    def choose(self) -> None:
        self.web.choose("#script_list", "Blind test")
        self.page.wait_for_selector("#script_txt2img_blind_test_candidates", state="visible")

    @property
    def plan(self) -> Any:
        """What says how many pictures will be drawn."""
        return self.page.locator("#script_txt2img_blind_test_plan", has_text=re.compile(r"^\d+ pictures will be drawn"))

    def draw(self, lines: tuple[str, ...] = LINES, steps: int = STEPS) -> None:
        """Fill in the script and press Generate; returns at once."""
        self.before = [each["id"] for each in self.web.ui.request("/pladis/v1/votes")["tests"]]
        self.web.prepare()
        self.web.number("txt2img_steps", steps)
        self.page.locator("#script_txt2img_blind_test_source").get_by_label("Lines of my own").check()
        self.page.fill("#script_txt2img_blind_test_lines textarea", "\n".join(lines))
        self.page.click("#txt2img_generate")

    def expect_drawn(self) -> None:
        """Wait until the test that was drawn is shown."""
        new = "([at, before]) => { const all = document.querySelector(at); return all && !before.includes(all.value); }"
        self.page.wait_for_function(new, arg=["#pladis_txt2img_blind_tests", self.before], timeout=300_000)

    def expect_judged(self, judged: int, pairs: int) -> None:
        at, text = f"{VIEW} {JUDGED}", f"{judged} of {pairs} judged"
        wait = "([at, text]) => (document.querySelector(at) || {}).innerText === text"
        with in_time(lambda: f"{self.page.locator(at).all_inner_texts()}, not {text!r}"):
            self.page.wait_for_function(wait, arg=[at, text], timeout=300_000)

    def sources(self) -> list[str]:
        return self.page.locator(f"{VIEW} .pladis-blind-pair img").evaluate_all("all => all.map((each) => each.src)")


def newest(ui: WebUI) -> dict[str, Any]:
    return ui.request("/pladis/v1/votes")["tests"][0]


@pytest.fixture(params=list(WIDTHS))
def context(request: pytest.FixtureRequest) -> dict[str, Any]:
    """A laptop's screen, and a telephone's, which is touched."""
    width, height = WIDTHS[request.param]
    return {"viewport": {"width": width, "height": height}, "has_touch": width < 500}


@pytest.fixture
def voter(web: WebPage) -> Iterator[Voter]:
    someone = Voter(web)
    someone.open()
    yield someone


def answer(voter: Voter, name: str, touch: bool) -> None:
    at = voter.page.locator(f"#pladis_txt2img_blind_{name}")
    (at.tap if touch else at.click)()


def test_from_drawing_to_the_result(
    voter: Voter, ui: WebUI, chromium: Any, context: dict[str, Any], tmp_path: Path
) -> None:
    page, touch = voter.page, context["has_touch"]
    size = str(context["viewport"]["width"])
    shoot = voter.web.shoot
    voter.plan.wait_for()
    voter.draw()
    voter.expect_drawn()
    voter.expect_judged(0, 3)
    assert page.locator(f"{VIEW} blockquote").inner_text() in LINES
    assert page.locator(f"{VIEW} .pladis-blind-result").count() == 0, "nothing is told before the votes"
    page.wait_for_function("!document.querySelector('#txt2img_gallery img')")  # nor by the gallery: the preview goes
    first = voter.sources()
    assert len(first) == 2 and all(source.startswith("blob:") for source in first)
    page.locator(VIEW).scroll_into_view_if_needed()
    shoot(f"blind-{size}-light-pair")
    assert grave_violations(page, VIEW) == [] and cut_texts(page, VIEW) == []

    page.locator(f"{VIEW} .pladis-blind-picture").first.click()
    page.wait_for_selector("dialog.pladis-blind-large img", state="visible")
    shoot(f"blind-{size}-large")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog.pladis-blind-large", state="detached")

    if touch:
        answer(voter, "right", touch)
    else:
        page.keyboard.press("ArrowRight")
    voter.expect_judged(1, 3)
    assert voter.sources() != first

    voter.open("dark")  # another day, in the dark
    voter.expect_judged(1, 3)
    page.locator(VIEW).scroll_into_view_if_needed()
    shoot(f"blind-{size}-dark-pair")
    assert grave_violations(page, VIEW) == []
    page.keyboard.press("ArrowDown")
    voter.expect_judged(2, 3)
    page.keyboard.press("Backspace")
    voter.expect_judged(1, 3)
    answer(voter, "left", touch)
    voter.expect_judged(2, 3)
    answer(voter, "left", touch)
    voter.expect_judged(3, 3)
    result = page.locator(f"{VIEW} .pladis-blind-result")
    result.wait_for()
    assert re.search(r"\d+ %", result.inner_text()), result.inner_text()
    result.scroll_into_view_if_needed()
    shoot(f"blind-{size}-dark-result")
    assert cut_texts(page, VIEW) == []

    with page.expect_download() as html:
        page.locator("#pladis_txt2img_blind_html").click()
    with page.expect_download() as data:
        page.locator("#pladis_txt2img_blind_json").click()
    saved = json.loads(Path(data.value.path()).read_text(encoding="utf-8"))
    assert saved["id"] == newest(ui)["id"] and len(saved["votes"]) == 3
    names = [each["name"] for each in saved["candidates"]]
    for group in saved["groups"]:
        plain, on = group["infotexts"][names.index("PLADIS off")], group["infotexts"][1 - names.index("PLADIS off")]
        assert "PLADIS scale" in on and "PLADIS" not in plain
    assert html.value.suggested_filename.endswith(".html")
    html.value.save_as(tmp_path / "report.html")
    report = chromium.new_page()
    report.goto((tmp_path / "report.html").as_uri())
    assert report.locator("img").count() == 6
    assert report.locator("img").evaluate_all("all => all.every((each) => each.naturalWidth > 0)")
    assert "PLADIS scale: 2" in report.content()
    if size == "1366":
        WebPage(report, ui).shoot("blind-report")
    report.close()

    voter.open()
    shown = page.locator(f"{VIEW} .pladis-blind-result")
    shown.wait_for()
    voter.web.open_panel()
    page.wait_for_function(
        "() => document.querySelector('#pladis_txt2img_suggestion').innerText.includes('blind test of this checkpoint')"
    )
    page.locator("#pladis_txt2img_suggestion").scroll_into_view_if_needed()
    shoot(f"blind-{size}-suggestion")

    answer(voter, "more", touch)
    continued = page.locator("#script_txt2img_blind_test_test :is(textarea, input)").input_value()
    assert continued == saved["id"], "the test that is shown is continued"
    voter.web.prepare()
    voter.web.number("txt2img_steps", STEPS)
    page.click("#txt2img_generate")
    voter.expect_judged(3, 6)
    assert newest(ui)["id"] == saved["id"]


@pytest.mark.parametrize("context", ["1366"], indirect=True)
def test_a_web_ui_that_answers_late(web: WebPage) -> None:
    """It shows the script that was chosen a second later, when nothing else changes on the page."""

    def late(route: Any) -> None:
        time.sleep(1)
        route.continue_()

    web.open()
    web.page.wait_for_timeout(2000)
    web.page.route(re.compile(r"/run/predict|/queue/join"), late)
    voter = Voter(web)
    voter.choose()
    voter.plan.wait_for(timeout=20_000)


@pytest.mark.parametrize("context", ["1366"], indirect=True)
def test_interrupt_keeps_what_there_is(voter: Voter, ui: WebUI) -> None:
    voter.draw((*LINES, "a green triangle", "a grey ring"), steps=30)
    for _ in range(600):
        job = ui.request("/sdapi/v1/progress?skip_current_image=true")["state"]["job"]
        if re.match(r"Blind test: [1-9]", job):
            break
        voter.page.wait_for_timeout(200)
    voter.page.click("#txt2img_interrupt")
    voter.expect_drawn()
    test = newest(ui)
    assert 1 <= test["pairs"] < 5 and test["left_to_draw"] == 5 - test["pairs"]
    voter.expect_judged(0, test["pairs"])
    voter.web.shoot("blind-interrupted")
