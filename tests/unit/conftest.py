"""Each test begins as a web UI does: no kernel has been tried yet."""

from __future__ import annotations

import pytest

from lib_pladis import attention


@pytest.fixture(autouse=True)
def fresh_kernels() -> None:
    attention._standing.cache_clear()
