"""The panel's page in Chromium, its data folder, and no error of a script up to the end of a test."""

from __future__ import annotations

import functools
import json
import socket
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pages import APP, SCRIPTS, STYLE, open_part

from playground import server
from tests.browser.curve_page import WEBUI, Chart, only

CLOSED = """addEventListener("DOMContentLoaded", () => document.head.append(
    Object.assign(document.createElement("style"),
        { id: "closed", textContent: "[id$=_preset] { display: none }" })
));"""
"""The panels look closed until this element has gone."""


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Iterator[Callable[[str, str], str]]:
    """address(language, begins) is the page's, whose server speaks it and begins with these settings (as JSON)."""
    pytest.importorskip("gradio", reason="gradio is not installed here")
    log = tmp_path_factory.mktemp("panel") / "app.log"
    command = [sys.executable, str(APP), str(data)]
    with log.open("w") as out, subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out, stderr=out) as app:
        assert app.stdin
        lines = app.stdin

        @functools.cache
        def serve(language: str, begins: str) -> str:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
            asked = {"port": port, "language": language, "begins": json.loads(begins)}
            lines.write(json.dumps(asked).encode() + b"\n")
            lines.flush()
            url = f"http://127.0.0.1:{port}"
            try:
                server.wait(app, url, "/", 120)
            except server.ServerError as error:
                raise AssertionError(log.read_text()) from error
            return url

        yield serve


class Pages:
    """Pages that tests use one after another, each loaded anew: gradio loads three times as fast in a used one."""

    def __init__(self, chromium: Any) -> None:
        self.chromium = chromium
        self.free: dict[tuple[str, bool], list[Any]] = defaultdict(list)
        self.errors: list[str] = []

    def take(self, init: str, clock: bool) -> Any:
        """One that nobody uses, with `init` before its scripts, and a clock that can be put forward."""
        if self.free[init, clock]:
            return self.free[init, clock].pop()
        page = self.chromium.new_context(**only("http://127.0.0.1")).new_page()
        if clock:
            page.clock.install()
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda said: self.errors.append(said.text) if _is_ours(said) else None)
        page.add_init_script(WEBUI + init)
        for script in SCRIPTS:
            page.add_init_script(path=str(script))
        return page

    def give_back(self, page: Any, init: str, clock: bool) -> None:
        page.unroute_all()
        page.mouse.move(0, 0)
        page.goto("about:blank")
        self.free[init, clock].append(page)


@pytest.fixture(scope="session")
def pages(chromium: Any) -> Iterator[Pages]:
    made = Pages(chromium)
    yield made
    for page in (page for free in made.free.values() for page in free):
        page.context.close()


@pytest.fixture
def open_page(pages: Pages, address: Callable[[str, str], str]) -> Iterator[Callable[..., Any]]:
    """open_page(...) gives the page; `init` runs before its scripts, `closed`: with the panels closed.

    `clock`: with a clock that can be put forward.
    """
    used = []
    pages.errors.clear()

    def opened(
        theme: str = "light",
        width: int = 900,
        height: int = 900,
        init: str = "",
        language: str = "",
        begins: str = "{}",
        closed: bool = False,
        clock: bool = False,
    ) -> Any:
        url = address(language, begins)
        init += CLOSED if closed else ""
        page = pages.take(init, clock)
        used.append((page, init, clock))
        page.set_viewport_size({"width": width, "height": height})
        page.goto(f"{url}?__theme={theme}")
        page.add_style_tag(path=str(STYLE))
        page.wait_for_function("pladis.values('txt2img') !== null && pladis.values('img2img') !== null")
        return page

    yield opened
    errors = list(pages.errors)
    for each in used:
        pages.give_back(*each)
    assert errors == []


def _is_ours(said: Any) -> bool:
    """An error on the console that is not gradio's own: of a file that this test doesn't let it load."""
    return said.type == "error" and not any(each in said.text for each in ("ERR_PROXY", "fonts.g"))


@pytest.fixture
def open_chart(open_page: Callable[..., Any]) -> Callable[..., Chart]:
    """open_chart(...) as open_page, with the attention weights of both tabs unfolded; gives txt2img's chart."""

    def opened(**options: Any) -> Chart:
        page = open_page(**options)
        for tab in ("txt2img", "img2img"):
            open_part(page, "weights", "curve", tab)
        page.wait_for_selector("#pladis_txt2img_curve svg")
        return Chart(page)

    return opened


@pytest.fixture
def page(open_page: Callable[..., Any]) -> Any:
    return open_page()
