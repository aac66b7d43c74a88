"""Other extensions at the same layers in AUTOMATIC1111."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lib_pladis.facts import Conditions
from lib_pladis.hosts.a1111 import A1111Model
from lib_pladis.settings import Settings
from tests.host.a1111 import ON, generate, reference_forward
from tests.host.first_step import first_step


def test_another_extensions_forward_is_left_alone_with_one_comment(sd_model: Any, inputs: Any, middle: Any) -> None:
    original = middle.forward

    def theirs(x: Any, context: Any = None, mask: Any = None) -> Any:
        return original(x, context, mask) * 0.5

    middle.forward = theirs
    comments: list[str] = []
    _, session = generate(sd_model, ON, [inputs()], comments=comments)
    assert middle.forward is theirs
    assert len(comments) == 1 and "m0.0" in comments[0] and "another extension" in comments[0]
    assert "m0.0" not in session.passes[0].layers_hooked and len(session.passes[0].layers_hooked) == 9


def adapter(module: Any, attn_forward_hacked: Any) -> Any:
    """Hook a layer as sd-webui-controlnet's IP-Adapter does: its function, bound, and its mark on the module."""
    attn_forward_hacked.__module__ = "scripts.ipadapter.plugable_ipadapter"
    module.ipadapter_hacks = [object()]
    module.forward = attn_forward_hacked.__get__(module, type(module))
    return module.forward


def test_an_ip_adapter_is_chained_exactly(sd_model: Any, inputs: Any, middle: Any) -> None:
    settings = Settings(enabled=True, layers="m0")
    x, context = torch.randn(2, 16, 96), torch.randn(2, 77, 24) * 3
    extra = torch.randn(2, 16, 96)
    plain_forward = type(middle).forward

    def attn_forward_hacked(self: Any, x: Any, context: Any = None, **kwargs: Any) -> Any:
        return plain_forward(self, x, context) + extra

    theirs = adapter(middle, attn_forward_hacked)
    with first_step(A1111Model(sd_model), settings) as session:
        chained = middle(x, context=context)
        expected = reference_forward(middle, x, context) + extra
    torch.testing.assert_close(chained, expected, atol=2e-5, rtol=1e-4)
    assert session.passes[0].layers_chained == ["m0.0"]
    assert middle.forward is theirs


@pytest.mark.parametrize(("target", "blended"), [("positive", 0), ("negative", 1)])
def test_a_chained_forward_sees_the_whole_batch_and_additional_tokens(
    sd_model: Any, middle: Any, target: str, blended: Any
) -> None:
    x, context, tokens = torch.randn(2, 16, 96), torch.randn(2, 77, 24) * 3, torch.randn(2, 3, 96)
    extra, batches = torch.randn(2, 16, 96), []
    plain_forward = type(middle).forward

    def attn_forward_hacked(self: Any, x: Any, context: Any = None, **kwargs: Any) -> Any:
        batches.append(len(x))
        return plain_forward(self, x, context) + extra

    adapter(middle, attn_forward_hacked)
    with first_step(
        A1111Model(sd_model),
        Settings(enabled=True, layers="m0", target=target),
        conditions=Conditions(context[:1].clone(), context[1:].clone()),
    ):
        out = middle(x, context=context, additional_tokens=tokens)
        expected = plain_forward(middle, x, context)
        expected[blended] = reference_forward(middle, x, context)[blended]
    assert batches == [2]
    torch.testing.assert_close(out, expected + extra, atol=2e-5, rtol=1e-4)


def test_somebody_who_wraps_us_keeps_his_wrapper_and_gets_the_plain_attention(
    sd_model: Any, inputs: Any, middle: Any
) -> None:
    x, context = torch.randn(1, 16, 96), torch.randn(1, 77, 24)
    with torch.no_grad():
        plain = middle(x, context=context)
        with first_step(A1111Model(sd_model)):
            inner = middle.forward
            middle.forward = wrapper = lambda x, context=None, mask=None: inner(x, context, mask)
        assert middle.forward is wrapper
        assert torch.equal(middle(x, context=context), plain)


def test_an_adapter_that_has_gone_leaves_nothing_that_matters(sd_model: Any, inputs: Any, middle: Any) -> None:
    """Its mark stays on the middle, and the class's own forward as an attribute: plain PLADIS, bit for bit."""
    batch = inputs()
    clean, _ = generate(sd_model, ON, [batch], steps=1)
    middle.forward, middle.ipadapter_hacks = middle.forward, []
    left = vars(middle)["forward"]
    after, session = generate(sd_model, ON, [batch], steps=1)
    assert torch.equal(after[0][0], clean[0][0])
    assert session.passes[0].layers_chained == [] and len(session.passes[0].layers_hooked) == 10
    assert vars(middle)["forward"] is left


def test_a_foreign_forward_is_not_chained_because_an_adapter_was_there_once(
    sd_model: Any, unet: Any, inputs: Any, middle: Any
) -> None:
    """NegPiP's and Regional Prompter's forwards are not softmax attention plus something."""
    original = middle.forward

    def theirs(x: Any, context: Any = None, mask: Any = None) -> Any:
        return original(x, context, mask) * 0.5

    middle.forward, middle.ipadapter_hacks = theirs, [object()]
    batch = inputs()
    plain = Settings(enabled=True, layers="m0")
    before = batch.run(unet)
    outputs, session = generate(sd_model, plain, [batch], steps=1)
    assert torch.equal(outputs[0][0], before)
    assert session.passes[0].layers_chained == session.passes[0].layers_hooked == []
    assert any("belongs to another extension" in reason for reason in session.passes[0].why_not)


def test_a_hook_that_somebody_put_back_later_is_no_foreign_one(
    sd_model: Any, unet: Any, inputs: Any, middle: Any
) -> None:
    """An extension keeps the forward that it found, ours, and puts it back when ours has long gone."""
    batch = inputs()
    plain = batch.run(unet)
    kept = []
    with first_step(A1111Model(sd_model)) as session:
        kept.append(middle.forward)
        blended = batch.run(unet)
    middle.forward = kept[0]
    assert torch.equal(batch.run(unet), plain), "it passes through"
    outputs, session = generate(sd_model, ON, [batch], steps=1)
    assert torch.equal(outputs[0][0], blended)
    assert len(session.passes[0].layers_hooked) == 10 and session.passes[0].layers_chained == []


def test_layers_left_alone_are_one_comment_with_their_number(
    sd_model: Any, unet: Any, inputs: Any, attn2_of: Any
) -> None:
    for module in attn2_of(unet).values():
        module.forward = (lambda forward: lambda x, context=None, mask=None: forward(x, context, mask))(module.forward)
    comments: list[str] = []
    generate(sd_model, ON, [inputs()], steps=4, comments=comments)
    assert len(comments) == 1, comments
    assert "10 layers (d0.0 to u" in comments[0] and "were left alone" in comments[0]
