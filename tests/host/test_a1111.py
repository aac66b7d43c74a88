"""The A1111 adapter, on real `ldm` modules: the method, the steps and layers, and everything put back."""

from __future__ import annotations

import copy
from typing import Any

import entmax
import pytest
import torch

from lib_pladis.facts import Step
from lib_pladis.hosts.a1111 import A1111Model
from lib_pladis.run.session import Session
from lib_pladis.settings import Settings
from tests.host.a1111 import ON, generate, reference_forward
from tests.host.first_step import first_step


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
    with first_step(A1111Model(sd_model), settings) as session:
        assert all("forward" not in vars(m) for m in attn2_of(unet).values())
        assert torch.equal(batch.run(unet), plain)
    assert session.passes[0].calls_seen == 0
    assert "not applied" in session.passes[0].line()


def test_an_exception_in_mid_step_leaves_no_hook(sd_model: Any, unet: Any, inputs: Any, attn2_of: Any) -> None:
    batch = inputs()
    plain = batch.run(unet)
    with pytest.raises(RuntimeError, match="out of memory"), first_step(A1111Model(sd_model)):
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


def test_hypernetwork_contexts_and_upcast_reach_k_and_v(sd_model: Any, inputs: Any, middle: Any) -> None:
    x, context = torch.randn(1, 16, 96), torch.randn(1, 77, 24) * 3
    model = A1111Model(sd_model, project_context=lambda c: (c * 0.5, c * 2.0), upcast=lambda: True)
    with first_step(model):
        out = middle(x, context=context)
        k, v = middle.to_k(context * 0.5), middle.to_v(context * 2.0)
        q, k, v = (
            t.view(1, -1, middle.heads, t.shape[-1] // middle.heads).transpose(1, 2) for t in (middle.to_q(x), k, v)
        )
        logits = q @ k.mT / q.shape[-1] ** 0.5
        weights = 2 * entmax.entmax15(logits, -1) - logits.softmax(-1)
        expected = middle.to_out((weights @ v).transpose(1, 2).flatten(2))
    torch.testing.assert_close(out, expected, atol=2e-5, rtol=1e-4)


def test_sgm_signature_with_additional_tokens_and_cross_frame_attention(sd_model: Any, middle: Any) -> None:
    base: Any = type(middle)
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

    middle.__class__ = SgmCrossAttention
    x, context, tokens = torch.randn(2, 16, 96), torch.randn(2, 77, 24) * 3, torch.randn(2, 3, 96)
    with first_step(A1111Model(sd_model)):
        with_tokens = middle(x, context=context, additional_tokens=tokens, n_times_crossframe_attn_in_self=0)
        assert host_calls == []
        torch.testing.assert_close(with_tokens, reference_forward(middle, x, context), atol=2e-5, rtol=1e-4)
        middle(x, context=context, additional_tokens=None, n_times_crossframe_attn_in_self=2)
        assert host_calls == [2], "cross-frame attention is the host's own"


def test_masked_keys_take_no_part(sd_model: Any, middle: Any) -> None:
    x, context = torch.randn(2, 16, 96), torch.randn(2, 77, 24) * 3
    mask = torch.zeros(2, 77, dtype=torch.bool)
    mask[:, :9] = True
    with first_step(A1111Model(sd_model)):
        out = middle(x, context=context, mask=mask)
        torch.testing.assert_close(out, middle(x, context=context[:, :9]), atol=2e-5, rtol=1e-4)


def test_a_tensor_among_the_keyword_arguments_is_passed_on(sd_model: Any, middle: Any) -> None:
    base: Any = type(middle)
    given: list[Any] = []

    class Foreign(base):
        def forward(self, x: Any, context: Any = None, mask: Any = None, value: Any = None) -> Any:
            given.append(value)
            return base.forward(self, x, context, mask)

    middle.__class__ = Foreign
    x, context, extra = torch.randn(2, 16, 96), torch.randn(2, 77, 24), torch.randn(2, 77, 24)
    with first_step(A1111Model(sd_model)) as session:
        out = middle(x, context=context, value=extra)
        assert torch.equal(out, base.forward(middle, x, context)) and given[0] is extra
    assert session.passes[0].why_not == ["attention with value, which PLADIS doesn't know, was left as it is"]
