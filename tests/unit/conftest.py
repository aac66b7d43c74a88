"""Each test begins as a web UI does: no kernel has been tried yet. And a web UI's generations, for those that ask."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from lib_pladis import attention
from tests.generations import FakeModel, P


@pytest.fixture(autouse=True)
def fresh_kernels() -> None:
    attention._standing.cache_clear()


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The extension's generations, in a web UI with models that are names."""
    modules: Any = types.ModuleType("modules")
    shared: Any = types.ModuleType("modules.shared")
    modules.shared = shared
    modules.prompt_parser = SimpleNamespace(parse_prompt_attention=lambda text: [[text, 1.0]])
    shared.opts = SimpleNamespace(data={})
    shared.state = SimpleNamespace(time_start=1.0)
    monkeypatch.setitem(sys.modules, "modules", modules)
    monkeypatch.setitem(sys.modules, "modules.shared", shared)
    from lib_pladis.webui import generation

    monkeypatch.setattr(generation, "model_in_use", FakeModel)
    monkeypatch.setattr(generation, "check_layers", lambda model, layers: None)
    FakeModel.hooked.clear()
    generations = generation.Generations()
    P.generations = generations
    yield generations
    assert generations._sampling == []
    assert FakeModel.hooked == set(), "hooks left behind"
