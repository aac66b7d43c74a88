"""Whose rows are whose in AUTOMATIC1111: `target`, whatever is called in a step."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lib_pladis.facts import Conditions
from lib_pladis.hosts.a1111 import A1111Model
from lib_pladis.settings import Settings
from tests.host.a1111 import generate, texts
from tests.host.first_step import first_step


@pytest.mark.parametrize(("target", "changed"), [("both", (1, 1)), ("positive", (1, 0)), ("negative", (0, 1))])
def test_target_rows_in_one_call(sd_model: Any, unet: Any, inputs: Any, target: str, changed: Any) -> None:
    batch = inputs(2)
    plain = batch.run(unet)
    (out, *_), _ = generate(sd_model, Settings(enabled=True, target=target), [batch])
    for row in range(2):
        difference = (out[0][row] - plain[row]).abs().max().item()
        assert difference > 1e-4 if changed[row] else difference < 1e-5


@pytest.mark.parametrize(("target", "changed"), [("positive", (True, False)), ("negative", (False, True))])
def test_target_rows_in_two_calls_of_another_length(
    sd_model: Any, unet: Any, inputs: Any, target: str, changed: Any
) -> None:
    batches = [inputs(3, 77), inputs(2, 154, seed=2)]  # AND with three positive rows, a longer negative
    plain = [batch.run(unet) for batch in batches]
    outputs, _ = generate(sd_model, Settings(enabled=True, target=target), batches)
    for out in outputs:
        assert [not torch.equal(a, b) for a, b in zip(out, plain)] == list(changed)


@pytest.mark.parametrize(("target", "row"), [("positive", 0), ("negative", 1)])
def test_target_with_more_network_calls_in_a_step_than_there_are_prompts(
    sd_model: Any, unet: Any, inputs: Any, target: str, row: Any
) -> None:
    """PAG calls once more with the positive prompt; MultiDiffusion calls with tiles of the whole batch."""
    batch, seen = inputs(2), texts([inputs(2)])
    again = inputs(2)
    again.x, again.t, again.context = batch.x[:1], batch.t[:1], batch.context[:1]
    tiles = inputs(2)
    tiles.x, tiles.t, tiles.context = batch.x.repeat(2, 1, 1, 1), batch.t.repeat(2), batch.context.repeat(2, 1, 1)
    plain = [each.run(unet) for each in (batch, again, tiles)]
    with first_step(A1111Model(sd_model), Settings(enabled=True, target=target), conditions=seen) as session:
        ours = [each.run(unet) for each in (batch, again, tiles)]
    found = [[bool((a - b).abs().max() > 1e-4) for a, b in zip(one, other)] for one, other in zip(ours, plain)]
    assert found == [[row == 0, row == 1], [row == 0], [row == 0, row == 1] * 2]
    assert session.passes[0].why_not == []


def test_a_call_passed_by_does_not_shift_the_rows_of_the_next(sd_model: Any, middle: Any) -> None:
    base = type(middle)
    middle.__class__ = type(
        "Sgm", (base,), {"forward": lambda self, x, context, crossed=0: base.forward(self, x, context)}
    )
    x, context = torch.randn(2, 16, 96), torch.randn(2, 77, 24) * 3
    with first_step(
        A1111Model(sd_model),
        Settings(enabled=True, target="positive", layers="m0"),
        conditions=Conditions(context[:1].clone(), context[1:].clone()),
    ):
        plain = base.forward(middle, x, context)
        assert torch.equal(middle(x, context=context, crossed=2), plain), "the host's own"
        out = middle(x, context=context)
    assert not torch.allclose(out[0], plain[0], atol=1e-4) and torch.allclose(out[1], plain[1], atol=1e-5)


def test_rows_that_nobody_can_know_are_left_alone_and_said_with_a_count(sd_model: Any, unet: Any, inputs: Any) -> None:
    """Another extension made contexts of its own: neither prompt's."""
    batch = inputs(2)
    plain = batch.run(unet)
    with first_step(
        A1111Model(sd_model), Settings(enabled=True, target="positive"), conditions=texts([inputs(2, seed=9)])
    ) as session:
        ours = batch.run(unet)
    torch.testing.assert_close(ours, plain, atol=1e-5, rtol=1e-5)
    assert session.passes[0].rows_blended == 0
    (reason,) = session.passes[0].why_not
    assert reason == "Apply to positive: which prompt is positive can't be known here, so nothing is blended (10 times)"


@pytest.mark.parametrize(("target", "changed"), [("positive", (True, False)), ("negative", (False, True))])
def test_marks_that_controlnet_sets_before_the_prompts(
    sd_model: Any, unet: Any, inputs: Any, target: str, changed: Any
) -> None:
    batch = inputs(2)
    plain, theirs = batch.run(unet), texts([batch])

    def marked(text: Any, mark: float) -> Any:
        return torch.cat([torch.full_like(text[:, :1], mark), text], dim=1)

    seen = Conditions(marked(theirs.positive, 1024.0), marked(theirs.negative, -1024.0))
    with first_step(A1111Model(sd_model), Settings(enabled=True, target=target), conditions=seen) as session:
        ours = batch.run(unet)
    assert [bool((a - b).abs().max() > 1e-4) for a, b in zip(ours, plain)] == list(changed)
    assert session.passes[0].why_not == []


def test_the_prompts_are_those_that_reach_the_network(sd_model: Any, unet: Any, inputs: Any) -> None:
    """A callback after ours may put another condition in the prompt's place: it is asked for when it is needed."""
    batch, conditions = inputs(2), [texts([inputs(2, seed=9)])]
    plain = batch.run(unet)
    with first_step(A1111Model(sd_model), Settings(enabled=True, target="positive"), conditions=lambda: conditions[-1]):
        conditions.append(texts([batch]))
        ours = batch.run(unet)
    assert (ours[0] - plain[0]).abs().max() > 1e-4 and (ours[1] - plain[1]).abs().max() < 1e-5


def test_padded_and_cut_contexts_are_still_their_prompts(sd_model: Any, unet: Any, inputs: Any) -> None:
    """`pad_cond_uncond` lengthens a condition after the callbacks, its old version may cut one."""
    batch = inputs(2, 154)
    plain = batch.run(unet)
    shorter = Conditions(batch.context[:1, :77].clone(), torch.cat([batch.context[1:], batch.context[:1]], 1))
    with first_step(A1111Model(sd_model), Settings(enabled=True, target="positive"), conditions=shorter):
        ours = batch.run(unet)
    assert (ours[0] - plain[0]).abs().max() > 1e-4 and (ours[1] - plain[1]).abs().max() < 1e-5


def test_the_same_prompt_twice_is_told_apart_by_the_hosts_order_alone(sd_model: Any, unet: Any, inputs: Any) -> None:
    batch = inputs(2)
    batch.context[1] = batch.context[0]
    plain = batch.run(unet)
    outputs, session = generate(sd_model, Settings(enabled=True, target="positive"), [batch], steps=1)
    assert (outputs[0][0][0] - plain[0]).abs().max() > 1e-4 and (outputs[0][0][1] - plain[1]).abs().max() < 1e-5
    assert session.passes[0].why_not == []
