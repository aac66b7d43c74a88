"""PLADIS in a diffusers pipeline beside what else people have there: steps, errors, threads, others' hooks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lib_pladis.diffusers import AppliedPladis, apply_pladis
from lib_pladis.models import find_layers
from lib_pladis.settings import SettingsError
from tests.models.pipelines import CASES, STEPS, Case, diffusers, sd, sdxl
from tests.models.seen import attention_calls, seen
from tests.models.test_diffusers import state
from tests.oracle import entmax_by_bisection

SD, SANA, FLUX, SD3, WAN = (
    next(case for case in CASES if case.name == name) for name in ("SD1, SD2", "SANA", "Flux", "SD3", "Wan")
)


def made(
    pipe: Any, case: Case = SD, settings: dict[str, Any] | None = None, **given: Any
) -> tuple[Tensor, AppliedPladis]:
    with apply_pladis(pipe, **(settings or {})) as applied:
        return case.run(pipe, **given), applied


@pytest.mark.parametrize(
    ("settings", "steps", "blended"),
    [({}, 4, 4), ({"start": 0.5}, 4, 2), ({"end": 0.25}, 4, 1), ({"start": 0.5, "end": 0.75}, 8, 2)],
)
def test_steps_are_the_pipelines_own(settings: dict[str, Any], steps: int, blended: int) -> None:
    _, applied = made(sd(), settings=settings, num_inference_steps=steps)
    (done,) = applied.report.passes
    assert (done.steps, done.steps_blended) == (steps, blended)
    assert done.calls_seen == 4 * blended


@pytest.mark.parametrize(
    "scheduler", ["HeunDiscreteScheduler", "KDPM2DiscreteScheduler", "LCMScheduler", "UniPCMultistepScheduler"]
)
def test_a_schedule_runs_from_the_first_step_to_the_last(scheduler: str) -> None:
    pipe = sd()
    pipe.scheduler = getattr(diffusers, scheduler)()
    _, applied = made(pipe, settings={"schedule": "linear up"}, num_inference_steps=5)
    scales = applied.report.passes[0].step_scales
    assert scales == sorted(scales) and scales[0] < 0.5 and scales[-1] > 1.5
    assert len(applied.report.passes) == 1


def test_image_to_image_counts_the_steps_that_it_takes_and_a_second_run_begins_anew() -> None:
    parts = sd().components
    pipe = diffusers.StableDiffusionImg2ImgPipeline(**parts, requires_safety_checker=False)
    given = {"image": torch.zeros(1, 4, 8, 8), "strength": 0.5, "num_inference_steps": 8, "output_type": "latent"}
    pipe.set_progress_bar_config(disable=True)
    with apply_pladis(pipe, start=0.5) as applied:
        for _ in range(2):
            pipe("a cat", **given)
    assert [(done.steps, done.steps_blended) for done in applied.report.passes] == [(4, 2), (4, 2)]


@pytest.mark.parametrize(("case", "given"), [(SD, {"guidance_scale": 1.0}), (FLUX, {"true_cfg_scale": 1.0})])
def test_without_guidance_every_row_is_the_positive_prompts(case: Case, given: dict[str, Any]) -> None:
    _, applied = made(case.pipe(), case, {"target": "positive"}, **given)
    (done,) = applied.report.passes
    assert done.rows_blended == done.calls_blended == case.layers * STEPS
    assert not done.reasons


def test_texts_made_before_are_told_apart_too() -> None:
    pipe = sd()
    positive, negative = pipe.encode_prompt("a cat", "cpu", 1, True, "a dog")
    given = {"prompt": None, "negative_prompt": None, "prompt_embeds": positive, "negative_prompt_embeds": negative}
    _, applied = made(pipe, settings={"target": "negative"}, **given)
    assert applied.report.passes[0].rows_blended == 4 * STEPS
    same = {**given, "negative_prompt_embeds": positive}
    _, applied = made(pipe, settings={"target": "negative"}, **same)
    assert "which rows are positive can't be known here" in str(applied.report)


def test_padding_of_a_text_made_before_is_not_known_and_it_is_said() -> None:
    pipe = FLUX.pipe()
    embeds, pooled, _ = pipe.encode_prompt("a cat", "a cat", "cpu", 1, max_sequence_length=24)
    given = {"prompt": None, "negative_prompt": None, "prompt_embeds": embeds, "pooled_prompt_embeds": pooled}
    _, applied = made(pipe, FLUX, **given)
    assert applied.report.passes[0].text_keys == [24]
    assert "how much of a text is padding can't be known here" in str(applied.report)


def test_masked_keys_have_no_weight() -> None:
    """SANA's: whatever stands where a text is padding, the picture is the same, and threshold and blend with it."""
    pipe = SANA.pipe()
    text, mask, negative, negative_mask = pipe.encode_prompt("a cat", True, negative_prompt="", max_sequence_length=24)
    given = {
        "prompt": None, "negative_prompt": None, "prompt_embeds": text, "prompt_attention_mask": mask,
        "negative_prompt_embeds": negative, "negative_prompt_attention_mask": negative_mask,
    }  # fmt: skip
    first, _ = made(pipe, SANA, **given)
    other = torch.where(mask[..., None] > 0, text, torch.randn_like(text) * 10)
    assert not torch.equal(other, text)
    second, applied = made(pipe, SANA, **{**given, "prompt_embeds": other})
    torch.testing.assert_close(second, first, atol=1e-5, rtol=0)
    assert applied.report.passes[0].calls_blended == SANA.layers * STEPS


def test_after_an_error_nothing_is_left() -> None:
    pipe = sd()
    off, before = SD.run(pipe), state(pipe)

    def fail(pipe: Any, step: int, time: Any, kwargs: Any) -> Any:
        raise RuntimeError("in mid-run")

    applied = apply_pladis(pipe)
    with pytest.raises(RuntimeError, match="in mid-run"), applied:
        SD.run(pipe, callback_on_step_end=fail)
    assert state(pipe) == before
    assert torch.equal(SD.run(pipe), off)
    with pytest.raises(RuntimeError, match="make another"), applied, applied:
        pass
    assert state(pipe) == before


def test_the_innermost_holds_and_the_outer_one_goes_on() -> None:
    pipe = sd()
    off = SD.run(pipe)
    weak, _ = made(pipe, settings={"scale": 1.0})
    strong, _ = made(pipe, settings={"scale": 3.0})
    before = state(pipe)
    with apply_pladis(pipe, scale=3.0) as outer:
        assert torch.equal(SD.run(pipe), strong)
        with apply_pladis(pipe, scale=1.0) as inner:
            assert torch.equal(SD.run(pipe), weak)
        with apply_pladis(pipe, enabled=False):
            assert torch.equal(SD.run(pipe), off)
        assert torch.equal(SD.run(pipe), strong)
    assert [len(each.report.passes) for each in (outer, inner)] == [2, 1]
    assert state(pipe) == before


def test_threads_that_share_a_network_have_each_their_own() -> None:
    pipes = [sd()]
    pipes += [diffusers.StableDiffusionPipeline(**{**pipes[0].components, "scheduler": pipes[0].scheduler.from_config(
        pipes[0].scheduler.config)}, requires_safety_checker=False) for _ in range(2)]  # fmt: skip
    wanted = [SD.run(pipes[0]), made(pipes[0], settings={"scale": 1.0})[0], made(pipes[0], settings={"scale": 3.0})[0]]
    before = state(pipes[0])
    found: dict[int, list[bool]] = {}

    def work(index: int) -> None:
        for _ in range(4):
            out = SD.run(pipes[0]) if not index else made(pipes[index], settings={"scale": (0, 1.0, 3.0)[index]})[0]
            found.setdefault(index, []).append(torch.equal(out, wanted[index]))

    threads = [threading.Thread(target=work, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {index: [True] * 4 for index in range(3)}
    assert state(pipes[0]) == before


def test_a_call_in_another_thread_than_entered_is_plain_and_it_is_said() -> None:
    pipe, outs = sd(), []
    off = SD.run(pipe)
    with apply_pladis(pipe) as applied:
        thread = threading.Thread(target=lambda: outs.append(SD.run(pipe)))
        thread.start()
        thread.join()
    assert torch.equal(outs[0], off)
    assert "in the thread that entered" in str(applied.report)


def add_ip_adapter(pipe: Any) -> dict[str, Any]:
    """A tiny IP-Adapter on every cross-attention, and its picture."""
    state_dict: dict[str, Any] = {}
    for number, module in enumerate(m for name, m in pipe.unet.named_modules() if name.endswith("attn2")):
        width = module.to_k.weight.shape
        for key in ("k", "v"):
            state_dict[f"{2 * number + 1}.to_{key}_ip.weight"] = torch.randn(width) * 0.3
    projection = {"proj.weight": torch.randn(4 * 16, 8), "proj.bias": torch.zeros(64), "norm.weight": torch.ones(16),
                  "norm.bias": torch.zeros(16)}  # fmt: skip
    pipe.unet._load_ip_adapter_weights([{"image_proj": projection, "ip_adapter": state_dict}])
    return {"ip_adapter_image_embeds": [torch.randn(2, 1, 8)]}


def add_lora(pipe: Any) -> dict[str, Any]:
    from peft import LoraConfig

    pipe.unet.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_k", "to_v", "to_out.0"], init_lora_weights=False))
    return {}


def add_offloading(pipe: Any) -> dict[str, Any]:
    from accelerate import cpu_offload_with_hook

    cpu_offload_with_hook(pipe.unet, "cpu")
    return {}


def fuse(pipe: Any) -> dict[str, Any]:
    pipe.unet.fuse_qkv_projections()
    return {}


def processors(name: str, *args: Any) -> Callable[[Any], dict[str, Any]]:
    def put(pipe: Any) -> dict[str, Any]:
        kind = getattr(diffusers.models.attention_processor, name)
        pipe.unet.set_attn_processor({key: kind(*args) for key in pipe.unet.attn_processors})
        return {}

    put.__name__ = name
    return put


@pytest.mark.parametrize(
    "add",
    [add_ip_adapter, add_lora, add_offloading, fuse, processors("AttnProcessor"), processors("SlicedAttnProcessor", 1)],
    ids=lambda add: add.__name__,
)
def test_it_is_exact_beside(add: Callable[[Any], dict[str, Any]]) -> None:
    torch.manual_seed(1)
    pipe = sd()
    given = add(pipe)
    off, before = SD.run(pipe, **given), state(pipe)
    found = seen(SD, pipe, {}, **given)
    assert found.calls == SD.layers * STEPS
    assert found.error <= 2e-5 * max(1.0, found.size)
    assert found.applied.report.passes[0].calls_blended == found.calls
    assert state(pipe) == before
    assert torch.equal(SD.run(pipe, **given), off)


class Own:
    """A processor that somebody has written without torch's attention."""

    def __call__(self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor, **_: Any) -> Tensor:
        return hidden_states * 0.5


def test_a_layer_whose_attention_is_not_torchs_is_left_alone_and_it_is_said() -> None:
    pipe = sd()
    first = next(name for name in pipe.unet.attn_processors if "attn2" in name)
    pipe.unet.set_attn_processor({**pipe.unet.attn_processors, first: Own()})
    _, applied = made(pipe)
    (done,) = applied.report.passes
    assert (done.calls_seen, done.calls_blended) == (4 * STEPS, 3 * STEPS)
    assert f"an attention that isn't torch's scaled_dot_product_attention ({STEPS} times)" in str(applied.report)


def test_another_attention_backend_is_put_back() -> None:
    pipe = FLUX.pipe()
    pipe.transformer.set_attention_backend("_native_math")
    off, before = FLUX.run(pipe), state(pipe)
    found = seen(FLUX, pipe, {})
    assert found.error <= 2e-5 * max(1.0, found.size)
    assert state(pipe) == before
    assert {p._attention_backend for p in pipe.transformer.attn_processors.values()} == {"_native_math"}
    assert torch.equal(FLUX.run(pipe), off)


def compile_whole(pipe: Any) -> None:
    pipe.unet = torch.compile(pipe.unet, backend="eager")


def compile_in_place(pipe: Any) -> None:
    pipe.unet.compile(backend="eager", fullgraph=False)


def compile_blocks(pipe: Any) -> None:
    for block in pipe.unet.down_blocks:
        block.compile(backend="eager")


@pytest.mark.parametrize("compiled", [compile_whole, compile_in_place, compile_blocks])
def test_a_compiled_network_is_blended_uncompiled_and_then_its_own(compiled: Callable[[Any], None]) -> None:
    pipe = sd()
    wanted, _ = made(pipe, settings={"start": 0.3})
    compiled(pipe)
    off, before = SD.run(pipe), state(pipe)
    on, applied = made(pipe, settings={"start": 0.3})
    torch.testing.assert_close(on, wanted, atol=1e-5, rtol=0)
    assert applied.report.passes[0].calls_blended == SD.layers * (STEPS - 1)
    after = state(pipe)
    assert {name: value.keys() for name, value in after.items()} == {
        name: value.keys() for name, value in before.items()
    }
    assert torch.equal(SD.run(pipe), off)


def test_a_controlnet_is_left_alone() -> None:
    torch.manual_seed(0)
    parts = sd().components
    parts.pop("image_encoder", None)
    network = diffusers.ControlNetModel.from_unet(parts["unet"], conditioning_embedding_out_channels=(4, 4, 4, 8))
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.1) if not parameter.detach().abs().sum() else None
    pipe = diffusers.StableDiffusionControlNetPipeline(**parts, controlnet=network, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    outs: list[Tensor] = []
    network.register_forward_hook(lambda module, args, out: outs.append(out[-1]))
    given: dict[str, Any] = {"image": torch.rand(1, 3, 64, 64)}
    off = SD.run(pipe, **given)
    on, applied = made(pipe, **given)
    assert torch.equal(outs[0], outs[STEPS])
    assert applied.report.passes[0].calls_blended == SD.layers * STEPS
    assert not torch.equal(on, off)


@pytest.mark.parametrize("target", ["both", "positive"])
def test_pag_is_exact(target: str) -> None:
    """Its rows: negative, positive, perturbed, which is of the positive prompt."""
    parts = sd().components
    pipe = diffusers.StableDiffusionPAGPipeline(**parts, pag_applied_layers=["mid"], requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    with attention_calls(pipe) as calls, apply_pladis(pipe, target=target) as applied:
        SD.run(pipe, pag_scale=2.0)
    (done,) = applied.report.passes
    assert done.calls_blended == SD.layers * STEPS and not done.reasons
    assert done.rows_blended == done.calls_blended * (3 if target == "both" else 2)
    assert calls


def test_pag_of_sd3_is_blended_but_for_its_perturbed_rows() -> None:
    parts = {name: part for name, part in SD3.pipe().components.items() if part is not None}
    pipe = diffusers.StableDiffusion3PAGPipeline(**parts, pag_applied_layers=["blocks.2"])
    pipe.set_progress_bar_config(disable=True)
    _, applied = made(pipe, SD3, pag_scale=2.0)
    (done,) = applied.report.passes
    assert done.calls_blended == SD3.layers * STEPS
    assert done.rows_blended == (3 + 3 + 2) * STEPS


def test_a_picture_that_is_given_to_wan_is_attended_to_before_the_text() -> None:
    torch.manual_seed(0)
    network = diffusers.WanTransformer3DModel(
        in_channels=4, out_channels=4, text_dim=16, freq_dim=16, ffn_dim=32, num_layers=2, attention_head_dim=16,
        num_attention_heads=2, image_dim=8, added_kv_proj_dim=32,
    )  # fmt: skip
    assert {layer.call for layer in find_layers(network).values()} == {1}


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
    case = next(case for case in CASES if case.name == "SDXL")

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
    on, applied = made(pipe, case, {"layers": "d,u"}, height=32, width=32)
    (done,) = applied.report.passes
    assert (len(done.layers_hooked), done.layers_found) == (60, 70)
    put = {
        name: Official() if "attn2" in name and not name.startswith("mid") else processor
        for name, processor in theirs.unet.attn_processors.items()
    }
    assert sum(isinstance(each, Official) for each in put.values()) == 60
    theirs.unet.set_attn_processor(put)
    wanted = case.run(theirs, height=32, width=32)
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


def test_gradients_that_are_wanted_are_the_networks_own() -> None:
    pipe = sd()
    latent = torch.randn(1, 4, 8, 8, requires_grad=True)
    with apply_pladis(pipe) as applied:
        pipe.unet(latent, 1, torch.randn(1, 77, 16)).sample.sum().backward()
    assert latent.grad is not None and latent.grad.abs().sum() > 0
    assert "an attention whose gradient is wanted" in str(applied.report)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scale": 9}, "PLADIS Scale (λ) (scale): got 9, allowed: a number from 0 to 5"),
        ({"pladis_scale": 1.5, "scale": 1.5}, "scale and pladis_scale are one setting"),
        ({"lamda": 1.0}, "unknown setting 'lamda', allowed: enabled, scale"),
        ({"look": True}, "look: for web UIs only, allowed: enabled, scale"),
        ({"layers": "q"}, "got 'q' in 'q'"),
        ({"backend": "fast"}, "got 'fast'"),
    ],
)
def test_bad_values_are_named_at_once(settings: dict[str, Any], message: str) -> None:
    pipe = sd()
    before = state(pipe)
    with pytest.raises(ValueError, match=r".") as error:
        apply_pladis(pipe, **settings)
    assert message in str(error.value)
    assert "backend" in settings or isinstance(error.value, SettingsError)
    assert state(pipe) == before


def test_what_is_no_pipeline_and_what_no_model_has_are_said(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ValueError, match="pipe: got int, allowed: a diffusers pipeline"):
        apply_pladis(3)
    pipe = sd()
    on, applied = made(pipe, settings={"layers": "j0"})
    assert torch.equal(SD.run(pipe), on)
    assert "got 'j0', which names no cross-attention layer of this model; it has d0.0" in str(applied.report)
    assert "which names no cross-attention layer" in caplog.text
