"""Options of the gate."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--whole", action="store_true", help="the whole matrix of kernels, hours")
    parser.addoption("--table", action="store_true", help="write what was compiled to docs/kernels.md")
