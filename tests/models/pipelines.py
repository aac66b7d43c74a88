"""diffusers' own pipelines with networks of their own classes, tiny and random; tokenizers, text encoders and VAEs are
stand-ins. What is written down by hand of each: its layers, its calls, and where text and picture are in them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("transformers", reason="diffusers' pipelines need transformers", exc_type=ImportError)
diffusers = pytest.importorskip("diffusers", reason="diffusers can't be imported", exc_type=ImportError)
diffusers.utils.logging.disable_progress_bar()
diffusers.utils.logging.set_verbosity_error()

PROMPTS = ("a red cube on a blue sphere", "blurry")
"""Positive and negative."""

STEPS = 3

LENGTH = 77
"""Of a text with its padding; of several pipelines their own."""


def tokens_of(text: str) -> int:
    """How many tokens the stand-in makes: a start, one for four letters, and an end."""
    return math.ceil(len(text) / 4) + 2


class Given(dict):  # type: ignore[type-arg]
    """A dict with attributes, as transformers' outputs."""

    __getattr__ = dict.__getitem__

    def to(self, *_: Any) -> Given:
        return self


class Tokenizer:
    """Ids from 3 on, 2 at the start, 1 at the end, 0 for padding."""

    model_max_length = LENGTH
    padding_side = "right"
    pad_token_id = 0
    added_tokens_encoder: dict[str, int] = {}  # noqa: RUF012

    def __call__(self, text: Any, padding: Any = False, max_length: int | None = None, **_: Any) -> Given:
        texts = [text] if isinstance(text, str) else text
        rows = [self.encode(each)[: max_length or None] for each in texts]
        longest = max_length if padding == "max_length" else max(map(len, rows))
        ids = torch.tensor([row + [0] * (int(longest or 0) - len(row)) for row in rows])
        return Given(input_ids=ids, attention_mask=(ids > 0).long())

    def encode(self, text: str) -> list[int]:
        return [2, *(3 + sum(map(ord, text[at : at + 4])) % 97 for at in range(0, len(text), 4)), 1]

    def tokenize(self, text: str) -> list[str]:
        return text.split()

    def apply_chat_template(self, messages: Any, **_: Any) -> str:
        return str(messages[0]["content"])

    def batch_decode(self, ids: Any) -> list[str]:
        return [""] * len(ids)


class Stub(nn.Module):
    """A component that a pipeline asks for its dtype and device."""

    def __init__(self, **config: Any) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.config = SimpleNamespace(**config)

    dtype = property(lambda self: self.weight.dtype)
    device = property(lambda self: self.weight.device)


class Encoder(Stub):
    """A text encoder whose padding doesn't look like it: each token's place is in its output."""

    def __init__(self, width: int = 16, pooled: bool = False, layers: int = 4) -> None:
        super().__init__(pad_token_id=0, hidden_size=width, projection_dim=width)
        self.table, self.pooled, self.layers = nn.Embedding(100, width), pooled, layers

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: Any) -> Any:
        table = self.table(input_ids)
        states = [
            table * 1.5 + torch.sin(torch.arange(table.shape[1])[:, None] * (1.0 + n)) for n in range(self.layers)
        ]
        pooled = states[-1].mean(1)
        return Output(pooled if self.pooled else states[-1], states[-1], pooled, states)


class Output:
    """Of transformers: by place and by name."""

    def __init__(self, first: Tensor, last: Tensor, pooled: Tensor, states: list[Tensor]) -> None:
        self.first = first
        self.last_hidden_state, self.pooler_output, self.hidden_states = last, pooled, states

    def __getitem__(self, index: int) -> Tensor:
        return self.first


def vae(channels: int = 4, **more: Any) -> Stub:
    config = {"block_out_channels": (8, 8, 8, 8), "latent_channels": channels, "scaling_factor": 1.0, "z_dim": channels,
              "encoder_block_out_channels": (8,) * 6, "shift_factor": 0.0}  # fmt: skip
    stub: Any = Stub(**config)
    stub.temperal_downsample, stub.bn = (
        [False, True, True],
        SimpleNamespace(running_mean=torch.zeros(16), running_var=torch.ones(16)),
    )
    stub.config.batch_norm_eps, stub.config.temporal_compression_ratio = 1e-5, 4
    stub.config.scale_factor_spatial, stub.config.scale_factor_temporal = 8, 4
    stub.spatial_compression_ratio, stub.temporal_compression_ratio = 8, 4
    return stub


HEADS = {"attention_head_dim": 16, "num_attention_heads": 2}
FLOW = diffusers.FlowMatchEulerDiscreteScheduler


@dataclass(frozen=True)
class Case:
    """A pipeline, and what is to be seen of it.

    layers: how many there are. calls: of those of torch's attention in a call of the network, the layers'; None: those
    with so many keys as the text has. network_calls: a step's. order: the prompts of the rows of a network call, or of
    one call after another. text_at, picture_at, picture: where their tokens are; text_at None: all keys are text,
    padding masked. own: what a prompt has of its own tokens.
    """

    name: str
    make: Callable[[], Any]
    layers: int
    calls: Sequence[int] | None = None
    network_calls: int = 1
    order: Sequence[int] = (1, 0)
    text_at: int | None = None
    picture_at: int = 0
    picture: int = 16
    own: Callable[[str], int] = tokens_of
    given: dict[str, Any] = field(default_factory=dict)
    packed: str = ""  # the picture begins behind "each" row's own text, or behind the "longest"
    positive: tuple[str, ...] = PROMPTS[:1]
    negative: str = PROMPTS[1]

    def pipe(self) -> Any:
        torch.manual_seed(0)
        try:
            pipe = self.make()
        except AttributeError as error:
            if str(error).startswith("module diffusers has no attribute"):
                pytest.skip(f"diffusers {diffusers.__version__}: {error}")
            raise
        for module in pipe.components.values():
            if isinstance(module, nn.Module):
                module.eval()
                for name, parameter in module.named_parameters():
                    if "pad_token" in name or not parameter.detach().abs().sum():  # so that no layer is nil
                        nn.init.normal_(parameter, std=0.2)
        pipe.set_progress_bar_config(disable=True)
        return pipe

    def run(self, pipe: Any, **given: Any) -> Tensor:
        usual: dict[str, Any] = {"height": 64, "width": 64, "num_inference_steps": STEPS, "output_type": "latent"}
        usual["prompt"] = list(self.positive)
        if self.negative:
            usual["negative_prompt"] = [self.negative] * len(self.positive)
        made = pipe(generator=torch.Generator().manual_seed(0), **{**usual, **self.given, **given})
        out = getattr(made, "images", None)
        return made.frames if out is None else out

    def prompts(self, network_call: int, rows: int) -> list[str]:
        """Of the rows of a network call."""
        both = self.positive, (self.negative,) * len(self.positive)
        order = self.order
        if self.network_calls > 1:
            order = [order[network_call % self.network_calls]]
        prompts = [prompt for which in order for prompt in both[which]]
        return [prompt for prompt in prompts for _ in range(rows // len(prompts))]  # pictures a prompt


def unet(**more: Any) -> Any:
    given = {
        "sample_size": 8, "block_out_channels": (8, 16), "norm_num_groups": 4, "layers_per_block": 1,
        "cross_attention_dim": 16, "attention_head_dim": 4,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"), **more,
    }  # fmt: skip
    return diffusers.UNet2DConditionModel(**given)


def sd() -> Any:
    return diffusers.StableDiffusionPipeline(
        vae=vae(), text_encoder=Encoder(), tokenizer=Tokenizer(), unet=unet(), safety_checker=None,
        scheduler=diffusers.DDIMScheduler(clip_sample=False, steps_offset=1), feature_extractor=None,
        requires_safety_checker=False,
    )  # fmt: skip


def sdxl(**more: Any) -> Any:
    network = unet(
        cross_attention_dim=32, addition_embed_type="text_time", addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 16, **more,
    )  # fmt: skip
    return diffusers.StableDiffusionXLPipeline(
        vae=vae(), text_encoder=Encoder(), tokenizer=Tokenizer(), text_encoder_2=Encoder(pooled=True),
        tokenizer_2=Tokenizer(), unet=network, scheduler=diffusers.EulerDiscreteScheduler(), add_watermarker=False,
    )  # fmt: skip


def sd3() -> Any:
    network = diffusers.SD3Transformer2DModel(
        sample_size=8, in_channels=4, out_channels=4, num_layers=3, joint_attention_dim=32, caption_projection_dim=32,
        pooled_projection_dim=32, pos_embed_max_size=8, dual_attention_layers=(0, 1), qk_norm="rms_norm", **HEADS,
    )  # fmt: skip
    return diffusers.StableDiffusion3Pipeline(
        transformer=network, scheduler=FLOW(), vae=vae(), text_encoder=Encoder(pooled=True), tokenizer=Tokenizer(),
        text_encoder_2=Encoder(pooled=True), tokenizer_2=Tokenizer(), text_encoder_3=Encoder(32),
        tokenizer_3=Tokenizer(),
    )  # fmt: skip


def flux() -> Any:
    network = diffusers.FluxTransformer2DModel(
        in_channels=16, num_layers=2, num_single_layers=2, joint_attention_dim=16, pooled_projection_dim=16,
        axes_dims_rope=(4, 6, 6), guidance_embeds=True, **HEADS,
    )  # fmt: skip
    return diffusers.FluxPipeline(
        scheduler=FLOW(), vae=vae(), text_encoder=Encoder(), tokenizer=Tokenizer(), text_encoder_2=Encoder(),
        tokenizer_2=Tokenizer(), transformer=network,
    )  # fmt: skip


def flux2() -> Any:
    network = diffusers.Flux2Transformer2DModel(
        in_channels=16, num_layers=2, num_single_layers=2, joint_attention_dim=48, timestep_guidance_channels=16,
        axes_dims_rope=(4, 4, 4, 4), **HEADS,
    )  # fmt: skip
    return diffusers.Flux2KleinPipeline(
        scheduler=FLOW(), vae=vae(), text_encoder=Encoder(layers=28), tokenizer=Tokenizer(), transformer=network
    )


def chroma() -> Any:
    network = diffusers.ChromaTransformer2DModel(
        in_channels=16, num_layers=2, num_single_layers=2, joint_attention_dim=16, axes_dims_rope=(4, 6, 6),
        approximator_hidden_dim=32, approximator_layers=1, **HEADS,
    )  # fmt: skip
    return diffusers.ChromaPipeline(
        scheduler=FLOW(), vae=vae(), text_encoder=Encoder(), tokenizer=Tokenizer(), transformer=network
    )


def lumina() -> Any:
    network = diffusers.Lumina2Transformer2DModel(
        sample_size=8, in_channels=4, hidden_size=48, num_layers=3, num_refiner_layers=1, num_attention_heads=2,
        num_kv_heads=1, multiple_of=8, axes_dim_rope=(8, 8, 8), axes_lens=(300, 32, 32), cap_feat_dim=16,
    )  # fmt: skip
    return diffusers.Lumina2Pipeline(
        transformer=network, scheduler=FLOW(), vae=vae(), text_encoder=Encoder(), tokenizer=Tokenizer()
    )


def z_image() -> Any:
    network = diffusers.ZImageTransformer2DModel(
        in_channels=4, dim=48, n_layers=3, n_refiner_layers=1, n_heads=2, n_kv_heads=2, cap_feat_dim=16,
        axes_dims=[8, 8, 8], axes_lens=[300, 32, 32],
    )  # fmt: skip
    return diffusers.ZImagePipeline(
        scheduler=FLOW(), vae=vae(), text_encoder=Encoder(), tokenizer=Tokenizer(), transformer=network
    )


def qwen() -> Any:
    network = diffusers.QwenImageTransformer2DModel(
        in_channels=16, out_channels=4, num_layers=3, joint_attention_dim=16, axes_dims_rope=(4, 6, 6), **HEADS
    )
    return diffusers.QwenImagePipeline(
        scheduler=FLOW(), vae=vae(), text_encoder=Encoder(), tokenizer=Tokenizer(), transformer=network
    )


def wan() -> Any:
    network = diffusers.WanTransformer3DModel(
        in_channels=4, out_channels=4, text_dim=16, freq_dim=16, ffn_dim=32, num_layers=3, **HEADS
    )
    return diffusers.WanPipeline(
        tokenizer=Tokenizer(), text_encoder=Encoder(), vae=vae(), scheduler=FLOW(), transformer=network
    )


def sana() -> Any:
    network = diffusers.SanaTransformer2DModel(
        in_channels=4, out_channels=4, num_layers=3, num_attention_heads=2, attention_head_dim=8,
        num_cross_attention_heads=2, cross_attention_head_dim=8, cross_attention_dim=16, caption_channels=16,
        sample_size=8, patch_size=1, mlp_ratio=2.0,
    )  # fmt: skip
    return diffusers.SanaPipeline(
        tokenizer=Tokenizer(), text_encoder=Encoder(), vae=vae(), transformer=network, scheduler=FLOW()
    )


def pixart(kind: str) -> Callable[[], Any]:
    def make() -> Any:
        network = diffusers.PixArtTransformer2DModel(
            num_attention_heads=2, attention_head_dim=8, in_channels=4, out_channels=8, num_layers=3,
            cross_attention_dim=16, sample_size=8, patch_size=2, caption_channels=16, use_additional_conditions=False,
        )  # fmt: skip
        return getattr(diffusers, kind)(
            tokenizer=Tokenizer(), text_encoder=Encoder(), vae=vae(), transformer=network,
            scheduler=diffusers.DPMSolverMultistepScheduler(),
        )  # fmt: skip

    return make


QWEN_TEMPLATE = (
    "<|im_start|>system\nDescribe the image by detailing the color, shape, size, texture, quantity, text, spatial "
    "relationships of the objects and background:<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
)
"""What its pipeline writes around a prompt, of which it leaves 34 tokens out."""


def aura_flow() -> Any:
    network = diffusers.AuraFlowTransformer2DModel(
        sample_size=8, in_channels=4, out_channels=4, num_mmdit_layers=2, num_single_dit_layers=2,
        joint_attention_dim=16, caption_projection_dim=32, pos_embed_max_size=64, **HEADS,
    )  # fmt: skip
    return diffusers.AuraFlowPipeline(
        tokenizer=Tokenizer(), text_encoder=Encoder(), vae=vae(), transformer=network, scheduler=FLOW()
    )


def cog_video() -> Any:
    network = diffusers.CogVideoXTransformer3DModel(
        in_channels=4, out_channels=4, time_embed_dim=8, text_embed_dim=16, num_layers=3, sample_width=8,
        sample_height=8, sample_frames=9, max_text_seq_length=24, **HEADS,
    )  # fmt: skip
    return diffusers.CogVideoXPipeline(
        tokenizer=Tokenizer(), text_encoder=Encoder(), vae=vae(), transformer=network,
        scheduler=diffusers.CogVideoXDDIMScheduler(),
    )  # fmt: skip


def ltx() -> Any:
    network = diffusers.LTXVideoTransformer3DModel(
        in_channels=4, out_channels=4, cross_attention_dim=32, num_layers=3, caption_channels=16, **HEADS
    )
    return diffusers.LTXPipeline(
        tokenizer=Tokenizer(), text_encoder=Encoder(), vae=vae(), transformer=network, scheduler=FLOW()
    )


SHORT = {"max_sequence_length": 24}
ANY_SIZE = {**SHORT, "use_resolution_binning": False}

CASES = [
    Case("SD1, SD2", sd, layers=4),
    Case("SDXL", sdxl, layers=4),
    Case("SD3", sd3, 3, (0, 2, 4), text_at=16, own=lambda text: 77 + tokens_of(text), given=SHORT),
    Case("Flux", flux, 4, range(4), 2, (0, 1), text_at=0, picture_at=24, given={**SHORT, "true_cfg_scale": 2.0}),
    Case("Flux.2", flux2, 4, range(4), 2, (0, 1), text_at=0, picture_at=24, given=SHORT, negative=""),
    Case("Chroma", chroma, 4, range(4), 2, (0, 1), text_at=0, picture_at=24,
         own=lambda text: tokens_of(text) + 1, given=SHORT),  # it lets one pad count
    Case("Lumina 2", lumina, 3, (2, 3, 4), 2, (0, 1), text_at=0, packed="each",
         own=lambda text: tokens_of(text if text == PROMPTS[1] else f"a <Prompt Start> {text}"),
         given={**SHORT, "system_prompt": "a", "guidance_scale": 4.0}),
    Case("Z-Image", z_image, 3, (2, 3, 4), 1, (0, 1), text_at=32, given={**SHORT, "guidance_scale": 4.0}),
    Case("Qwen-Image", qwen, 3, range(3), 2, (0, 1), text_at=0, packed="longest",
         own=lambda text: tokens_of(QWEN_TEMPLATE.format(text)) - 34, given={"true_cfg_scale": 2.0}),
    Case("Wan", wan, 3, (1, 3, 5), 2, (0, 1), text_at=0, given={**SHORT, "num_frames": 1}),
    Case("SANA", sana, 3, given=ANY_SIZE),
    Case("PixArt-α", pixart("PixArtAlphaPipeline"), 3, given=ANY_SIZE),
    Case("PixArt-Σ", pixart("PixArtSigmaPipeline"), 3, given=ANY_SIZE),
    Case("AuraFlow", aura_flow, 4, range(4), text_at=8, picture_at=32, given=SHORT),
    Case("CogVideoX", cog_video, 3, range(3), text_at=0, picture_at=24, picture=48, given={**SHORT, "num_frames": 9}),
    Case("LTX-Video", ltx, 3, (1, 3, 5), given={**SHORT, "num_frames": 9}),
]  # fmt: skip
each = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
SD, SDXL, SD3, FLUX, QWEN, SANA = (
    next(case for case in CASES if case.name == name)
    for name in ("SD1, SD2", "SDXL", "SD3", "Flux", "Qwen-Image", "SANA")
)
