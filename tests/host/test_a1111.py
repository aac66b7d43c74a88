"""The A1111 way in, on real `ldm` modules."""

from __future__ import annotations

import copy
from typing import Any

import entmax
import pytest
import torch

from lib_pladis.hosts.a1111 import A1111Model
from lib_pladis.run.session import Session
from lib_pladis.run.step import Step, Texts
from lib_pladis.settings import Settings


def reference_forward(self: Any, x: Any, context: Any = None, mask: Any = None) -> Any:
    """PLADIS as the paper writes it, eagerly, with the entmax package: independent of the product."""
    b, n, _ = x.shape
    h = self.heads
    q = self.to_q(x).view(b, n, h, -1).permute(0, 2, 1, 3)
    k = self.to_k(context).view(b, context.shape[1], h, -1).permute(0, 2, 1, 3)
    v = self.to_v(context).view(b, context.shape[1], h, -1).permute(0, 2, 1, 3)
    logits = torch.einsum("bhid,bhjd->bhij", q, k) / q.shape[-1] ** 0.5
    weights = 2.0 * entmax.entmax15(logits, dim=-1) + (1 - 2.0) * logits.softmax(-1)
    out = torch.einsum("bhij,bhjd->bhid", weights, v).permute(0, 2, 1, 3).reshape(b, n, -1)
    return self.to_out(out)


def texts(batches: Any) -> Texts:
    """As the denoiser has them: one batch is positive, then negative rows; of two, the first is positive."""
    if len(batches) > 1:
        return Texts(batches[0].context.clone(), batches[1].context.clone())
    context = batches[0].context.clone()
    half = len(context) // 2 or 1
    return Texts(context[:half], context[half:] if len(context) > 1 else None)


def generate(
    sd_model: Any,
    settings: Settings,
    batches: Any,
    *,
    hires: bool = False,
    steps: int = 4,
    comments: Any = None,
    session: Any = None,
) -> Any:
    """One run of the sampler: `steps` denoiser calls, each with the U-Net calls of `batches`."""
    session = session or Session(settings, log=lambda line: None, comment=([] if comments is None else comments).append)
    outputs = []
    unet = sd_model.model.diffusion_model
    with session.sampling():
        for index in range(steps):
            session.step(A1111Model(sd_model), Step(index, steps, hires, lambda: texts(batches)))
            outputs.append([batch.run(unet) for batch in batches])
    return outputs, session


ON = Settings(enabled=True)


def test_all_layers_equal_the_reference_layer_by_layer(sd_model: Any, unet: Any, inputs: Any, attn2_of: Any) -> None:
    seen: list[tuple[torch.nn.Module, torch.Tensor, torch.Tensor, torch.Tensor]] = []
    handles = [
        module.register_forward_hook(
            lambda m, args, kwargs, out: seen.append((m, args[0], kwargs["context"], out)), with_kwargs=True
        )
        for module in attn2_of(unet).values()
    ]
    generate(sd_model, ON, [inputs()], steps=1)
    for handle in handles:
        handle.remove()
    assert len(seen) == 10
    for module, x, context, out in seen:
        with torch.no_grad():
            reference = reference_forward(copy.deepcopy(module).double(), x.double(), context.double())
        torch.testing.assert_close(out.double(), reference, atol=1e-5, rtol=1e-5)


def test_pladis_changes_the_output(sd_model: Any, unet: Any, inputs: Any) -> None:
    batch = inputs()
    plain = batch.run(unet)
    (ours, *_), _ = generate(sd_model, ON, [batch])
    assert (ours[0] - plain).abs().max() > 1e-4


def test_every_call_of_every_step_is_blended_and_counted(sd_model: Any, unet: Any, inputs: Any, attn2_of: Any) -> None:
    calls = []
    handles = [m.register_forward_pre_hook(lambda m, args: calls.append(m)) for m in attn2_of(unet).values()]
    _, session = generate(sd_model, ON, [inputs(), inputs(3, 154)], steps=5)
    for handle in handles:
        handle.remove()
    (report,) = session.passes
    assert len(calls) == 10 * 2 * 5
    assert report.calls_seen == report.calls_blended == len(calls)
    assert report.rows_blended == 10 * (2 + 3) * 5
    assert report.layers_found == len(report.layers_hooked) == 10
    assert report.steps == report.steps_blended == 5


def test_afterwards_every_forward_is_the_same_object_as_before(
    sd_model: Any, unet: Any, inputs: Any, attn2_of: Any
) -> None:
    before = {path: dict(vars(module)) for path, module in attn2_of(unet).items()}
    classes = {type(module): type(module).forward for module in attn2_of(unet).values()}
    plain = inputs().run(unet)
    generate(sd_model, ON, [inputs()])
    for path, module in attn2_of(unet).items():
        assert "forward" not in vars(module)
        assert vars(module).keys() == before[path].keys()
        assert all(type(module).forward is f for cls, f in classes.items() if cls is type(module))
    assert torch.equal(inputs().run(unet), plain)


@pytest.mark.parametrize(
    "settings",
    [
        Settings(enabled=False),
        Settings(enabled=True, scale=0.0),
        Settings(enabled=True, alpha=1.0),
        Settings(enabled=True, start=0.5, end=0.5),
    ],
)
def test_off_installs_nothing(sd_model: Any, unet: Any, inputs: Any, attn2_of: Any, settings: Any) -> None:
    batch = inputs()
    plain = batch.run(unet)
    session = Session(settings, log=lambda line: None)
    with session.sampling():
        session.step(A1111Model(sd_model), Step(0, 4))
        assert all("forward" not in vars(m) for m in attn2_of(unet).values())
        assert torch.equal(batch.run(unet), plain)
    assert session.passes[0].calls_seen == 0
    assert "not applied" in session.passes[0].line()


def test_an_exception_in_mid_step_leaves_no_hook(sd_model: Any, unet: Any, inputs: Any, attn2_of: Any) -> None:
    batch = inputs()
    plain = batch.run(unet)
    session = Session(ON, log=lambda line: None)
    with pytest.raises(RuntimeError, match="out of memory"), session.sampling():
        session.step(A1111Model(sd_model), Step(0, 4))
        batch.run(unet)
        raise RuntimeError("out of memory")
    assert all("forward" not in vars(m) for m in attn2_of(unet).values())
    assert torch.equal(batch.run(unet), plain)


def test_only_the_chosen_layers_and_steps(sd_model: Any, unet: Any, inputs: Any) -> None:
    plain = inputs().run(unet)
    settings = Settings(enabled=True, layers="m0,u1", start=0.25, end=0.75)
    outputs, session = generate(sd_model, settings, [inputs()])
    changed = [not torch.equal(step[0], plain) for step in outputs]
    assert changed == [False, True, True, False]
    (report,) = session.passes
    assert report.layers_hooked == ["m0.0", "u1.0"]
    assert report.calls_blended == 2 * 2
    assert report.step_scales == [0.0, 2.0, 2.0, 0.0]


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


def test_unknown_layer_is_said_once_and_nothing_is_hooked(sd_model: Any, unet: Any, inputs: Any) -> None:
    comments: list[str] = []
    plain = inputs().run(unet)
    outputs, session = generate(sd_model, Settings(enabled=True, layers="d9"), [inputs()], comments=comments)
    assert len(comments) == 1 and "'d9'" in comments[0] and "d0.0" in comments[0]
    assert all(torch.equal(step[0], plain) for step in outputs)
    assert session.passes[0].calls_blended == 0


def test_a_model_swapped_in_mid_run_is_hooked_and_the_old_one_clean(
    sd_model: Any, unet: Any, inputs: Any, attn2_of: Any
) -> None:
    other = copy.deepcopy(sd_model)
    session = Session(ON, log=lambda line: None)
    batch = inputs()
    with session.sampling():
        for index in range(6):
            model = sd_model if index < 3 else other
            session.step(A1111Model(model), Step(index, 6))
            hooked = {id(m): "forward" in vars(m) for m in attn2_of(model.model.diffusion_model).values()}
            assert all(hooked.values()) and len(hooked) == 10
            batch.run(model.model.diffusion_model)
        assert all("forward" not in vars(m) for m in attn2_of(unet).values())
    assert [(r.steps, r.calls_blended) for r in session.passes] == [(3, 30), (3, 30)]


def test_hires_pass_has_its_own_values(sd_model: Any, inputs: Any) -> None:
    settings = Settings(enabled=True, hr_override=True, hr_scale=1.0, hr_alpha=2.0)
    _, session = generate(sd_model, settings, [inputs()])
    generate(sd_model, settings, [inputs()], hires=True, session=session)
    assert [(r.stage, r.scale, r.alpha) for r in session.passes] == [("first", 2.0, 1.5), ("hires", 1.0, 2.0)]


def test_the_optimizer_changed_between_runs_is_the_one_that_runs(
    sd_model: Any, unet: Any, inputs: Any, attn2_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cls = type(next(iter(attn2_of(unet).values())))
    calls = []
    original = cls.forward

    def optimizer(self: Any, x: Any, context: Any = None, mask: Any = None, **kwargs: Any) -> Any:
        calls.append(self)
        return original(self, x, context, mask)

    monkeypatch.setattr(cls, "forward", optimizer)
    generate(sd_model, Settings(enabled=True, target="negative"), [inputs()], steps=1)
    assert len(calls) == 20, "10 self-attention and 10 cross-attention layers, whose positive row is the host's"
    assert cls.forward is optimizer


def test_another_extensions_forward_is_left_alone_with_one_comment(
    sd_model: Any, unet: Any, inputs: Any, attn2_of: Any
) -> None:
    module = attn2_of(unet)["middle_block.1.transformer_blocks.0.attn2"]
    original = module.forward

    def theirs(x: Any, context: Any = None, mask: Any = None) -> Any:
        return original(x, context, mask) * 0.5

    module.forward = theirs
    comments: list[str] = []
    _, session = generate(sd_model, ON, [inputs()], comments=comments)
    assert module.forward is theirs
    assert len(comments) == 1 and "m0.0" in comments[0] and "another extension" in comments[0]
    assert "m0.0" not in session.passes[0].layers_hooked and len(session.passes[0].layers_hooked) == 9


def adapter(module: Any, attn_forward_hacked: Any) -> Any:
    """Hook a layer as sd-webui-controlnet's IP-Adapter does: its function, bound, and its mark on the module."""
    attn_forward_hacked.__module__ = "scripts.ipadapter.plugable_ipadapter"
    module.ipadapter_hacks = [object()]
    module.forward = attn_forward_hacked.__get__(module, type(module))
    return module.forward


def test_an_ip_adapter_is_chained_exactly(sd_model: Any, unet: Any, inputs: Any, attn2_of: Any) -> None:
    module = attn2_of(unet)["middle_block.1.transformer_blocks.0.attn2"]
    settings = Settings(enabled=True, layers="m0")
    x, context = torch.randn(2, 16, 96), torch.randn(2, 77, 24) * 3
    extra = torch.randn(2, 16, 96)
    plain_forward = type(module).forward

    def attn_forward_hacked(self: Any, x: Any, context: Any = None, **kwargs: Any) -> Any:
        return plain_forward(self, x, context) + extra

    theirs = adapter(module, attn_forward_hacked)
    session = Session(settings, log=lambda line: None)
    with torch.no_grad(), session.sampling():
        session.step(A1111Model(sd_model), Step(0, 1))
        chained = module(x, context=context)
        expected = reference_forward(module, x, context) + extra
    torch.testing.assert_close(chained, expected, atol=2e-5, rtol=1e-4)
    assert session.passes[0].layers_chained == ["m0.0"]
    assert module.forward is theirs


@pytest.mark.parametrize(("target", "blended"), [("positive", 0), ("negative", 1)])
def test_a_chained_forward_sees_the_whole_batch_and_additional_tokens(
    sd_model: Any, unet: Any, attn2_of: Any, target: str, blended: Any
) -> None:
    module = attn2_of(unet)["middle_block.1.transformer_blocks.0.attn2"]
    x, context, tokens = torch.randn(2, 16, 96), torch.randn(2, 77, 24) * 3, torch.randn(2, 3, 96)
    extra, batches = torch.randn(2, 16, 96), []
    plain_forward = type(module).forward

    def attn_forward_hacked(self: Any, x: Any, context: Any = None, **kwargs: Any) -> Any:
        batches.append(len(x))
        return plain_forward(self, x, context) + extra

    adapter(module, attn_forward_hacked)
    session = Session(Settings(enabled=True, layers="m0", target=target), log=lambda line: None)
    with torch.no_grad(), session.sampling():
        session.step(A1111Model(sd_model), Step(0, 1, texts=lambda: Texts(context[:1].clone(), context[1:].clone())))
        out = module(x, context=context, additional_tokens=tokens)
        expected = plain_forward(module, x, context)
        expected[blended] = reference_forward(module, x, context)[blended]
    assert batches == [2]
    torch.testing.assert_close(out, expected + extra, atol=2e-5, rtol=1e-4)


def test_somebody_who_wraps_us_keeps_his_wrapper_and_gets_the_plain_attention(
    sd_model: Any, unet: Any, inputs: Any, attn2_of: Any
) -> None:
    module = attn2_of(unet)["middle_block.1.transformer_blocks.0.attn2"]
    x, context = torch.randn(1, 16, 96), torch.randn(1, 77, 24)
    with torch.no_grad():
        plain = module(x, context=context)
        session = Session(ON, log=lambda line: None)
        with session.sampling():
            session.step(A1111Model(sd_model), Step(0, 1))
            inner = module.forward
            module.forward = wrapper = lambda x, context=None, mask=None: inner(x, context, mask)
        assert module.forward is wrapper
        assert torch.equal(module(x, context=context), plain)


def test_hypernetwork_contexts_and_upcast_reach_k_and_v(sd_model: Any, unet: Any, inputs: Any, attn2_of: Any) -> None:
    module = attn2_of(unet)["middle_block.1.transformer_blocks.0.attn2"]
    x, context = torch.randn(1, 16, 96), torch.randn(1, 77, 24) * 3
    session = Session(ON, log=lambda line: None)
    model = A1111Model(sd_model, project_context=lambda c: (c * 0.5, c * 2.0), upcast=lambda: True)
    with torch.no_grad(), session.sampling():
        session.step(model, Step(0, 1))
        out = module(x, context=context)
        k, v = module.to_k(context * 0.5), module.to_v(context * 2.0)
        q, k, v = (
            t.view(1, -1, module.heads, t.shape[-1] // module.heads).transpose(1, 2) for t in (module.to_q(x), k, v)
        )
        logits = q @ k.mT / q.shape[-1] ** 0.5
        weights = 2 * entmax.entmax15(logits, -1) - logits.softmax(-1)
        expected = module.to_out((weights @ v).transpose(1, 2).flatten(2))
    torch.testing.assert_close(out, expected, atol=2e-5, rtol=1e-4)


def test_sgm_signature_with_additional_tokens_and_cross_frame_attention(
    sd_model: Any, unet: Any, attn2_of: Any
) -> None:
    module = attn2_of(unet)["middle_block.1.transformer_blocks.0.attn2"]
    base: Any = type(module)
    host_calls = []

    class SgmCrossAttention(base):
        def forward(
            self,
            x: Any,
            context: Any = None,
            mask: Any = None,
            additional_tokens: Any = None,
            n_times_crossframe_attn_in_self: int = 0,
        ) -> Any:
            host_calls.append(n_times_crossframe_attn_in_self)
            return base.forward(self, x, context, mask)

    module.__class__ = SgmCrossAttention
    x, context, tokens = torch.randn(2, 16, 96), torch.randn(2, 77, 24) * 3, torch.randn(2, 3, 96)
    session = Session(ON, log=lambda line: None)
    with torch.no_grad(), session.sampling():
        session.step(A1111Model(sd_model), Step(0, 1))
        with_tokens = module(x, context=context, additional_tokens=tokens, n_times_crossframe_attn_in_self=0)
        assert host_calls == []
        torch.testing.assert_close(with_tokens, reference_forward(module, x, context), atol=2e-5, rtol=1e-4)
        module(x, context=context, additional_tokens=None, n_times_crossframe_attn_in_self=2)
        assert host_calls == [2], "cross-frame attention is the host's own"


def test_masked_keys_take_no_part(sd_model: Any, unet: Any, attn2_of: Any) -> None:
    module = attn2_of(unet)["middle_block.1.transformer_blocks.0.attn2"]
    x, context = torch.randn(2, 16, 96), torch.randn(2, 77, 24) * 3
    mask = torch.zeros(2, 77, dtype=torch.bool)
    mask[:, :9] = True
    session = Session(ON, log=lambda line: None)
    with torch.no_grad(), session.sampling():
        session.step(A1111Model(sd_model), Step(0, 1))
        out = module(x, context=context, mask=mask)
        torch.testing.assert_close(out, module(x, context=context[:, :9]), atol=2e-5, rtol=1e-4)


def test_an_adapter_that_has_gone_leaves_nothing_that_matters(
    sd_model: Any, unet: Any, inputs: Any, attn2_of: Any
) -> None:
    """Its mark stays on the module, and the class's own forward as an attribute: plain PLADIS, bit for bit."""
    batch = inputs()
    clean, _ = generate(sd_model, ON, [batch], steps=1)
    module = attn2_of(unet)["middle_block.1.transformer_blocks.0.attn2"]
    module.forward, module.ipadapter_hacks = module.forward, []
    left = vars(module)["forward"]
    after, session = generate(sd_model, ON, [batch], steps=1)
    assert torch.equal(after[0][0], clean[0][0])
    assert session.passes[0].layers_chained == [] and len(session.passes[0].layers_hooked) == 10
    assert vars(module)["forward"] is left


def test_a_foreign_forward_is_not_chained_because_an_adapter_was_there_once(
    sd_model: Any, unet: Any, inputs: Any, attn2_of: Any
) -> None:
    """NegPiP's and Regional Prompter's forwards are not softmax attention plus something."""
    module = attn2_of(unet)["middle_block.1.transformer_blocks.0.attn2"]
    original = module.forward

    def theirs(x: Any, context: Any = None, mask: Any = None) -> Any:
        return original(x, context, mask) * 0.5

    module.forward, module.ipadapter_hacks = theirs, [object()]
    batch = inputs()
    plain = Settings(enabled=True, layers="m0")
    before = batch.run(unet)
    outputs, session = generate(sd_model, plain, [batch], steps=1)
    assert torch.equal(outputs[0][0], before)
    assert session.passes[0].layers_chained == session.passes[0].layers_hooked == []
    assert any("belongs to another extension" in reason for reason in session.passes[0].why_not)


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
    session = Session(Settings(enabled=True, target=target), log=lambda line: None)
    with session.sampling():
        session.step(A1111Model(sd_model), Step(0, 1, texts=lambda: seen))
        ours = [each.run(unet) for each in (batch, again, tiles)]
    found = [[bool((a - b).abs().max() > 1e-4) for a, b in zip(one, other)] for one, other in zip(ours, plain)]
    assert found == [[row == 0, row == 1], [row == 0], [row == 0, row == 1] * 2]
    assert session.passes[0].why_not == []


def test_a_call_passed_by_does_not_shift_the_rows_of_the_next(sd_model: Any, unet: Any, attn2_of: Any) -> None:
    module = attn2_of(unet)["middle_block.1.transformer_blocks.0.attn2"]
    base = type(module)
    module.__class__ = type(
        "Sgm", (base,), {"forward": lambda self, x, context, crossed=0: base.forward(self, x, context)}
    )
    x, context = torch.randn(2, 16, 96), torch.randn(2, 77, 24) * 3
    session = Session(Settings(enabled=True, target="positive", layers="m0"), log=lambda line: None)
    with torch.no_grad(), session.sampling():
        session.step(A1111Model(sd_model), Step(0, 1, texts=lambda: Texts(context[:1].clone(), context[1:].clone())))
        plain = base.forward(module, x, context)
        assert torch.equal(module(x, context=context, crossed=2), plain), "the host's own"
        out = module(x, context=context)
    assert not torch.allclose(out[0], plain[0], atol=1e-4) and torch.allclose(out[1], plain[1], atol=1e-5)


def test_rows_that_nobody_can_know_are_left_alone_and_said_with_a_count(sd_model: Any, unet: Any, inputs: Any) -> None:
    """Another extension made contexts of its own: neither prompt's."""
    batch = inputs(2)
    plain = batch.run(unet)
    session = Session(Settings(enabled=True, target="positive"), log=lambda line: None)
    with session.sampling():
        session.step(A1111Model(sd_model), Step(0, 1, texts=lambda: texts([inputs(2, seed=9)])))
        ours = batch.run(unet)
    torch.testing.assert_close(ours, plain, atol=1e-5, rtol=1e-5)
    assert session.passes[0].rows_blended == 0
    (reason,) = session.passes[0].why_not
    assert reason == "target positive: which rows are positive can't be known here (10 times)"


def test_the_prompts_are_those_that_reach_the_network(sd_model: Any, unet: Any, inputs: Any) -> None:
    """A callback after ours may put another condition in the prompt's place: it is asked for when it is needed."""
    batch, conditions = inputs(2), [texts([inputs(2, seed=9)])]
    plain = batch.run(unet)
    session = Session(Settings(enabled=True, target="positive"), log=lambda line: None)
    with session.sampling():
        session.step(A1111Model(sd_model), Step(0, 1, texts=lambda: conditions[-1]))
        conditions.append(texts([batch]))
        ours = batch.run(unet)
    assert (ours[0] - plain[0]).abs().max() > 1e-4 and (ours[1] - plain[1]).abs().max() < 1e-5


def test_padded_and_cut_contexts_are_still_their_prompts(sd_model: Any, unet: Any, inputs: Any) -> None:
    """`pad_cond_uncond` lengthens a condition after the callbacks, its old version may cut one."""
    batch = inputs(2, 154)
    plain = batch.run(unet)
    shorter = Texts(batch.context[:1, :77].clone(), torch.cat([batch.context[1:], batch.context[:1]], 1))
    session = Session(Settings(enabled=True, target="positive"), log=lambda line: None)
    with session.sampling():
        session.step(A1111Model(sd_model), Step(0, 1, texts=lambda: shorter))
        ours = batch.run(unet)
    assert (ours[0] - plain[0]).abs().max() > 1e-4 and (ours[1] - plain[1]).abs().max() < 1e-5


def test_the_same_prompt_twice_is_told_apart_by_the_hosts_order_alone(sd_model: Any, unet: Any, inputs: Any) -> None:
    batch = inputs(2)
    batch.context[1] = batch.context[0]
    plain = batch.run(unet)
    outputs, session = generate(sd_model, Settings(enabled=True, target="positive"), [batch], steps=1)
    assert (outputs[0][0][0] - plain[0]).abs().max() > 1e-4 and (outputs[0][0][1] - plain[1]).abs().max() < 1e-5
    assert session.passes[0].why_not == []


def test_a_tensor_among_the_keyword_arguments_is_passed_on(sd_model: Any, unet: Any, attn2_of: Any) -> None:
    module = attn2_of(unet)["middle_block.1.transformer_blocks.0.attn2"]
    base: Any = type(module)
    given: list[Any] = []

    class Foreign(base):
        def forward(self, x: Any, context: Any = None, mask: Any = None, value: Any = None) -> Any:
            given.append(value)
            return base.forward(self, x, context, mask)

    module.__class__ = Foreign
    x, context, extra = torch.randn(2, 16, 96), torch.randn(2, 77, 24), torch.randn(2, 77, 24)
    session = Session(ON, log=lambda line: None)
    with torch.no_grad(), session.sampling():
        session.step(A1111Model(sd_model), Step(0, 1))
        out = module(x, context=context, value=extra)
        assert torch.equal(out, base.forward(module, x, context)) and given[0] is extra
    assert session.passes[0].why_not == ["a call with value"]


def test_a_hook_that_somebody_put_back_later_is_no_foreign_one(
    sd_model: Any, unet: Any, inputs: Any, attn2_of: Any
) -> None:
    """An extension keeps the forward that it found, ours, and puts it back when ours has long gone."""
    module = attn2_of(unet)["middle_block.1.transformer_blocks.0.attn2"]
    batch = inputs()
    plain = batch.run(unet)
    kept = []
    session = Session(ON, log=lambda line: None)
    with session.sampling():
        session.step(A1111Model(sd_model), Step(0, 1))
        kept.append(module.forward)
        blended = batch.run(unet)
    module.forward = kept[0]
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
