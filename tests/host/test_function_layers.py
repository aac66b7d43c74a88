"""Transformers' layers by name, and what is said of them."""

from __future__ import annotations

import pytest
import torch

from lib_pladis.hosts.forge import ForgeModel
from lib_pladis.models import dit
from lib_pladis.models.base import Family
from lib_pladis.settings import Settings
from tests.host.first_step import first_step
from tests.host.transformer_cases import CASES, forge, run


@pytest.mark.parametrize("family", dit.FAMILIES, ids=lambda family: family.name)
def test_each_family_has_a_network_which_no_other_line_takes(family: Family) -> None:
    cases = [case for case in CASES if case.family == family.name]
    assert cases, f"no case of {family.name} in tests/host/transformer_cases.py"
    for case in cases:
        layers = dit.find(case.network())
        assert {layer.architecture for layer in layers.values()} == {family.name}
        assert ",".join(map(str, layers)) == case.layers


@pytest.mark.parametrize(("layers", "calls"), [("j0-1,s2", 3), ("s", 3), ("j1", 1), ("s1-s2", 2)])
def test_layers_are_chosen_by_name(layers: str, calls: int) -> None:
    case = CASES[0]
    network = case.network()
    with first_step(ForgeModel(forge(network)), Settings(enabled=True, layers=layers)) as session:
        run(case, network)
    assert session.passes[0].calls_blended == calls


def test_names_that_a_transformer_lacks_are_said() -> None:
    with first_step(ForgeModel(forge(CASES[0].network())), Settings(enabled=True, layers="d0")) as session:
        pass
    (comment,) = session.comments
    assert "got 'd0', which names no cross-attention layer of this model; it has j0, j1, s0, s1, s2" in comment


def test_the_log_says_the_architecture_and_its_text_keys() -> None:
    case = next(case for case in CASES if case.name == "Anima")
    with first_step(ForgeModel(forge(case.network()))) as session:
        run(case, session._hooked.network)
    (line,) = session.lines
    assert "on 3 of 3 cross-attention layers, 3 calls in 1 of 1 steps (Anima, 1 to 7 of 10 text keys" in line


def test_an_unknown_network_is_named() -> None:
    with first_step(ForgeModel(forge(torch.nn.Linear(2, 2)))) as session:
        pass
    assert "this model (Linear) has no cross-attention layers that PLADIS knows" in session.comments[0]
