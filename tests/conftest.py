"""Options of the whole suite."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--webui", default="", help="URL of a running web UI for the acceptance and browser tests")
