"""Transformers that others wrote, diffusers' own, tiny and random: with our hooks on, they compute what they compute
in fp64 with the matrix formula for an attention.

diffusers' attention ends in torch's `scaled_dot_product_attention`; here that leads to a function of the web UIs' form,
which is what our hooks stand in for. Where text and picture are in an attention is written down by hand.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lib_pladis.hosts.base import Installed
from lib_pladis.hosts.function import FunctionHooks
from lib_pladis.kernels.choice import Kernels
from lib_pladis.math.rule import Mix
from lib_pladis.models.base import Inputs, Layer, Tokens
from lib_pladis.models.joint import by_name
from lib_pladis.models.text import own_tokens, picture_tokens
from lib_pladis.run.report import PassReport
from lib_pladis.run.step import Now, Step
from tests.oracle import joint_weights

diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed")

TEXT, PICTURE = 12, 16
"""Text tokens with their padding; tokens of the picture of 8 x 8 latents."""

OWN = (9, 5)
"""The prompts' own ones, by row."""

NAME = "scaled_dot_product_attention"
plain = torch.nn.functional.scaled_dot_product_attention


class Web(nn.Module):
    """A network as a web UI calls it: latent, timestep, and the text by the name of context."""

    def __init__(self, network: nn.Module, call: Callable[[Any, Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.network, self.call = network, call

    def forward(self, x: Tensor, timestep: Any, context: Tensor, transformer_options: Any = None) -> Tensor:
        return self.call(self.network, x, context)


@dataclass(frozen=True)
class Case:
    """A network; its layers by side; which calls of attention are theirs; where text and picture begin there."""

    name: str
    make: Callable[[], nn.Module]
    call: Callable[[Any, Tensor, Tensor], Any]
    paths: Mapping[str, str]
    calls: Sequence[int]
    channels: int = 4
    width: int = 16  # of the text
    text_at: int = 0
    picture_at: int = TEXT
    frames: bool = False

    def web(self) -> Web:
        torch.manual_seed(0)
        network = self.make().eval()
        for name, parameter in network.named_parameters():
            if "pad_token" in name or parameter.detach().abs().sum() == 0:  # not initialised, or so that a layer is nil
                torch.nn.init.normal_(parameter, std=0.2)
        return Web(network, self.call)

    def inputs(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(1)
        shape = (2, self.channels, 1, 8, 8) if self.frames else (2, self.channels, 8, 8)
        context = torch.randn(2, TEXT, self.width, generator=generator) * 2
        for row, own in enumerate(OWN):
            context[row, own:] = 0
        return torch.randn(shape, generator=generator).to(dtype), context.to(dtype)


def packed(x: Tensor) -> Tensor:
    """Patches of 2 x 2 as Flux and Qwen-Image have them."""
    return x.unflatten(3, (4, 2)).unflatten(2, (4, 2)).permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def ids(count: int) -> Tensor:
    return torch.stack([torch.zeros(count), torch.arange(count) // 4, torch.arange(count) % 4], 1).float()


def flux(network: Any, x: Tensor, context: Tensor) -> Tensor:
    given = {"pooled_projections": torch.ones(2, 8).to(x)}
    return network(
        packed(x), context, timestep=torch.ones(2).to(x), img_ids=ids(PICTURE), txt_ids=ids(TEXT) * 0, **given
    ).sample


def chroma(network: Any, x: Tensor, context: Tensor) -> Tensor:
    time = torch.ones(2).to(x)
    return network(packed(x), context, timestep=time, img_ids=ids(PICTURE), txt_ids=ids(TEXT) * 0).sample


def sd3(network: Any, x: Tensor, context: Tensor) -> Tensor:
    return network(x, context, torch.ones(2, 8).to(x), torch.ones(2)).sample


def lumina(network: Any, x: Tensor, context: Tensor) -> Tensor:
    return network(x, torch.ones(2).to(x), context, torch.ones(2, TEXT, dtype=torch.bool)).sample


def z_image(network: Any, x: Tensor, context: Tensor) -> Tensor:
    """It takes lists, and fills picture and text to 32; the picture comes first."""
    return torch.stack(network(list(x.unsqueeze(2)), torch.ones(2).to(x), list(context)).sample)


def qwen(network: Any, x: Tensor, context: Tensor) -> Tensor:
    mask = torch.ones(2, TEXT, dtype=torch.bool)
    shapes = [[(1, 4, 4)]] * 2
    return network(packed(x), context, mask, torch.ones(2).to(x), shapes, [TEXT, TEXT]).sample


def wan(network: Any, x: Tensor, context: Tensor) -> Tensor:
    return network(x, torch.ones(2).long(), context).sample


HEADS = {"attention_head_dim": 16, "num_attention_heads": 2}
DOUBLE_AND_SINGLE = {
    "j": r"network\.transformer_blocks\.(\d+)\.attn",
    "s": r"network\.single_transformer_blocks\.(\d+)\.attn",
}
DOUBLE = {"j": r"network\.transformer_blocks\.(\d+)\.attn"}
SINGLE = {"s": r"network\.layers\.(\d+)\.(?:attn|attention)"}

CASES = [
    Case(
        "Flux",
        lambda: diffusers.FluxTransformer2DModel(
            in_channels=16, num_layers=2, num_single_layers=2, joint_attention_dim=16, pooled_projection_dim=8,
            axes_dims_rope=(4, 6, 6), **HEADS,
        ),
        flux, DOUBLE_AND_SINGLE, range(4),
    ),
    Case(
        "Chroma",
        lambda: diffusers.ChromaTransformer2DModel(
            in_channels=16, num_layers=2, num_single_layers=2, joint_attention_dim=16, axes_dims_rope=(4, 6, 6),
            approximator_hidden_dim=32, approximator_layers=1, **HEADS,
        ),
        chroma, DOUBLE_AND_SINGLE, range(4),
    ),
    Case(
        "SD3.5",
        lambda: diffusers.SD3Transformer2DModel(
            sample_size=8, in_channels=4, out_channels=4, num_layers=3, joint_attention_dim=16,
            caption_projection_dim=32, pooled_projection_dim=8, pos_embed_max_size=8, dual_attention_layers=(0, 1),
            qk_norm="rms_norm", **HEADS,
        ),
        sd3, DOUBLE, (0, 2, 4), text_at=PICTURE, picture_at=0,
    ),
    Case(
        "Lumina 2",
        lambda: diffusers.Lumina2Transformer2DModel(
            sample_size=8, in_channels=4, hidden_size=48, num_layers=3, num_refiner_layers=1, num_attention_heads=2,
            num_kv_heads=1, multiple_of=8, axes_dim_rope=(8, 8, 8), axes_lens=(64, 32, 32), cap_feat_dim=16,
        ),
        lumina, SINGLE, (2, 3, 4),
    ),
    Case(
        "Z-Image",
        lambda: diffusers.ZImageTransformer2DModel(
            in_channels=4, dim=48, n_layers=3, n_refiner_layers=1, n_heads=2, n_kv_heads=2, cap_feat_dim=16,
            axes_dims=[8, 8, 8], axes_lens=[128, 32, 32],
        ),
        z_image, SINGLE, (2, 3, 4), text_at=32, picture_at=0,
    ),
    Case(
        "Qwen-Image",
        lambda: diffusers.QwenImageTransformer2DModel(
            in_channels=16, out_channels=4, num_layers=3, joint_attention_dim=16, axes_dims_rope=(4, 6, 6), **HEADS
        ),
        qwen, DOUBLE, range(3),
    ),
    Case(
        "Wan",
        lambda: diffusers.WanTransformer3DModel(
            in_channels=4, out_channels=4, text_dim=16, freq_dim=16, ffn_dim=32, num_layers=3, **HEADS
        ),
        wan, {"b": r"network\.blocks\.(\d+)\.attn2"}, (1, 3, 5), picture_at=0, frames=True,
    ),
]  # fmt: skip
each = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@contextmanager
def attention(case: Case, function: Callable[..., Tensor] | None = None) -> Iterator[None]:
    """torch's attention leads to the one that stands by a web UI's name in the layers' module, `function` at first."""
    modules = {sys.modules[type(layer.module).__module__] for layer in layers(case, case.web())}
    (home,) = modules
    patch = pytest.MonkeyPatch()

    def dense(q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None = None, **kwargs: Any) -> Tensor:
        return plain(q, k, v, attn_mask=mask)

    dense.__module__ = home.__name__
    patch.setattr(home, "attention_function", function or dense, raising=False)

    def routed(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, **kwargs: Any) -> Tensor:
        vars(torch.nn.functional)[NAME] = plain  # what we compute with is not the network's
        try:
            apart = {"skip_reshape": True, "skip_output_reshape": True}
            return vars(home)["attention_function"](query, key, value, query.shape[1], mask=attn_mask, **apart)
        finally:
            vars(torch.nn.functional)[NAME] = routed

    patch.setattr(torch.nn.functional, NAME, routed)
    try:
        yield
    finally:
        patch.undo()


def layers(case: Case, web: Web) -> list[Layer]:
    def locate(network: Any, inputs: Inputs) -> Tokens:
        text = tuple(slice(case.text_at, case.text_at + own) for own in own_tokens(inputs.context))
        return Tokens(text, slice(case.picture_at, case.picture_at + picture_tokens(inputs.latent, 2)), TEXT)

    return list((by_name(web, case.name, case.paths, locate) or {}).values())


def now(mix: Mix, names: Sequence[Any]) -> Now:
    report = PassReport("first", "", 0, mix.scale, mix.alpha)
    return Now(Step(0, 4), dict.fromkeys(names, mix), "both", Kernels("torch"), report)


@each
@pytest.mark.parametrize("mix", [Mix(2.0, 1.5), Mix(1.0, 2.0), Mix(3.0, 1.25, 0.7)], ids=str)
def test_hooked_networks_compute_the_formula(case: Case, mix: Mix) -> None:
    web = case.web()
    hooks = FunctionHooks(web, lambda call, batch, now: None)
    found = layers(case, web)
    holds = now(mix, [layer.name for layer in found])
    with torch.no_grad(), attention(case):
        off = web(case.inputs(torch.float32)[0], None, context=case.inputs(torch.float32)[1])
        outcome: Installed = hooks.install(found, lambda: holds)
        assert outcome.hooked == [layer.name for layer in found]
        on = web(case.inputs(torch.float32)[0], None, context=case.inputs(torch.float32)[1])
        hooks.remove()
        again = web(case.inputs(torch.float32)[0], None, context=case.inputs(torch.float32)[1])
    assert torch.equal(again, off)
    assert (holds.report.calls_seen, holds.report.rows_blended) == (len(case.calls), 2 * len(case.calls))
    assert holds.report.text_keys == sorted(OWN)
    size = off.abs().amax().item()
    assert (on - off).abs().amax() > 1e-4 * size, "the blend is not seen"
    torch.testing.assert_close(on.double(), formula(case, mix), atol=2e-5 * size, rtol=0)


def formula(case: Case, mix: Mix) -> Tensor:
    """The network in fp64, its weights in the layers' calls by the oracle."""
    count = -1

    def function(q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None = None, **kwargs: Any) -> Tensor:
        nonlocal count
        count += 1
        if count not in case.calls:
            return plain(q, k, v, attn_mask=mask)
        text, picture = torch.zeros(2, k.shape[2], dtype=torch.bool), torch.zeros(q.shape[2], dtype=torch.bool)
        for row, own in enumerate(OWN):
            text[row, case.text_at : case.text_at + own] = True
        picture[case.picture_at : case.picture_at + PICTURE] = True
        weights, _ = joint_weights(q, k, text, picture, mix.scale, mix.alpha, mix.temperature, mask)
        return weights.to(v.dtype) @ v

    web = case.web().double()
    with torch.no_grad(), attention(case, function):
        x, context = case.inputs(torch.float64)
        return web(x, None, context=context).double()
