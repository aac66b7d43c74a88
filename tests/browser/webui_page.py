"""A running web UI's page in Chromium, driven as a person drives it; what test_webui.py stands on."""

from __future__ import annotations

import base64
import io
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curve_page import Chart
from PIL import Image

from tests.acceptance.webui import WebUI

PROMPT = "a red circle left of a blue square"
PAGE_TIMEOUT = 120_000  # ms: a real web UI on a busy machine
GENERATION_TIMEOUT = 300_000


@dataclass
class Shown:
    """What a tab shows after one generation: pictures, the infotext and the log under the gallery."""

    images: list[bytes]
    infotext: str
    log: str

    @property
    def picture(self) -> Image.Image:
        return Image.open(io.BytesIO(self.images[0])).convert("RGB")


# Answers of the page to "what is in the output of this tab?"; a preview of a running generation doesn't count
OUTPUT = """(tab) => {
    const text = (id) => (document.querySelector(id) || {}).innerText || "";
    const pictures = [...document.querySelectorAll(`#${tab}_gallery img`)]
        .filter((node) => !node.closest(".livePreview")).map((node) => node.src);
    return {
        sources: [...new Set(pictures)],
        infotext: text(`#html_info_${tab}`),
        log: text(`#html_log_${tab}`),
        error: text(`#html_log_${tab} .error`),
        busy: Boolean(document.querySelector(".progressDiv")),
    };
}"""

DONE = (
    "([tab, before]) => { const now = (" + OUTPUT + ")(tab);"
    " const changed = now.sources.length && String(now.sources) !== String(before.sources);"
    " return !now.busy && (changed || (now.error && now.log !== before.log)); }"
)

FETCH = """async (source) => {
    const answer = await fetch(source);
    const bytes = new Uint8Array(await answer.arrayBuffer());
    return btoa(Array.from(bytes, (b) => String.fromCharCode(b)).join(""));
}"""


@contextmanager
def in_time(words: Callable[[], str]) -> Iterator[None]:
    """An AssertionError in these words, asked for then, where the page keeps one waiting too long."""
    try:
        yield
    except Exception as error:
        if type(error).__name__ != "TimeoutError":
            raise
        raise AssertionError(words()) from None


class WebPage:
    """One open page. `problems` collects the console errors and exceptions that PLADIS's script caused."""

    def __init__(self, page: Any, ui: WebUI) -> None:
        self.page = page
        self.ui = ui
        self.problems: list[str] = []
        page.set_default_timeout(PAGE_TIMEOUT)
        page.on("console", self._console)
        page.on("pageerror", self._pageerror)

    def open(self, theme: str = "light") -> WebPage:
        """Load the page and wait until the host's own script has put the checkboxes into the accordions."""
        self.page.goto(f"{self.ui.url}/?__theme={theme}", wait_until="domcontentloaded")
        for tab in ("txt2img", "img2img"):
            self.page.wait_for_selector(f"#pladis_{tab}_enabled-visible-checkbox", state="attached")
        self.page.wait_for_selector("#txt2img_generate", state="visible")
        return self

    def leave(self) -> None:
        """For who uses the page next."""
        for event, listener in (("console", self._console), ("pageerror", self._pageerror)):
            self.page.remove_listener(event, listener)
        self.page.unroute_all()
        self.page.mouse.move(0, 0)
        if self.page.url != "about:blank":  # a test that was skipped has opened nothing
            self.page.evaluate("{ localStorage.clear(); sessionStorage.clear(); }")
        self.page.goto("about:blank")

    # ---- the panel ---------------------------------------------------------------------------

    def open_panel(self, tab: str = "txt2img", advanced: bool = False) -> Chart:
        """Open the accordion by its head, which ticks its checkbox too, and the chart in it, which it gives."""
        self._open(f"#pladis_{tab}_enabled", f"#pladis_{tab}_scale")
        if advanced:
            self._open(f"#pladis_{tab}_advanced", f"#pladis_{tab}_start")
        self._open(f"#pladis_{tab}_weights", f"#pladis_{tab}_curve")
        self.page.wait_for_selector(f"#pladis_{tab}_curve svg", state="visible")
        return Chart(self.page, tab)

    def _open(self, accordion: str, inside: str) -> None:
        if not self.page.locator(inside).is_visible():
            self.page.locator(f"{accordion} .label-wrap").first.click()
        self.page.wait_for_selector(inside, state="visible")

    def tick(self, on: bool, tab: str = "txt2img") -> None:
        """The checkbox in the accordion's head, by a click."""
        box = self.page.locator(f"#pladis_{tab}_enabled-visible-checkbox")
        box.set_checked(on)
        self.expect_enabled(on, tab)

    def expect_enabled(self, on: bool, tab: str = "txt2img") -> None:
        self.page.wait_for_function(
            "([id, on]) => document.querySelector(id).checked === on",
            arg=[f"#pladis_{tab}_enabled-visible-checkbox", on],
        )

    def expect_values(self, values: Mapping[str, float], tab: str = "txt2img") -> None:
        """Wait until the panel's sliders have these values; fails with what they have."""
        wanted = {f"#pladis_{tab}_{name} input[type=number]": value for name, value in values.items()}
        now = "(wanted) => Object.keys(wanted).map((at) => Number((document.querySelector(at) || {}).value))"
        close = f"(wanted) => ({now})(wanted).every((v, i) => Math.abs(v - Object.values(wanted)[i]) < 1e-6)"
        with in_time(lambda: f"sliders are {self.page.evaluate(now, wanted)}, not {dict(values)}"):
            self.page.wait_for_function(close, arg=wanted, timeout=60_000)

    def number(self, elem_id: str, value: float) -> None:
        """Type a number into a slider's box, and leave it."""
        box = self.page.locator(f"#{elem_id} input[type=number]").first
        box.fill(f"{value:g}")
        box.press("Tab")

    def set(self, name: str, value: float | str, tab: str = "txt2img") -> None:
        """Type a value into one of the panel's settings."""
        if isinstance(value, str):
            box = self.page.locator(f"#pladis_{tab}_{name}").locator("textarea, input[type=text]").first
            box.fill(value)
            box.press("Tab")
        else:
            self.number(f"pladis_{tab}_{name}", value)

    def fill_when_settled(self, box: Any, text: str) -> None:
        """Type into a box that the host empties once more when its answer to an earlier choice arrives."""
        for _ in range(10):
            box.fill(text)
            box.press("Tab")
            self.page.wait_for_timeout(1000)
            if box.input_value() == text:
                return
        raise AssertionError(f"the box has {box.input_value()!r}, not {text!r}")

    # ---- generating --------------------------------------------------------------------------

    def prepare(self, tab: str = "txt2img", prompt: str = PROMPT, seed: int = 7) -> None:
        """A small, quick, repeatable picture."""
        self.page.fill(f"#{tab}_prompt textarea", prompt)
        for name, value in (("steps", self.ui.steps), ("width", self.ui.size), ("height", self.ui.size)):
            self.number(f"{tab}_{name}", value)
        box = self.page.locator(f"#{tab}_seed input").first
        box.fill(str(seed))
        box.press("Tab")

    def generate(self, tab: str = "txt2img") -> Shown:
        """Press Generate and wait for what it brings: another picture, or an error."""
        before = self.page.evaluate(OUTPUT, tab)
        self.page.click(f"#{tab}_generate")
        self.page.wait_for_function(DONE, arg=[tab, before], timeout=GENERATION_TIMEOUT)
        now = self.page.evaluate(OUTPUT, tab)
        images = [base64.b64decode(self.page.evaluate(FETCH, source)) for source in now["sources"]]
        return Shown(images, now["infotext"], now["log"])

    def paste(self, infotext: str, tab: str = "txt2img") -> None:
        """Put an infotext into the prompt box and press the paste button; waits until the prompt was taken.

        Forge and Forge Neo take no prompt the first time that they run: their box has no default in ui-config.json yet.
        """
        self.page.fill(f"#{tab}_prompt textarea", infotext)
        self.page.click(f"#tab_{tab} #paste")
        with in_time(lambda: "the prompt was not pasted; Forge does that from its second start on"):
            self.page.wait_for_function(
                "([box, prompt]) => document.querySelector(box).value === prompt",
                arg=[f"#{tab}_prompt textarea", infotext.split("\n")[0]],
            )

    def send_to_img2img(self, enabled: bool = True) -> None:
        """Press the button, and wait until all that it sends is there: the picture and the panel's settings."""
        self.page.click("#txt2img_send_to_img2img")
        self.page.wait_for_selector("#img2img_generate", state="visible")
        self.expect_enabled(enabled, "img2img")
        if enabled:  # the panel opens by itself
            self.page.wait_for_selector("#pladis_img2img_scale", state="visible")
        self.page.wait_for_selector('#img2img_image img[src]:not([src=""])', state="attached")

    # ---- elsewhere on the page ---------------------------------------------------------------

    def go(self, title: str) -> None:
        """Another of the page's main tabs, by its title (Forge writes "Txt2img")."""
        text = re.compile(rf"^\s*{re.escape(title)}\s*$", re.IGNORECASE)
        self.page.locator("#tabs > .tab-nav > button").filter(has_text=text).click()

    def choose(self, dropdown: str, choice: str) -> None:
        """One choice of a dropdown, by its text."""
        box = self.page.locator(f"{dropdown} input").first
        box.click()
        box.fill(choice)  # narrows the list
        text = re.compile(rf"{re.escape(choice)}\s*$")  # after a tick, in the one that is chosen
        self.page.locator(f"{dropdown} ul li, ul.options li").filter(has_text=text).first.click()
        self.page.wait_for_function(
            "([at, choice]) => document.querySelector(at).value === choice", arg=[f"{dropdown} input", choice]
        )

    def shoot(self, name: str, at: str = "") -> None:
        """Save a picture of the page, or of one element, if PLADIS_SHOTS names a folder."""
        folder = os.environ.get("PLADIS_SHOTS")
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            path = str(Path(folder) / f"{name}.png")
            if at:
                self.page.locator(at).first.screenshot(path=path)
            else:
                self.page.screenshot(path=path, full_page=True)

    def _console(self, message: Any) -> None:
        where = json.dumps(message.location)
        if message.type == "error" and "pladis" in f"{where} {message.text}".lower():
            self.problems.append(f"{message.text} at {where}")

    def _pageerror(self, error: Any) -> None:
        if "pladis" in f"{error} {getattr(error, 'stack', '')}".lower():
            self.problems.append(str(error))
