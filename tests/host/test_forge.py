"""The Forge adapter: real `ldm` layers, called through attn2 replacements as Forge's blocks call them."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lib_pladis.facts import Conditions, Step
from lib_pladis.hosts.forge import ForgeModel, torch_attention
from lib_pladis.kernels.base import AttentionInputs, Result
from lib_pladis.kernels.choice import Kernels
from lib_pladis.kernels.dense import plain as plain_attention
from lib_pladis.run.session import Session
from lib_pladis.settings import Settings
from tests.dispatched import Waits
from tests.host.first_step import first_step

ON = Settings(enabled=True)


@pytest.fixture
def forge_model(unet: Any) -> SimpleNamespace:
    patcher = SimpleNamespace(model=SimpleNamespace(diffusion_model=unet), model_options={"transformer_options": {}})
    return SimpleNamespace(forge_objects=SimpleNamespace(unet=patcher), is_sd1=True)


def place(path: str) -> tuple[str, int, int]:
    """Forge's key of an attn2: (side, number of the block, depth); the middle block is number 0."""
    parts = path.split(".")
    side = {"input_blocks": "input", "middle_block": "middle", "output_blocks": "output"}[parts[0]]
    return side, 0 if side == "middle" else int(parts[1]), int(parts[parts.index("transformer_blocks") + 1])


def call_layers(model: Any, attn2_of: Any, batch: int, extra: dict | None = None, length: int = 77) -> Any:
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


def plain(q: Any, k: Any, v: Any, options: Any) -> Any:
    return torch_attention(q, k, v, options["n_heads"])


def close(a: Any, b: Any) -> Any:
    return {path: torch.allclose(a[path], b[path], atol=1e-5) for path in a}


def started(model: Any, settings: Any = ON, comments: Any = None, index: int = 0, session: Any = None) -> Any:
    comment = (lambda text: None) if comments is None else comments.append
    session = session or Session(settings, log=lambda line: None, comment=comment)
    session.step(ForgeModel(model), Step(index, 4))
    return session


def test_every_layer_is_blended_and_the_options_come_back(forge_model: Any, attn2_of: Any) -> None:
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


def test_the_smallest_extra_options_work(forge_model: Any, attn2_of: Any) -> None:
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
def test_target_follows_cond_or_uncond(forge_model: Any, attn2_of: Any, target: str, chunks: Any, changed: Any) -> None:
    batch = max(2, len(chunks))
    dense = call_layers(forge_model, attn2_of, batch)
    session = started(forge_model, Settings(enabled=True, target=target))
    ours = call_layers(forge_model, attn2_of, batch, {"cond_or_uncond": chunks})
    for path, out in ours.items():
        for row in range(batch):
            same = torch.allclose(out[row], dense[path][row], atol=1e-5)
            assert same != changed[row]
    assert session.passes[0].rows_blended == 10 * sum(changed)


def test_rows_that_are_not_blended_are_computed_as_the_host_does(forge_model: Any, attn2_of: Any) -> None:
    """reForge hands its precision, fp32 for SD2, to replacements as well as to its own attention."""
    given: list[dict[str, Any]] = []

    def theirs(q: Any, k: Any, v: Any, heads: int, **named: Any) -> Any:
        given.append(named)
        return torch_attention(q, k, v, heads)

    session = Session(Settings(enabled=True, target="positive"), log=lambda line: None)
    for precision in ({}, {"attn_precision": torch.float32}):
        given.clear()
        session.step(ForgeModel(forge_model, theirs), Step(len(precision), 4))
        call_layers(forge_model, attn2_of, 2, {"cond_or_uncond": [1, 0], **precision})
        assert given == [precision] * 10


def test_target_without_cond_or_uncond_leaves_the_rows_and_says_why(forge_model: Any, attn2_of: Any) -> None:
    dense = call_layers(forge_model, attn2_of, 2)
    session = started(forge_model, Settings(enabled=True, target="positive"))
    assert all(close(call_layers(forge_model, attn2_of, 2), dense).values())
    assert any("can't be known" in reason for reason in session.passes[0].why_not)


def test_a_reset_unet_is_patched_again(forge_model: Any, attn2_of: Any) -> None:
    session = started(forge_model)
    old = forge_model.forge_objects.unet
    forge_model.forge_objects.unet = SimpleNamespace(model=old.model, model_options={"transformer_options": {}})
    started(forge_model, index=1, session=session)
    call_layers(forge_model, attn2_of, 2)
    assert old.model_options == {"transformer_options": {}}
    assert len(session.passes) == 1 and session.passes[0].calls_blended == 10


def test_patches_of_others_stay_and_are_not_copied(forge_model: Any, attn2_of: Any) -> None:
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


def test_our_replacement_survives_a_clone_of_the_options(forge_model: Any, attn2_of: Any) -> None:
    session = started(forge_model)
    patcher = forge_model.forge_objects.unet
    clone = SimpleNamespace(model=patcher.model, model_options=copy.deepcopy(patcher.model_options))
    forge_model.forge_objects.unet = clone
    call_layers(forge_model, attn2_of, 1)
    assert session.passes[0].calls_blended == 10, "the copy reports to the same session"


@pytest.mark.parametrize("key_length", [2, 3])
def test_another_extensions_replacement_is_left_alone(forge_model: Any, attn2_of: Any, key_length: Any) -> None:
    patcher = forge_model.forge_objects.unet
    key = ("middle", 0, 0)[:key_length]

    def theirs(q: Any, k: Any, v: Any, options: Any) -> Any:
        return q * 0

    patcher.model_options = {"transformer_options": {"patches_replace": {"attn2": {key: theirs}}}}
    comments: list[str] = []
    session = started(forge_model, comments=comments)
    ours = call_layers(forge_model, attn2_of, 1)
    assert ours["middle_block.1.transformer_blocks.0.attn2"].abs().max() == 0
    assert len(comments) == 1 and "m0.0" in comments[0]
    assert len(session.passes[0].layers_hooked) == 9


class CrossAttentionPatch:
    """Softmax attention plus something, with the method by which IP-Adapter adds another image."""

    def __init__(self) -> None:
        self.conditions = [1.0]

    def set_new_condition(self, weight: Any) -> None:
        self.conditions.append(weight)

    def __call__(self, q: Any, k: Any, v: Any, extra_options: Any) -> Any:
        return torch_attention(q, k, v, extra_options["n_heads"]) + sum(self.conditions)


def test_an_ip_adapter_is_chained_exactly_and_keeps_its_object(forge_model: Any, attn2_of: Any) -> None:
    patcher = forge_model.forge_objects.unet
    adapter, key = CrossAttentionPatch(), ("middle", 0, 0)
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


MIDDLE = "middle_block.1.transformer_blocks.0.attn2"


class Layer:
    """The middle layer's replacement under a session, called with contexts of one's own."""

    def __init__(
        self,
        forge_model: Any,
        attn2_of: Any,
        settings: Any = ON,
        conditions: Any = Conditions,
        plain_attention: Any = torch_attention,
    ) -> None:
        self.module = attn2_of(forge_model.forge_objects.unet.model.diffusion_model)[MIDDLE]
        self.session = Session(settings, log=lambda line: None)
        self.session.step(ForgeModel(forge_model, plain_attention), Step(0, 4, conditions=conditions))
        options = forge_model.forge_objects.unet.model_options["transformer_options"]
        self.replacement = options["patches_replace"]["attn2"]["middle", 0, 0]

    def __call__(self, x: Any, context: Any, chunks: Any = None, value: Any = None, **options: Any) -> Any:
        with torch.no_grad():
            value = self.module.to_v(context if value is None else value)
            options = {"n_heads": self.module.heads, "cond_or_uncond": chunks, **options}
            return self.replacement(self.module.to_q(x), self.module.to_k(context), value, options)


def lengths(positive: int, negative: int) -> Any:
    return lambda: Conditions(torch.empty(1, positive, 24), torch.empty(1, negative, 24))


def test_tokens_that_forge_repeats_count_once(forge_model: Any, attn2_of: Any) -> None:
    """Positive 77 tokens and negative 154 in one call: Forge repeats the 77 to 154, the result must not change."""
    call = Layer(forge_model, attn2_of, conditions=lengths(77, 154))
    x, long, short = torch.randn(2, 16, 96), torch.randn(1, 154, 24) * 3, torch.randn(1, 77, 24) * 3
    together = call(x, torch.cat([long, short.repeat(1, 2, 1)]), [1, 0])
    torch.testing.assert_close(together[:1], call(x[:1], long, [1]), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(together[1:], call(x[1:], short, [0]), atol=1e-6, rtol=1e-5)
    repeated = call(x[1:], short.repeat(1, 2, 1), [1])
    assert not torch.allclose(repeated, together[1:], atol=1e-3), "counted twice, they do make a difference"


def test_keys_that_do_not_repeat_are_never_dropped(forge_model: Any, attn2_of: Any) -> None:
    """The length says 77, the 154 keys are all different: somebody made them, and all of them count."""
    call = Layer(forge_model, attn2_of, conditions=lengths(77, 154))
    x, other = torch.randn(1, 16, 96), torch.randn(1, 154, 24) * 3
    everything = Layer(forge_model, attn2_of, conditions=lengths(154, 154))(x, other, [0])
    assert torch.equal(call(x, other, [0]), everything)
    assert not torch.allclose(everything, call(x, other[:, :77], [0]), atol=1e-3)


def test_values_that_differ_count_although_their_keys_repeat(forge_model: Any, attn2_of: Any) -> None:
    """As an extension does that appends a token's key again with another value."""
    call = Layer(forge_model, attn2_of, conditions=lengths(77, 154))
    x, short = torch.randn(1, 16, 96), torch.randn(1, 77, 24) * 3
    context, value = short.repeat(1, 2, 1), torch.cat([short, -short], 1)
    everything = Layer(forge_model, attn2_of, conditions=lengths(154, 154))(x, context, [0], value)
    assert torch.equal(call(x, context, [0], value), everything)


def test_rows_of_a_widened_batch_are_unknown_and_keep_their_keys(forge_model: Any, attn2_of: Any) -> None:
    """sd-forge-couple makes [neg, pos, pos, pos] of [neg, pos] and leaves `cond_or_uncond` as it was."""
    x = torch.randn(4, 16, 96)
    negative, own, region = torch.randn(1, 154, 24) * 3, torch.randn(1, 154, 24) * 3, torch.randn(1, 77, 24) * 3
    context = torch.cat([negative, own, region.repeat(1, 2, 1), own])
    sigmas = torch.ones(1)
    call = Layer(forge_model, attn2_of, conditions=lengths(77, 154))
    out = call(x, context, [1, 0], sigmas=sigmas)
    alone = Layer(forge_model, attn2_of, conditions=Conditions)
    for row, tokens in enumerate((negative, own, region, own)):
        torch.testing.assert_close(out[row : row + 1], alone(x[row : row + 1], tokens, [0]), atol=1e-6, rtol=1e-5)
    targeted = Layer(forge_model, attn2_of, Settings(enabled=True, target="positive"), lengths(77, 154))
    plain_parts = targeted.module.to_q(x), targeted.module.to_k(context), targeted.module.to_v(context)
    with torch.no_grad():
        expected = torch_attention(*plain_parts, targeted.module.heads)
    assert torch.equal(targeted(x, context, [1, 0], sigmas=sigmas), expected)
    assert any("can't be known" in reason for reason in targeted.session.passes[0].why_not)


@pytest.mark.parametrize(("rows", "known"), [(2, True), (4, True), (8, False)])
def test_tiles_are_known_only_where_the_batch_is_the_hosts(
    forge_model: Any, attn2_of: Any, rows: Any, known: Any
) -> None:
    """Two images and their negatives are four rows with two sigmas; tiles of them are more rows."""
    sigmas = torch.ones(rows // 2 if known else 2)
    call = Layer(forge_model, attn2_of, Settings(enabled=True, target="negative"), lengths(77, 77))
    call(torch.randn(rows, 16, 96), torch.randn(rows, 77, 24) * 3, [1, 0], sigmas=sigmas)
    assert call.session.passes[0].rows_blended == (rows // 2 if known else 0)


def test_plain_attention_is_not_computed_where_it_would_be_thrown_away(forge_model: Any, attn2_of: Any) -> None:
    """Unequal lengths, both prompts blended: no row needs it. For the positive prompt alone the negative's does."""
    plain_calls = []

    def counted(*arguments: Any) -> Any:
        plain_calls.append(1)
        return torch_attention(*arguments)

    x, long, short = torch.randn(2, 16, 96), torch.randn(1, 154, 24) * 3, torch.randn(1, 77, 24) * 3
    context = torch.cat([long, short.repeat(1, 2, 1)])
    Layer(forge_model, attn2_of, ON, lengths(77, 154), counted)(x, context, [1, 0])
    assert plain_calls == []
    Layer(forge_model, attn2_of, Settings(enabled=True, target="positive"), lengths(77, 154), counted)(
        x, context, [1, 0]
    )
    assert plain_calls == [1]


def test_a_clone_that_outlives_the_generation_passes_through_and_is_no_foreign_one(
    forge_model: Any, attn2_of: Any
) -> None:
    patcher = forge_model.forge_objects.unet
    dense = call_layers(forge_model, attn2_of, 2)
    with first_step(ForgeModel(forge_model)) as session:
        blended = call_layers(forge_model, attn2_of, 2)
        clone = SimpleNamespace(model=patcher.model, model_options=copy.deepcopy(patcher.model_options))
    forge_model.forge_objects.unet = clone
    after = call_layers(forge_model, attn2_of, 2)
    assert all(torch.equal(after[path], dense[path]) for path in dense), "nothing holds any more"
    comments: list[str] = []
    session = started(forge_model, comments=comments)
    again = call_layers(forge_model, attn2_of, 2)
    assert comments == [] and session.passes[0].layers_chained == [] and len(session.passes[0].layers_hooked) == 10
    assert all(torch.equal(again[path], blended[path]) for path in dense)


def test_a_dead_hook_over_an_ip_adapter_still_runs_the_adapter(forge_model: Any, attn2_of: Any) -> None:
    patcher = forge_model.forge_objects.unet
    patcher.model_options = {
        "transformer_options": {"patches_replace": {"attn2": {("middle", 0, 0): CrossAttentionPatch()}}}
    }
    before = call_layers(forge_model, attn2_of, 2)
    session = started(forge_model)
    kept = copy.copy(patcher.model_options)
    session.suspend()
    patcher.model_options = kept
    assert torch.equal(call_layers(forge_model, attn2_of, 2)[MIDDLE], before[MIDDLE])
    session = started(forge_model)
    assert session.passes[0].layers_chained == ["m0.0"]


@pytest.mark.parametrize("target", ["both", "positive", "negative"])
def test_only_the_first_layer_of_a_network_call_waits_for_the_device(
    forge_model: Any, attn2_of: Any, target: str
) -> None:
    """Prompts of 154 and 77 tokens in one call: what each row has of its own is told once, for all layers."""

    class Quiet(Kernels):
        def attend(self, inputs: AttentionInputs, lse: bool = False) -> Result:
            query, key, value, mask, _, scale = inputs
            return Result(plain_attention(query, key, value, mask, scale), "quiet")

    waits: list[int] = []
    session = Session(Settings(enabled=True, target=target), kernels=Quiet(), log=lambda line: None)
    session.step(ForgeModel(forge_model, torch_attention), Step(0, 4, conditions=lengths(77, 154)))
    modules = attn2_of(forge_model.forge_objects.unet.model.diffusion_model)
    replacements = forge_model.forge_objects.unet.model_options["transformer_options"]["patches_replace"]["attn2"]
    for _ in range(2):
        labels = [1, 0]
        for path, module in modules.items():
            context = torch.randn(2, 154, 24) * 3
            context[1, 77:] = context[1, :77]
            with torch.no_grad(), Waits() as seen:
                q, k, v = (
                    module.to_q(torch.randn(2, 16, module.to_q.in_features)),
                    module.to_k(context),
                    module.to_v(context),
                )
                replacements[place(path)](q, k, v, {"n_heads": module.heads, "cond_or_uncond": labels})
            waits.append(seen.count)
    assert waits[0] > 0 and waits == [waits[0], *[0] * 9] * 2
    assert session.passes[0].calls_failed == 0
