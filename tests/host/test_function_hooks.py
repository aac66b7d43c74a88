"""An attention function stood in for, and put back."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from lib_pladis.facts import Step
from lib_pladis.hosts.forge import ForgeModel
from tests import networks
from tests.host.first_step import first_step
from tests.host.transformer_cases import CASES, forge, run
from tests.networks import TEXT


def test_hooks_stay_from_step_to_step() -> None:
    case = CASES[0]
    network = case.network()
    with first_step(ForgeModel(forge(network))) as session:
        ours = networks.attention_function
        session.step(ForgeModel(forge(network)), Step(1, 4))
        assert networks.attention_function is not ours  # another patcher, as after a swap
        model = forge(network)
        session.step(ForgeModel(model), Step(2, 4))
        ours = networks.attention_function
        session.step(ForgeModel(model), Step(3, 4))
        assert networks.attention_function is ours


def test_a_fault_inside_the_network_leaves_nothing() -> None:
    case = CASES[0]
    network: Any = case.network()
    function = networks.attention_function
    with pytest.raises(RuntimeError), first_step(ForgeModel(forge(network))):
        network(case.latent(), None, context=torch.zeros(2, 10, TEXT + 1))
    assert networks.attention_function is function
    assert torch.equal(run(case, network), run(case, case.network()))


def test_a_swap_moves_the_hooks() -> None:
    case = CASES[0]
    first, second = case.network(), case.network()
    with first_step(ForgeModel(forge(first))) as session:
        session.step(ForgeModel(forge(second)), Step(1, 4))
        assert not any(module._forward_pre_hooks for module in first.modules())
        assert torch.equal(run(case, first), run(case, case.network()))
        assert not torch.equal(run(case, second), run(case, first))
    assert [each.calls_blended for each in session.passes] == [0, 5]


def test_another_extensions_function_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES[0]
    network = case.network()
    theirs = networks.attention_function

    def function(*args: Any, **kwargs: Any) -> Tensor:
        return theirs(*args, **kwargs)

    function.__module__ = "extensions.nag"
    monkeypatch.setattr(networks, "attention_function", function)
    with first_step(ForgeModel(forge(network))) as session:
        assert networks.attention_function is function
    assert "5 layers (j0 to s2) belong to another extension (extensions.nag) and were left alone" in session.comments[0]
    monkeypatch.undo()


def test_one_that_wrapped_ours_stays_and_is_passed_through() -> None:
    case = CASES[0]
    network, theirs = case.network(), networks.attention_function
    off = run(case, network)
    with first_step(ForgeModel(forge(network))):
        ours = networks.attention_function
        wrapper = networks.attention_function = lambda *args, **kwargs: ours(*args, **kwargs)
    assert networks.attention_function is wrapper
    assert torch.equal(run(case, network), off)
    networks.attention_function = ours  # somebody puts back what stood there
    with first_step(ForgeModel(forge(network))):
        assert not torch.equal(run(case, network), off)
    assert networks.attention_function is ours
    assert torch.equal(run(case, network), off)
    networks.attention_function = theirs
