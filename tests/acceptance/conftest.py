"""The web UI to test: `--webui URL`, as `tests/run.py --webui` passes it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.acceptance.webui import WebUI


@pytest.fixture(scope="session")
def url(request: pytest.FixtureRequest) -> str:
    given = request.config.getoption("--webui")
    if not given:
        pytest.skip("no web UI was named: use --webui http://127.0.0.1:7860")
    return given.rstrip("/")


@pytest.fixture(scope="session")
def session_ui(url: str) -> WebUI:
    ui = WebUI(url)
    if ui.kind == "playground":
        ui.size = 128  # what its model draws
    return ui


@pytest.fixture
def ui(session_ui: WebUI) -> Iterator[Any]:
    yield session_ui
    session_ui.restore_options()


@pytest.fixture(scope="session")
def off(session_ui: WebUI) -> Any:
    """The host's own picture."""
    return session_ui.txt2img([False])
