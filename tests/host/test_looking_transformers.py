"""Looking inside a transformer: the maps of a layer against the weights computed anew in fp64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lib_pladis.hosts.forge import ForgeModel
from lib_pladis.run.probe import Columns, Probe
from lib_pladis.run.session import Session
from lib_pladis.run.step import Step
from lib_pladis.settings import Settings
from tests.host.test_function import CASES, PICTURE, Case, by_name, forge, function_of, run
from tests.networks import DIM
from tests.oracle import joint_weights

KINDS_OF = ("words", "words", "words", "end")
COLUMNS = Columns({"red": (0,), "circle": (1, 2)}, KINDS_OF)


def first_layers_weights(case: Case, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """(2, queries of the picture, keys of its text), dense and blended, of the first row, averaged over heads."""
    plain, count = getattr(case.module, function_of(case)), -1
    seen: list[Tensor] = []

    def function(q: Tensor, k: Tensor, v: Tensor, heads: int, *args: Any, **kwargs: Any) -> Tensor:
        nonlocal count
        count += 1
        if count == case.calls[0]:
            apart = (q, k) if kwargs.get("skip_reshape") else (split(q, heads), split(k, heads))
            seen.extend(x[:1] for x in apart)
        return plain(q, k, v, heads, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(case.module, function_of(case), function)
        run(case, case.network())
    query, key = seen
    text = torch.zeros(1, key.shape[2], dtype=torch.bool)
    text[:, case.text_at : case.text_at + case.own[0]] = True
    blended, dense = joint_weights(query, key, text, torch.ones(query.shape[2], dtype=torch.bool))
    both = torch.cat((dense, blended)).mean(1)
    return both[:, case.picture_at : case.picture_at + PICTURE, text[0]]


def split(x: Tensor, heads: int) -> Tensor:
    return x.reshape(len(x), -1, heads, DIM // heads).transpose(1, 2)


@by_name
def test_the_maps_are_those_of_the_text_in_fp64(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = case.layers.split(",")[0]
    expected = first_layers_weights(case, monkeypatch)
    pictures = []
    for probe in (None, Probe(("red", "circle"), lambda index, hires: [[COLUMNS]])):
        network = case.network()
        session = Session(Settings(enabled=True, layers=layer), log=lambda line: None)
        session.probe = probe
        with session.sampling():
            session.step(ForgeModel(forge(network)), Step(0, 1, size=(8, 8)))
            pictures.append(run(case, network, [0, 1]))
    assert torch.equal(*pictures), "looking changes nothing"
    assert probe is not None and probe.why_not == {} and probe.calls == 1
    (maps,), (sums,) = probe.passes["first"].maps.values(), probe.passes["first"].layers.values()
    for index, word in enumerate(probe.words):
        by_word = expected[..., list(COLUMNS.words[word])].sum(-1).view(1, 2, 4, 4)
        wanted = F.interpolate(by_word, size=(8, 8), mode="bilinear", align_corners=False)[0]
        torch.testing.assert_close(maps.mean[:, index].double(), wanted, atol=2e-5, rtol=0)
    assert sums.keys == case.own[0] and sums.by_kind is not None
    torch.testing.assert_close(sums.by_kind.sum(1).double(), expected.sum(-1).mean(1), atol=2e-5, rtol=0)


def test_a_row_without_text_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    case = next(case for case in CASES if case.name == "SD3")  # its second row has no text of its own
    session = Session(Settings(enabled=True), log=lambda line: None)
    session.probe = Probe(("red",), lambda index, hires: [[COLUMNS]])
    with session.sampling():
        network = case.network()
        session.step(ForgeModel(forge(network)), Step(0, 1, size=(8, 8)))
        run(case, network, [1, 0])
    assert session.probe.calls == 0 and session.probe.why_not == {}
