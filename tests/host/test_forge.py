"""The Forge way in: real `ldm` layers, called through attn2 replacements as Forge's blocks call them."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch

from lib_pladis.blend import Conditioning
from lib_pladis.hosts.forge import ForgeModel, torch_attention
from lib_pladis.session import Session, Step
from lib_pladis.settings import Settings

ON = Settings(enabled=True)


@pytest.fixture
def forge_model(unet) -> SimpleNamespace:
    patcher = SimpleNamespace(model=SimpleNamespace(diffusion_model=unet), model_options={"transformer_options": {}})
    return SimpleNamespace(forge_objects=SimpleNamespace(unet=patcher), is_sd1=True)


def place(path: str) -> tuple[str, int, int]:
    """Forge's key of an attn2: (side, number of the block, depth); the middle block is number 0."""
    parts = path.split(".")
    side = {"input_blocks": "input", "middle_block": "middle", "output_blocks": "output"}[parts[0]]
    return side, 0 if side == "middle" else int(parts[1]), int(parts[parts.index("transformer_blocks") + 1])


def call_layers(model, attn2_of, batch: int, extra: dict | None = None, length: int = 77):
    """Every cross-attention layer once, with a replacement looked up as Forge does; {path: output}."""
    patcher = model.forge_objects.unet
    attn2 = patcher.model_options["transformer_options"].get("patches_replace", {}).get("attn2", {})
    outputs = {}
    for path, module in attn2_of(patcher.model.diffusion_model).items():
        generator = torch.Generator().manual_seed(len(path))
        x = torch.randn(batch, 16, module.to_q.in_features, generator=generator)
        context = torch.randn(batch, length, module.to_k.in_features, generator=generator) * 3
        side, number, depth = place(path)
        replacement = attn2.get((side, number, depth), attn2.get((side, number)))
        with torch.no_grad():
            q, k, v = module.to_q(x), module.to_k(context), module.to_v(context)
            options = {"n_heads": module.heads, **(extra or {})}
            outputs[path] = (replacement or plain)(q, k, v, options)
    return outputs


def plain(q, k, v, options):
    return torch_attention(q, k, v, options["n_heads"])


def close(a, b):
    return {path: torch.allclose(a[path], b[path], atol=1e-5) for path in a}


def started(model, settings=ON, comments=None, index=0, session=None):
    comment = (lambda text: None) if comments is None else comments.append
    session = session or Session(settings, log=lambda line: None, comment=comment)
    session.step(ForgeModel(model), Step(index, 4))
    return session


def test_every_layer_is_blended_and_the_options_come_back(forge_model, attn2_of):
    patcher = forge_model.forge_objects.unet
    before, content = patcher.model_options, copy.deepcopy(patcher.model_options)
    dense = call_layers(forge_model, attn2_of, 2)
    session = started(forge_model)
    with session.sampling():
        session.step(ForgeModel(forge_model), Step(0, 4))
        ours = call_layers(forge_model, attn2_of, 2, {"cond_or_uncond": [1, 0]})
        assert not any(close(ours, dense).values())
    assert patcher.model_options is before and before == content
    assert all(torch.equal(a, dense[path]) for path, a in call_layers(forge_model, attn2_of, 2).items())
    assert session.passes[-1].calls_blended == 10


def test_the_smallest_extra_options_work(forge_model, attn2_of):
    session = started(forge_model)
    ours = call_layers(forge_model, attn2_of, 3)
    assert session.passes[0].rows_blended == 30 and len(ours) == 10


@pytest.mark.parametrize(
    ("target", "chunks", "changed"),
    [
        ("positive", [1, 0], [False, True]),
        ("negative", [1, 0], [True, False]),
        ("positive", [0], [True, True]),
        ("negative", [0], [False, False]),
        ("positive", [0, 0, 1, 0], [True, True, False, True]),
    ],
)
def test_target_follows_cond_or_uncond(forge_model, attn2_of, target, chunks, changed):
    batch = max(2, len(chunks))
    dense = call_layers(forge_model, attn2_of, batch)
    session = started(forge_model, Settings(enabled=True, target=target))
    ours = call_layers(forge_model, attn2_of, batch, {"cond_or_uncond": chunks})
    for path, out in ours.items():
        for row in range(batch):
            same = torch.allclose(out[row], dense[path][row], atol=1e-5)
            assert same != changed[row]
    assert session.passes[0].rows_blended == 10 * sum(changed)


def test_target_without_cond_or_uncond_leaves_the_rows_and_says_why(forge_model, attn2_of):
    dense = call_layers(forge_model, attn2_of, 2)
    session = started(forge_model, Settings(enabled=True, target="positive"))
    assert all(close(call_layers(forge_model, attn2_of, 2), dense).values())
    assert any("doesn't say" in reason for reason in session.passes[0].why_not)


def test_a_reset_unet_is_patched_again(forge_model, attn2_of):
    session = started(forge_model)
    old = forge_model.forge_objects.unet
    forge_model.forge_objects.unet = SimpleNamespace(model=old.model, model_options={"transformer_options": {}})
    started(forge_model, index=1, session=session)
    call_layers(forge_model, attn2_of, 2)
    assert old.model_options == {"transformer_options": {}}
    assert len(session.passes) == 1 and session.passes[0].calls_blended == 10


def test_patches_of_others_stay_and_are_not_copied(forge_model, attn2_of):
    patcher = forge_model.forge_objects.unet
    theirs = object()
    patcher.model_options = {
        "transformer_options": {"patches_replace": {"attn1": {("input", 1): theirs}}, "patches": [theirs]},
        "sampler_cfg_function": theirs,
    }
    started(forge_model)
    now = patcher.model_options
    assert now["sampler_cfg_function"] is theirs
    assert now["transformer_options"]["patches"] == [theirs]
    assert now["transformer_options"]["patches_replace"]["attn1"] == {("input", 1): theirs}


def test_our_replacement_survives_a_clone_of_the_options(forge_model, attn2_of):
    session = started(forge_model)
    patcher = forge_model.forge_objects.unet
    clone = SimpleNamespace(model=patcher.model, model_options=copy.deepcopy(patcher.model_options))
    forge_model.forge_objects.unet = clone
    call_layers(forge_model, attn2_of, 1)
    assert session.passes[0].calls_blended == 10, "the copy reports to the same session"


@pytest.mark.parametrize("key_length", [2, 3])
def test_another_extensions_replacement_is_left_alone(forge_model, attn2_of, key_length):
    patcher = forge_model.forge_objects.unet
    key = ("middle", 0, 0)[:key_length]

    def theirs(q, k, v, options):
        return q * 0

    patcher.model_options = {"transformer_options": {"patches_replace": {"attn2": {key: theirs}}}}
    comments: list[str] = []
    session = started(forge_model, comments=comments)
    ours = call_layers(forge_model, attn2_of, 1)
    assert ours["middle_block.1.transformer_blocks.0.attn2"].abs().max() == 0
    assert len(comments) == 1 and "m0.0" in comments[0]
    assert len(session.passes[0].layers_hooked) == 9


class IpAdapterPatch:
    """Softmax attention plus something, with the method by which IP-Adapter adds another image."""

    def __init__(self):
        self.conditions = [1.0]

    def set_new_condition(self, weight):
        self.conditions.append(weight)

    def __call__(self, q, k, v, extra_options):
        return torch_attention(q, k, v, extra_options["n_heads"]) + sum(self.conditions)


def test_an_ip_adapter_is_chained_exactly_and_keeps_its_object(forge_model, attn2_of):
    patcher = forge_model.forge_objects.unet
    adapter, key = IpAdapterPatch(), ("middle", 0, 0)
    patcher.model_options = {"transformer_options": {"patches_replace": {"attn2": {key: adapter}}}}
    session = started(forge_model)
    chained = call_layers(forge_model, attn2_of, 2)["middle_block.1.transformer_blocks.0.attn2"]
    assert session.passes[0].layers_chained == ["m0.0"]
    session.suspend()
    assert patcher.model_options["transformer_options"]["patches_replace"]["attn2"] == {key: adapter}
    patcher.model_options = {"transformer_options": {}}
    started(forge_model)
    alone = call_layers(forge_model, attn2_of, 2)["middle_block.1.transformer_blocks.0.attn2"]
    torch.testing.assert_close(chained, alone + 1.0, atol=1e-5, rtol=1e-5)


def test_tokens_that_forge_repeats_count_once(forge_model, attn2_of):
    """Positive 77 tokens and negative 154 in one call: Forge repeats the 77 to 154, the result must not change."""
    module = attn2_of(forge_model.forge_objects.unet.model.diffusion_model)["middle_block.1.transformer_blocks.0.attn2"]
    session = Session(ON, log=lambda line: None)
    session.step(ForgeModel(forge_model), Step(0, 4, conditioning=Conditioning(1, 77, 154)))
    attn2 = forge_model.forge_objects.unet.model_options["transformer_options"]["patches_replace"]["attn2"]
    x, long, short = torch.randn(2, 16, 96), torch.randn(1, 154, 24) * 3, torch.randn(1, 77, 24) * 3

    def call(x, context, chunks):
        with torch.no_grad():
            parts = module.to_q(x), module.to_k(context), module.to_v(context)
            return attn2["middle", 0, 0](*parts, {"n_heads": module.heads, "cond_or_uncond": chunks})

    together = call(x, torch.cat([long, short.repeat(1, 2, 1)]), [1, 0])
    torch.testing.assert_close(together[:1], call(x[:1], long, [1]), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(together[1:], call(x[1:], short, [0]), atol=1e-6, rtol=1e-5)
    repeated = call(x[1:], short.repeat(1, 2, 1), [1])
    assert not torch.allclose(repeated, together[1:], atol=1e-3), "counted twice, they do make a difference"
