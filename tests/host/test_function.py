"""What is blended in transformers, against the same networks with the oracle for an attention."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lib_pladis.hosts.forge import ForgeModel
from lib_pladis.run.probe import Columns, Probe, scaled
from lib_pladis.settings import Settings
from tests.host.first_step import first_step
from tests.host.transformer_cases import Case, blended, by_name, forge, function_of, run


@by_name
def test_only_the_pictures_look_at_its_text_is_blended(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    network = case.network()
    off = run(case, network)
    with first_step(ForgeModel(forge(network))) as session:
        on = run(case, network)
    expected = blended(case, monkeypatch)
    torch.testing.assert_close(on.double(), expected, atol=2e-5, rtol=0)
    assert (on - off).abs().amax() > 1e-3
    report = session.passes[0]
    assert case.name.startswith(report.architecture)
    assert ",".join(report.layers_hooked) == case.layers
    assert (report.calls_seen, report.calls_blended, report.rows_blended) == (
        *[len(case.calls)] * 2,
        2 * len(case.calls),
    )
    assert report.text_keys == sorted(set(case.own))
    assert torch.equal(run(case, network), off)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


@by_name
def test_nothing_is_installed_at_lambda_0(case: Case) -> None:
    network = case.network()
    off, function = run(case, network), getattr(case.module, function_of(case))
    with first_step(ForgeModel(forge(network)), Settings(enabled=True, scale=0.0)):
        assert getattr(case.module, function_of(case)) is function
        assert torch.equal(run(case, network), off)


@by_name
def test_a_probe_sees_what_the_picture_spends_on_its_own_text(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    network = case.network()
    row = max(range(2), key=lambda row: case.own[row])
    own = case.own[row]
    columns = Columns({"word": (1, 2)}, ("words",) * (own - 1) + ("end",))
    probe = Probe(("word",), lambda index, hires: [[columns]])
    with first_step(ForgeModel(forge(network)), probe=probe, size=(8, 8)):
        run(case, network, labels=[1, 0] if row else [0, 1])
    seen: list[Tensor] = []
    blended(case, monkeypatch, seen=seen)
    (found,) = probe.passes.values()
    assert probe.why_not == {} and [str(name) for _, name in found.layers] == case.layers.split(",")
    for sums, weights in zip(found.layers.values(), seen):
        words, _, end, padding = sums.by_kind.double().T
        torch.testing.assert_close(words, weights[:, row, :, : own - 1].sum(-1).mean(-1), atol=1e-5, rtol=0)
        torch.testing.assert_close(end, weights[:, row, :, own - 1].mean(-1), atol=1e-5, rtol=0)
        assert padding.tolist() == [0, 0] and sums.keys == own
    for side in dict.fromkeys(name.side for _, name in found.layers):
        maps = [weights[:, row, :, 1:3].sum(-1) for (_, name), weights in zip(found.layers, seen) if name.side == side]
        wanted = scaled(torch.stack(maps).mean(0).view(2, 1, 4, 4), (8, 8))
        torch.testing.assert_close(found.maps[0, "first", side].mean.double(), wanted, atol=1e-5, rtol=0)


@by_name
def test_the_hosts_function_serves_what_is_not_blended(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted: every layer with queries that aren't the picture's asks the host's function for them, in its own form,
    and the result is what it was. A function that was chosen for its speed is named in the report."""
    network = case.network()
    theirs = getattr(case.module, function_of(case))
    calls: list[tuple[int, ...]] = []

    def attention_sage(q: Tensor, k: Tensor, v: Tensor, *args: object, **kwargs: object) -> Tensor:
        calls.append(tuple(q.shape))
        return theirs(q, k, v, *args, **kwargs)  # type: ignore[no-any-return]

    attention_sage.__module__ = theirs.__module__
    monkeypatch.setattr(case.module, function_of(case), attention_sage)
    run(case, network)
    whole, all_calls = sorted(calls), len(calls)
    calls.clear()
    with first_step(ForgeModel(forge(network))) as session:
        on = run(case, network)
    torch.testing.assert_close(on.double(), blended(case, monkeypatch), atol=2e-5, rtol=0)
    left_out = all_calls - len(case.calls)
    others = case.picture_at > 0 or case.text_at > 0 or case.given
    assert len(calls) >= left_out + (len(case.calls) if others else 0), (len(calls), all_calls)
    assert calls != whole
    assert any("attention_sage" in reason for reason in session.passes[0].reasons)
