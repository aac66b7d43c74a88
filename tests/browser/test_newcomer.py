"""Three things that somebody wants who has read nothing, found by what the page says: `--webui http://127.0.0.1:7860`.

Each takes few clicks; the seconds are printed. Nothing is found by its id.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import TimeoutError
from webui_page import WebPage

from tests.acceptance.webui import WebUI
from tests.browser.access import height_at_once


class Person:
    """Who sees labels, and clicks on what has one."""

    def __init__(self, web: WebPage) -> None:
        self.page = web.page
        self.clicks = 0
        self.start = time.monotonic()
        web.open()

    def seen(self, text: str) -> Any:
        """What is to be seen and has just this text."""
        return self.page.get_by_text(text, exact=True).locator("visible=true").first

    def click(self, text: str) -> None:
        self._click(self.seen(text))

    def press(self, button: str) -> None:
        self._click(self.page.get_by_role("button", name=button, exact=True).locator("visible=true").first)

    def tick(self, text: str) -> None:
        box = self.page.get_by_label(text, exact=True).locator("visible=true").first
        self._click(box)
        assert box.is_checked(), text

    def field(self, label: str) -> Any:
        """The box that one types into under a label."""
        return self._around(label).locator("input:not([type=range]), textarea").locator("visible=true").first

    def type(self, label: str, text: str) -> None:
        self._click(self.field(label))
        self.field(label).fill(text)
        self.field(label).press("Tab")

    def choose(self, label: str, choice: str) -> None:
        """One of a list; who doesn't find it there closes the list and opens it again."""
        option = self.page.locator("li").filter(has_text=re.compile(rf"{re.escape(choice)}\s*$"))
        option = option.locator("visible=true").first
        for _ in range(10):
            self._click(self.field(label))
            try:
                option.wait_for(timeout=3000)
                break
            except TimeoutError:
                self.page.keyboard.press("Escape")
                self.field(label).blur()
                self.page.wait_for_timeout(3000)
                self.clicks -= 1
        self._click(option)

    def generate(self) -> None:
        self.press("Generate")
        self.page.get_by_text(re.compile(r"Time taken")).locator("visible=true").first.wait_for(timeout=300_000)

    def maps(self) -> list[str]:
        """The heat maps that are shown, plain and with PLADIS."""
        shown = self.page.get_by_role("img", name=re.compile("^(plain|PLADIS): mean weight"))
        return [each.get_attribute("src") for each in shown.locator("visible=true").all()]

    def done(self, clicks: int) -> None:
        seconds = time.monotonic() - self.start
        print(f"{self.clicks} clicks, {seconds:.0f} s")
        assert self.clicks <= clicks

    def _around(self, label: str) -> Any:
        own = self.page.get_by_text(label, exact=True)
        return self.page.locator(".block", has=own).locator("visible=true").last

    def _click(self, at: Any) -> None:
        at.click()
        self.clicks += 1


@pytest.fixture
def context() -> dict[str, Any]:
    """A common laptop's screen."""
    return {"viewport": {"width": 1366, "height": 768}}


@pytest.fixture
def person(web: WebPage, ui: WebUI) -> Iterator[Person]:
    someone = Person(web)
    if ui.kind != "playground":  # where a prompt stands there already
        web.prepare()  # and a size that a processor draws in time
    yield someone


def test_what_is_used_most_is_seen_at_one_glance(person: Person) -> None:
    person.click("PLADIS")
    person.seen("Blind test").wait_for()
    assert height_at_once(person.page, "txt2img") <= 320


def test_where_did_blue_go(person: Person) -> None:
    person.click("PLADIS")
    person.tick("Look inside")
    person.generate()
    person.page.get_by_role("img", name=re.compile("^PLADIS: mean weight")).first.wait_for()
    before = person.maps()
    person.press("blue")
    person.page.wait_for_function(
        "(last) => [...document.querySelectorAll('figure img')].every((image) => image.src !== last)", arg=before[0]
    )
    assert len(before) == 2 and not set(before) & set(person.maps())
    for half in ("plain", "PLADIS"):
        assert person.seen(half).is_visible()
    person.done(4)


def test_what_did_it_change(person: Person) -> None:
    person.click("PLADIS")
    person.tick("Compare")
    person.generate()
    knob = person.seen("⇔")
    knob.wait_for()
    line = person.page.get_by_role("slider").filter(has=knob)
    assert person.seen("plain").is_visible()
    assert line.get_attribute("aria-valuenow") == "50"
    knob.hover()  # which scrolls until it is in sight, also where the column sticks
    box = knob.bounding_box()
    person.page.mouse.down()
    person.page.mouse.move(box["x"] - 100, box["y"] + box["height"] / 2, steps=4)
    person.page.mouse.up()
    person.clicks += 1
    assert int(line.get_attribute("aria-valuenow")) < 45
    person.done(4)


def test_keep_these_settings_and_have_them_again(person: Person, web: WebPage) -> None:
    name = f"mine {time.time_ns()}"
    person.click("PLADIS")
    person.type("Scale (λ)", "1.3")
    person.click("My presets")
    person.type("Name", name)
    person.press("Save these settings")
    person.seen("Saved:").wait_for()
    web.open()
    person.click("PLADIS")
    assert person.field("Scale (λ)").input_value() == "2"
    person.choose("Preset", name)
    person.page.wait_for_function("() => document.body.innerText.includes('λ 1.3 · α 1.5')")
    assert person.field("Scale (λ)").input_value() == "1.3"
    person.done(10)
    person.click("My presets")
    person.press("Delete")
    person.page.get_by_text(re.compile("^Deleted")).locator("visible=true").first.wait_for()
