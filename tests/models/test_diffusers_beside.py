"""PLADIS in a diffusers pipeline beside what else people have there: exact, or left alone and said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lib_pladis.diffusers import apply_pladis
from lib_pladis.models import find_layers
from tests.models.pipelines import QWEN, SD, SD3, SDXL, STEPS, Case, diffusers, sd
from tests.models.seen import made, seen, state


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


def offload_models(pipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe.enable_model_cpu_offload(device="cpu")


def offload_groups(pipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    if not hasattr(pipe.unet, "enable_group_offload"):
        pytest.skip(f"diffusers {diffusers.__version__} has no group offloading")
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda *_: torch.device("cpu"))
    pipe.unet.enable_group_offload(onload_device=torch.device("cpu"), offload_type="leaf_level")


@pytest.mark.parametrize("offload", [offload_models, offload_groups], ids=lambda each: each.__name__)
def test_offloading_is_exact_and_goes_on_afterwards(
    offload: Callable[[Any, pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the CPU for an accelerator. accelerate's sequential offloading can't have that: it fails without PLADIS."""
    pipe = sd()
    offload(pipe, monkeypatch)
    pipe.set_progress_bar_config(disable=True)
    off = SD.run(pipe)
    for _ in range(2):
        found = seen(SD, pipe, {})
        assert found.applied.report.passes[0].calls_blended == found.calls == SD.layers * STEPS
        assert found.error <= 2e-5 * max(1.0, found.size)
        assert torch.equal(SD.run(pipe), off)
    assert not [module for module in pipe.unet.modules() if "_compiled_call_impl" in vars(module)]


class Own:
    """A processor that somebody has written without torch's attention."""

    def __call__(self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor, **_: Any) -> Tensor:
        return hidden_states * 0.5


def test_a_layer_whose_attention_is_not_torchs_is_left_alone_and_it_is_said() -> None:
    pipe = sd()
    first = next(name for name in pipe.unet.attn_processors if "attn2" in name)
    pipe.unet.set_attn_processor({**pipe.unet.attn_processors, first: Own()})
    _, applied = made(pipe, SD)
    (done,) = applied.report.passes
    assert (done.calls_seen, done.calls_blended) == (4 * STEPS, 3 * STEPS)
    assert f"({STEPS} times)" in next(why for why in done.why_not if "isn't torch's" in why)


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
    on, applied = made(pipe, SD, **given)
    assert torch.equal(outs[0], outs[STEPS])
    assert applied.report.passes[0].calls_blended == SD.layers * STEPS
    assert not torch.equal(on, off)


@pytest.mark.parametrize(("case", "kind"), [(SD, "StableDiffusionPAGPipeline"), (SDXL, "StableDiffusionXLPAGPipeline")])
def test_pag_is_exact(case: Case, kind: str) -> None:
    """Its rows: negative, positive, perturbed, which is of the positive prompt."""
    checker = {"requires_safety_checker": False} if case is SD else {"add_watermarker": False}
    pipe = getattr(diffusers, kind)(**case.pipe().components, pag_applied_layers=["mid"], **checker)
    pipe.set_progress_bar_config(disable=True)
    off = case.run(pipe, pag_scale=2.0)
    found = seen(case, pipe, {}, pag_scale=2.0)
    assert found.calls == case.layers * STEPS
    assert found.error <= 2e-5 * max(1.0, found.size)
    for settings, rows in ({}, 3), ({"target": "positive"}, 2), ({"target": "negative"}, 1):
        _, applied = made(pipe, case, settings, pag_scale=2.0)
        (done,) = applied.report.passes
        assert not done.reasons
        assert (done.calls_blended, done.rows_blended) == (found.calls, found.calls * rows)
    assert torch.equal(case.run(pipe, pag_scale=2.0), off)


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
    if not hasattr(diffusers, "WanTransformer3DModel"):
        pytest.skip(f"diffusers {diffusers.__version__} has no Wan")
    network = diffusers.WanTransformer3DModel(
        in_channels=4, out_channels=4, text_dim=16, freq_dim=16, ffn_dim=32, num_layers=2, attention_head_dim=16,
        num_attention_heads=2, image_dim=8, added_kv_proj_dim=32,
    )  # fmt: skip
    assert {layer.call for layer in find_layers(network).values()} == {1}


def test_gradients_that_are_wanted_are_the_networks_own() -> None:
    pipe = sd()
    latent = torch.randn(1, 4, 8, 8, requires_grad=True)
    with apply_pladis(pipe) as applied:
        pipe.unet(latent, 1, torch.randn(1, 77, 16)).sample.sum().backward()
    assert latent.grad is not None and latent.grad.abs().sum() > 0
    assert "whose gradient is wanted" in str(applied.report)


class Modular(Case):
    """A modular pipeline of SDXL, which ends with its latents."""

    def run(self, pipe: Any, **given: Any) -> Tensor:
        return pipe(
            prompt=self.positive[0], negative_prompt=self.negative, height=64, width=64, num_inference_steps=STEPS,
            generator=torch.Generator().manual_seed(0), output="latents", **given,
        )  # fmt: skip


def modular(guider: str, **given: Any) -> Any:
    pipe = diffusers.StableDiffusionXLModularPipeline()
    parts = {name: part for name, part in SDXL.pipe().components.items() if name in pipe.component_names}
    guider_class = getattr(diffusers.guiders, guider)
    pipe.update_components(**{name: part for name, part in parts.items() if part}, guider=guider_class(**given))
    pipe._blocks.sub_blocks.pop("decode")
    return pipe


MIDDLE = {"indices": [0], "fqn": "mid_block.attentions.0.transformer_blocks"}
PERTURBED = {**MIDDLE, "skip_attention": False, "skip_attention_scores": True, "skip_ff": False}


@pytest.mark.parametrize(
    ("guider", "given", "calls"),
    [
        ("ClassifierFreeGuidance", {}, 4 * 6),
        ("AdaptiveProjectedGuidance", {}, 4 * 6),
        ("PerturbedAttentionGuidance", {"perturbed_guidance_config": PERTURBED}, 4 * 8),
        ("SkipLayerGuidance", {"skip_layer_config": MIDDLE}, 4 * 8 - 2),
        ("AutoGuidance", {"auto_guidance_config": MIDDLE}, 4 * 6 - 3),
    ],
)
def test_guiders_are_chained_exactly(guider: str, given: dict[str, Any], calls: int) -> None:
    """4 layers, 2 network calls a step and from the second step on a third; less the layer where it is skipped."""
    pytest.importorskip("diffusers.guiders", reason=f"diffusers {diffusers.__version__} has no guiders")
    given = {name: diffusers.LayerSkipConfig(**config) for name, config in given.items()}
    if calls > 4 * 6:
        name = next(iter(given)).removesuffix("_config").removesuffix("_guidance")
        given |= {f"{name}_guidance_start": 0.0, f"{name}_guidance_stop": 1.0}
    pipe = modular(guider, **given)
    case = Modular("SDXL, modular", SDXL.make, layers=SDXL.layers)
    off, before = case.run(pipe), state(pipe)
    found = seen(case, pipe, {})
    (done,) = found.applied.report.passes
    assert found.calls == done.calls_blended == calls
    assert found.error <= 2e-5 * max(1.0, found.size)
    assert done.steps == STEPS and not done.reasons
    assert not torch.equal(found.out, off)
    assert torch.equal(case.run(pipe), off)
    assert state(pipe) == before
    _, applied = made(pipe, case, {"target": "positive"})
    assert "positive can't be known here" in str(applied.report)


def test_joint_attention_that_a_guider_perturbs_is_left_to_it_and_it_is_said() -> None:
    name = "diffusers.hooks.layer_skip"
    layer_skip = pytest.importorskip(name, reason=f"diffusers {diffusers.__version__} has no guiders")
    pipe = QWEN.pipe()
    config = layer_skip.LayerSkipConfig(**{**PERTURBED, "fqn": "transformer_blocks"})
    layer_skip.apply_layer_skip(pipe.transformer, config)
    _, applied = made(pipe, QWEN)
    (done,) = applied.report.passes
    assert (done.calls_seen, done.calls_blended) == (3 * 2 * STEPS, 2 * 2 * STEPS)
    assert f"({2 * STEPS} times)" in next(why for why in done.why_not if "isn't torch's" in why)
