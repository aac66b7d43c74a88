"""What the tests in a browser share: the web UI that was named, a Chromium, and a page of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from curve_page import SCRIPTS, STYLE, WEBUI, Chart, launch_chromium, serve_app
from webui_page import WebPage

from tests.acceptance.webui import WebUI


@pytest.fixture(scope="module")
def ui(request: pytest.FixtureRequest) -> WebUI:
    """The one of `--webui`; a module's STEPS are its pictures' steps."""
    url = request.config.getoption("--webui").rstrip("/")
    if not url:
        pytest.skip("no web UI was named: use --webui http://127.0.0.1:7860")
    steps = getattr(request.module, "STEPS", None)
    ui = WebUI(url) if steps is None else WebUI(url, steps=steps)
    if ui.kind != "a1111":
        ui.size = 128  # the playground's own size, and the smallest that Forge's real architectures take
    return ui


@pytest.fixture(scope="module")
def chromium(ui: WebUI) -> Iterator[Any]:
    """One for a module; of the web UI's tests only, as two of them can't be driven from one thread."""
    with launch_chromium() as browser:
        yield browser


@pytest.fixture
def context(chromium: Any) -> dict[str, Any]:
    """What pages are opened with; a module may have its own."""
    return {"viewport": {"width": 1500, "height": 1300}}


@pytest.fixture
def web(ui: WebUI, chromium: Any, context: dict[str, Any]) -> Iterator[WebPage]:
    """A fresh page, without an error of PLADIS's script up to the end of the test."""
    page = chromium.new_page(**context)
    web = WebPage(page, ui)
    try:
        yield web
        assert web.problems == []
    finally:
        page.close()
        ui.restore_options()


# ---- the live curve by itself ------------------------------------------------------------


@pytest.fixture(scope="module")
def curve_browser() -> Iterator[Any]:
    with launch_chromium() as chromium:
        yield chromium


@pytest.fixture(scope="session")
def curve_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pytest.importorskip("gradio", reason="gradio is not installed")
    with serve_app(tmp_path_factory.mktemp("curve") / "app.log") as url:
        yield url


@pytest.fixture
def open_chart(curve_browser: Any, curve_address: str) -> Iterator[Any]:
    """open_chart(theme, width, webui) gives the chart of the txt2img tab."""
    contexts = []

    def opened(theme: str = "light", width: int = 760, webui: bool = True) -> Chart:
        context = curve_browser.new_context(viewport={"width": width, "height": 620})
        contexts.append(context)
        # Nothing but the app itself: gradio's own fonts and iframe script are not needed.
        context.route(lambda url: not url.startswith(curve_address.rstrip("/")), lambda route: route.abort())
        page = context.new_page()
        page.errors = []
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        if webui:
            page.add_init_script(WEBUI)
        for script in SCRIPTS:
            page.add_init_script(path=str(script))
        page.goto(f"{curve_address}?__theme={theme}")
        page.add_style_tag(path=str(STYLE))
        page.wait_for_selector("#pladis_txt2img_curve svg")
        return Chart(page)

    yield opened
    for context in contexts:
        context.close()
