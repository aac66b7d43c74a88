"""Forwards that other extensions set on an attn2, on its instance or its class: chained where that is exact, else left
alone, and never switched off."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lib_pladis.facts import Conditions, Step
from lib_pladis.hosts.a1111 import A1111Model
from lib_pladis.hosts.forge import ForgeModel
from lib_pladis.settings import Settings
from tests.host.first_step import first_step
from tests.oracle import entmax_by_bisection

PATH = "middle_block.1.transformer_blocks.0.attn2"
ON = Settings(enabled=True, layers="m0")
EXTRA = 3


def signed(module: Any) -> Callable[..., Tensor]:
    """As NegPiP: the text is lengthened, the values of what was added change sign; half the batch at a time."""

    def forward(x: Tensor, context: Any = None, mask: Any = None, *args: Any, **kwargs: Any) -> Tensor:
        outs = []
        for half, text in zip(x.chunk(2), context.chunk(2)):
            text = torch.cat([text, text[:, :EXTRA] * 0.5], 1)
            q, k, v = module.to_q(half), module.to_k(text), module.to_v(text)
            v[:, -EXTRA:] = -v[:, -EXTRA:]
            q, k, v = (t.unflatten(-1, (module.heads, -1)).transpose(1, 2) for t in (q, k, v))
            outs.append(module.to_out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)))
        return torch.cat(outs)

    return forward


def by_hand(module: Any) -> Callable[..., Tensor]:
    """As Regional Prompter: an attention of its own."""

    def forward(x: Tensor, context: Any = None, mask: Any = None, *args: Any, **kwargs: Any) -> Tensor:
        classes: Any = type(module).__mro__
        return 0.5 * classes[1 if module.__class__.__name__ == "Theirs" else 0].forward(module, x, context)

    return forward


def formula(module: Any, x: Tensor, context: Tensor) -> Tensor:
    """What `signed` gives with weights by the oracle, in fp64."""
    x, text = x.double(), torch.cat([context, context[:, :EXTRA] * 0.5], 1).double()
    weight = lambda linear: linear.weight.detach().double().T  # noqa: E731
    q, k, v = x @ weight(module.to_q), text @ weight(module.to_k), text @ weight(module.to_v)
    v[:, -EXTRA:] *= -1
    q, k, v = (t.unflatten(-1, (module.heads, -1)).transpose(1, 2) for t in (q, k, v))
    logits = q @ k.mT / q.shape[-1] ** 0.5
    out = (2 * entmax_by_bisection(logits, 1.5) - logits.softmax(-1)) @ v
    linear = module.to_out[0]
    return out.transpose(1, 2).flatten(2) @ weight(linear) + linear.bias.detach().double()


def set_forward(module: Any, make: Callable[[Any], Callable[..., Tensor]], on_class: bool) -> None:
    if on_class:
        forward = make(module)
        module.__class__ = type("Theirs", (type(module),), {"forward": lambda self, *a, **k: forward(*a, **k)})
        module.__class__.__module__ = "ldm.modules.attention"
    else:
        module.forward = make(module)


class Host:
    """A layer called as its block calls it, in AUTOMATIC1111 or in Forge."""

    def __init__(self, kind: str, unet: Any) -> None:
        self.kind, self.unet = kind, unet
        self.module = dict(unet.named_modules())[PATH]
        self.patcher = SimpleNamespace(model=SimpleNamespace(diffusion_model=unet), model_options={})
        self.comments: list[str] = []

    def model(self) -> Any:
        if self.kind == "a1111":
            return A1111Model(SimpleNamespace(model=self.patcher.model, is_sd1=True))
        return ForgeModel(SimpleNamespace(forge_objects=SimpleNamespace(unet=self.patcher), is_sd1=True))

    def __call__(self, x: Tensor, context: Tensor) -> Tensor:
        options = self.patcher.model_options.get("transformer_options", {})
        replacement = options.get("patches_replace", {}).get("attn2", {}).get(("middle", 0, 0))
        module = self.module
        with torch.no_grad():
            if replacement is None:
                return module(x, context=context)
            given = {"n_heads": module.heads, "cond_or_uncond": [1, 0]}
            return module.to_out(replacement(module.to_q(x), module.to_k(context), module.to_v(context), given))


@pytest.fixture(params=["a1111", "forge"])
def host(request: Any, unet: Any) -> Host:
    return Host(request.param, unet)


X, CONTEXT = torch.randn(2, 16, 96), torch.randn(2, 77, 24) * 3


@pytest.mark.parametrize("on_class", [False, True], ids=["instance", "class"])
def test_signed_values_are_blended_exactly_and_the_forward_comes_back(host: Host, on_class: bool) -> None:
    if on_class and host.kind == "a1111":
        pytest.skip("there a class's forward is the chosen optimizer")
    set_forward(host.module, signed, on_class)
    standing, alone = vars(host.module).get("forward"), host(X, CONTEXT)
    with first_step(host.model(), ON) as session:
        out = host(X, CONTEXT)
    torch.testing.assert_close(out.double(), formula(host.module, X, CONTEXT), atol=1e-5, rtol=1e-5)
    assert (out - alone).abs().max() > 1e-3
    report = session.passes[0]
    assert (report.layers_chained, report.calls_blended, report.rows_blended) == (["m0.0"], 2, 2)
    assert vars(host.module).get("forward") is standing and torch.equal(host(X, CONTEXT), alone)
    assert not host.module.to_k._forward_hooks and not report.why_not


@pytest.mark.parametrize("on_class", [False, True], ids=["instance", "class"])
def test_an_attention_of_their_own_is_left_alone_and_that_is_said(host: Host, on_class: bool) -> None:
    if on_class and host.kind == "a1111":
        pytest.skip("there a class's forward is the chosen optimizer")
    set_forward(host.module, by_hand, on_class)
    alone = host(X, CONTEXT)
    with first_step(host.model(), ON) as session:
        assert torch.equal(host(X, CONTEXT), alone)
    report = session.passes[0]
    assert (report.layers_hooked, report.layers_chained, report.calls_blended) == ([], [], 0)
    (comment,) = session.comments
    assert "layer m0.0 belongs to another extension (test_forwards) and was left alone" in comment


def test_one_that_comes_later_is_not_switched_off(host: Host) -> None:
    if host.kind == "a1111":
        pytest.skip("there it stands over ours, and runs")
    with first_step(host.model(), ON) as session:
        plain = host(X, CONTEXT)
        host.module.forward = signed(host.module)
        session.step(host.model(), Step(1, 4))
        out = host(X, CONTEXT)
    torch.testing.assert_close(out.double(), formula(host.module, X, CONTEXT), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(out, plain, atol=1e-3)


def test_whose_rows_are_whose_is_not_known_inside_a_forward(host: Host) -> None:
    host.module.forward = signed(host.module)
    alone, seen = host(X, CONTEXT), Conditions(CONTEXT[:1], CONTEXT[1:])
    with first_step(host.model(), Settings(enabled=True, layers="m0", target="positive"), seen) as session:
        assert torch.equal(host(X, CONTEXT), alone)
    assert "which prompt is positive can't be known here" in session.passes[0].why_not[0]
