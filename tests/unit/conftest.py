"""Each test begins as a web UI does: no kernel has been tried yet. And a web UI's generations, for those that ask."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from lib_pladis import attention
from lib_pladis.kernels import choice
from lib_pladis.kernels.base import Result
from lib_pladis.kernels.proof import Proofs, Verdict
from tests.generations import FakeModel, P
from tests.kernels import StandIn


@pytest.fixture(autouse=True)
def fresh_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    attention._standing.cache_clear()
    monkeypatch.setattr(choice, "PROOFS", Proofs())


@pytest.fixture
def proved(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if every kernel had been proved on this device."""
    monkeypatch.setattr(Proofs, "known", lambda *_: Verdict())


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Callable[..., StandIn]:
    """A kernel in Triton's place, which `auto` takes on the CPU; see `StandIn`."""

    def stand_in(what: Callable[[Result], Result | None] = lambda result: None) -> StandIn:
        kernel = StandIn(what)
        monkeypatch.setitem(choice.KERNELS, "triton", kernel)
        monkeypatch.setattr(choice, "AUTO", {"cpu": (kernel,)})
        return kernel

    return stand_in


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
