"""The panel's page in Chromium, its data folder, and no error of a script up to the end of a test."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from pages import APP, SCRIPTS, STYLE, open_part

from tests.browser.curve_page import WEBUI, Chart, launch_chromium, serve_app

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
    """address(language, begins) is the page's, whose server speaks it; without: English, and the panel's defaults."""
    pytest.importorskip("gradio", reason="gradio is not installed here")
    with ExitStack() as running:

        @functools.cache
        def serve(language: str = "", begins: str = "{}") -> str:
            log = tmp_path_factory.mktemp("panel") / "app.log"
            variables = {"PLADIS_DATA": str(data), "PLADIS_LANGUAGE": language, "PLADIS_BEGINS": begins}
            return running.enter_context(serve_app(log, APP, **variables))

        yield serve


@pytest.fixture(scope="module")  # other modules of the same run start a Chromium of their own
def browser() -> Iterator[Any]:
    with launch_chromium() as chromium:
        yield chromium


@pytest.fixture
def open_page(browser: Any, address: Callable[[str, str], str]) -> Iterator[Callable[..., Any]]:
    """open_page(...) gives the page; `init` runs before its scripts, `closed`: with the panels closed."""
    contexts = []
    errors: list[str] = []

    def opened(
        theme: str = "light",
        width: int = 900,
        height: int = 900,
        init: str = "",
        language: str = "",
        begins: str = "{}",
        closed: bool = False,
    ) -> Any:
        url = address(language, begins)
        context = browser.new_context(viewport={"width": width, "height": height})
        contexts.append(context)
        context.route(lambda asked: not asked.startswith(url.rstrip("/")), lambda route: route.abort())
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda said: errors.append(said.text) if _is_ours(said) else None)
        page.add_init_script(WEBUI + init + (CLOSED if closed else ""))
        for script in SCRIPTS:
            page.add_init_script(path=str(script))
        page.goto(f"{url}?__theme={theme}")
        page.add_style_tag(path=str(STYLE))
        page.wait_for_function("pladis.values('txt2img') !== null && pladis.values('img2img') !== null")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert errors == []


def _is_ours(said: Any) -> bool:
    """An error on the console that is not gradio's own: of a file that this test doesn't let it load."""
    return said.type == "error" and not any(each in said.text for each in ("ERR_FAILED", "fonts.g"))


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
