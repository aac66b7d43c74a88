"""Options of the whole suite, and how many examples a property is tried on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("quick", max_examples=50, deadline=None)
settings.register_profile("whole", max_examples=300, deadline=None)
settings.load_profile("whole" if os.environ.get("PLADIS_TESTS_WHOLE") == "1" else "quick")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--webui", default="", help="URL of a running web UI for the acceptance and browser tests")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """The one of all tests: a thread can drive no second."""
    from tests.browser.curve_page import launch_chromium

    with launch_chromium() as browser:
        yield browser
