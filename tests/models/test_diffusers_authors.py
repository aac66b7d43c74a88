"""Held against the authors' rules: which layers of SDXL, and which columns of FLUX."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from tests.models.pipelines import FLUX, SDXL, sdxl
from tests.models.seen import made
from tests.oracle import entmax_by_bisection


def official(attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor | None, dtype: torch.dtype) -> Tensor:
    """The authors' rule for cross-attention: λ = 2 times 1.5-entmax, less softmax, by matrices."""
    query, key, value = (
        projection(x).unflatten(-1, (attn.heads, -1)).transpose(1, 2).to(dtype)
        for projection, x in (
            (attn.to_q, hidden_states),
            (attn.to_k, encoder_hidden_states),
            (attn.to_v, encoder_hidden_states),
        )
    )
    scores = query @ key.transpose(-1, -2) * attn.scale
    weights = 2.0 * entmax_by_bisection(scores, 1.5) - torch.softmax(scores, -1)
    out = (weights @ value).transpose(1, 2).flatten(2).to(hidden_states.dtype)
    return attn.to_out[1](attn.to_out[0](out))


class Official:
    def __call__(self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor, **_: Any) -> Tensor:
        return official(attn, hidden_states, encoder_hidden_states, torch.float64)


def test_the_authors_60_layers_of_sdxl() -> None:
    """Their code: all cross-attentions of SDXL's down and up blocks, none of the middle."""

    def make() -> Any:
        torch.manual_seed(0)
        return sdxl(
            block_out_channels=(8, 8, 8), layers_per_block=2, transformer_layers_per_block=(1, 2, 10),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), attention_head_dim=2,
        )  # fmt: skip

    pipe, theirs = make(), make()
    for each in (pipe, theirs):
        each.set_progress_bar_config(disable=True)
        each.unet.eval()
    on, applied = made(pipe, SDXL, {"layers": "d,u"}, height=32, width=32)
    (done,) = applied.report.passes
    assert (len(done.layers_hooked), done.layers_found) == (60, 70)
    put = {
        name: Official() if "attn2" in name and not name.startswith("mid") else processor
        for name, processor in theirs.unet.attn_processors.items()
    }
    assert sum(isinstance(each, Official) for each in put.values()) == 60
    theirs.unet.set_attn_processor(put)
    wanted = SDXL.run(theirs, height=32, width=32)
    torch.testing.assert_close(on, wanted, atol=1e-3 * wanted.abs().max().item(), rtol=0)


@contextmanager
def the_authors_flux(text: int) -> Iterator[None]:
    """Their code: of every row of weights the text's columns are blended, and brought to the weight that they had."""
    plain = torch.nn.functional.scaled_dot_product_attention

    def attend(query: Tensor, key: Tensor, value: Tensor, attn_mask: Any = None, **_: Any) -> Tensor:
        scores = query.double() @ key.double().transpose(-1, -2) * query.shape[-1] ** -0.5
        weights = torch.softmax(scores, -1)
        z, mass = scores[..., :text], weights[..., :text].sum(-1, keepdim=True)
        blended = mass * (2.0 * entmax_by_bisection(z, 1.5) - torch.softmax(z, -1))
        weights[:, :, text:, :text] = blended[:, :, text:]
        return (weights @ value.double()).to(query.dtype)

    torch.nn.functional.scaled_dot_product_attention = attend  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.nn.functional.scaled_dot_product_attention = plain


def test_the_authors_text_columns_of_flux() -> None:
    """A prompt that fills the text: there is no padding, which they would blend too."""
    pipe = FLUX.pipe()
    given: dict[str, Any] = {"prompt": "a" * 4 * 22, "true_cfg_scale": 1.0}
    on, applied = made(pipe, FLUX, **given)
    assert applied.report.passes[0].text_keys == [24]
    with the_authors_flux(24):
        wanted = FLUX.run(pipe, **given)
    torch.testing.assert_close(on, wanted, atol=1e-4 * wanted.abs().max().item(), rtol=0)
