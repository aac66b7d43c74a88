"""Where blending fails the host's own attention stands in, in every host; what that raises is the host's."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lib_pladis.facts import Conditions
from lib_pladis.hosts.a1111 import A1111Model
from lib_pladis.hosts.forge import ForgeModel
from lib_pladis.kernels.choice import Kernels
from lib_pladis.settings import Settings
from tests import networks
from tests.host.first_step import first_step
from tests.host.transformer_cases import CASES, forge, run

SAID = "the web UI's own attention was used where PLADIS failed: NotImplementedError: not on this device"


class Broken(Kernels):
    """Kernels on a device that lacks what even the last resort among them needs; so many calls succeed before."""

    def __init__(self, working: int = 0) -> None:
        super().__init__("torch")
        self.working = working

    def attend(self, *args: Any, **kwargs: Any) -> Any:
        self.working -= 1
        if self.working < 0:
            raise NotImplementedError("not on this device")
        return super().attend(*args, **kwargs)


@pytest.mark.parametrize("target", ["both", "positive"])
def test_a_u_net(sd_model: Any, unet: Any, inputs: Any, target: str, capsys: Any) -> None:
    batch = inputs()
    plain = batch.run(unet)
    settings, seen = Settings(enabled=True, target=target), Conditions(batch.context[:1], batch.context[1:])
    with first_step(A1111Model(sd_model), settings, seen, kernels=Broken()) as session:
        assert torch.equal(batch.run(unet), plain)
    report = session.passes[0]
    assert (report.calls_seen, report.calls_blended, report.rows_blended, report.calls_failed) == (10, 0, 0, 10)
    assert session.comments == [f"PLADIS: 10 of 10 attention calls: {SAID} (10 times)"]
    assert capsys.readouterr().err.count("Traceback") == 1


def test_a_transformer_of_which_some_calls_are_blended() -> None:
    case = CASES[0]
    network = case.network()
    off = run(case, network)
    with first_step(ForgeModel(forge(network)), kernels=Broken(3)) as session:
        on = run(case, network)
        assert not torch.equal(on, off)
    report = session.passes[0]
    assert (report.calls_blended, report.calls_failed) == (3, 2) and SAID in session.comments[0]
    assert torch.equal(run(case, network), off)


def test_an_error_of_the_hosts_own_attention_is_the_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES[0]
    network = case.network()

    def theirs(*args: Any, **kwargs: Any) -> Any:
        raise ZeroDivisionError("theirs")

    theirs.__module__ = networks.__name__
    monkeypatch.setattr(networks, "attention_function", theirs)
    model = ForgeModel(forge(network))
    with first_step(model, kernels=Broken()), pytest.raises(ZeroDivisionError, match="theirs"):
        run(case, network)
    monkeypatch.undo()
