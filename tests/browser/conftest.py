"""What the tests in a browser share: the web UI that was named, a Chromium, and a page of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from curve_page import only
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


@pytest.fixture
def context(chromium: Any) -> dict[str, Any]:
    """What pages are opened with; a module may have its own."""
    return {"viewport": {"width": 1500, "height": 1300}}


@pytest.fixture(scope="session")
def pages() -> dict[str, Any]:
    """Pages by their options, which tests use one after another: one that has loaded a web UI loads it much faster."""
    return {}


@pytest.fixture
def web(ui: WebUI, chromium: Any, context: dict[str, Any], pages: dict[str, Any]) -> Iterator[WebPage]:
    """A page loaded anew, without an error of PLADIS's script up to the end of the test."""
    options = {**context, **only(ui.url)}
    page = pages[repr(options)] = pages.get(repr(options)) or chromium.new_page(**options)
    page.set_viewport_size(context["viewport"])
    web = WebPage(page, ui)
    try:
        yield web
        assert web.problems == []
    finally:
        web.leave()
        ui.restore_options()
