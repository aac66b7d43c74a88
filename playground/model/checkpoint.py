"""SD1 checkpoints: packing the three networks into one file with its .yaml beside it, and reading one."""

from __future__ import annotations

from pathlib import Path

import torch
from ldm.modules.attention import BasicTransformerBlock
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import CLIPTextModel

from . import weights
from .nets import LINEAR_END, LINEAR_START, POSITIONS, STEPS, TEXT, UNET, VAE, schedule
from .weights import METADATA, NAME, TEXT_PREFIX, UNET_PREFIX, VAE_PREFIX

LIFT = 0.1
CLIP_FOLDER = f"models/Stable-diffusion/{NAME}-clip"
"""Where a webui finds the text model's settings, from its own folder (its working folder)."""


def config(scale_factor: float) -> dict[str, object]:
    """What the .yaml says: the targets and parameters by which ldm builds the model."""
    vae = {name: value for name, value in VAE.items()}
    unet = {name: value for name, value in UNET.items()}
    parameters = {
        "linear_start": LINEAR_START,
        "linear_end": LINEAR_END,
        "num_timesteps_cond": 1,
        "log_every_t": 200,
        "timesteps": STEPS,
        "first_stage_key": "jpg",
        "cond_stage_key": "txt",
        "image_size": 16,
        "channels": 4,
        "cond_stage_trainable": False,
        "conditioning_key": "crossattn",
        "monitor": "val/loss_simple_ema",
        "scale_factor": scale_factor,
        "use_ema": False,
        "unet_config": {
            "target": "ldm.modules.diffusionmodules.openaimodel.UNetModel",
            "params": unet,
        },
        "first_stage_config": {
            "target": "ldm.models.autoencoder.AutoencoderKL",
            "params": {
                "embed_dim": 4,
                "monitor": "val/rec_loss",
                "ddconfig": vae,
                "lossconfig": {"target": "torch.nn.Identity"},
            },
        },
        "cond_stage_config": {
            "target": "ldm.modules.encoders.modules.FrozenCLIPEmbedder",
            "params": {"version": CLIP_FOLDER, "max_length": 77, "layer": "last"},
        },
    }
    target = "ldm.models.diffusion.ddpm.LatentDiffusion"
    return {"model": {"base_learning_rate": 1e-4, "target": target, "params": parameters}}


def text_config() -> dict[str, object]:
    """config.json of the text model's folder."""
    return {"architectures": ["CLIPTextModel"], "model_type": "clip_text_model", **TEXT}


@torch.no_grad()
def lift(unet: nn.Module, text: CLIPTextModel, by: float = LIFT) -> None:
    """Adds `by` to all of the text model's output, and takes its effect out of the UNet; in place.

    A webui's emphasis "(word:1.2)" divides by the mean of the output, which training leaves near 0.
    Keys move by the same vector, so all logits of a row by the same number; values move by one
    vector, and rows of attention weights sum to 1 (PLADIS' too), so to_out's bias takes it back.
    """
    text.text_model.final_layer_norm.bias += by
    for module in unet.modules():
        if isinstance(module, BasicTransformerBlock):
            attention = module.attn2
            moved = attention.to_v(torch.full((attention.to_v.in_features,), by))
            attention.to_out[0].bias -= attention.to_out[0].weight @ moved


def save(path: Path, unet: nn.Module, vae: nn.Module, text: nn.Module, scale_factor: float) -> None:
    """Writes `path` (fp16; the schedule fp32) and the .yaml beside it, each in one move."""
    tensors: dict[str, Tensor] = dict(schedule())
    for prefix, module in ((UNET_PREFIX, unet), (VAE_PREFIX, vae), (TEXT_PREFIX, text)):
        for name, value in module.state_dict().items():
            half = value.to(torch.float16) if value.is_floating_point() else value
            tensors[prefix + name] = half.contiguous()
    positions = TEXT_PREFIX + "text_model.embeddings.position_ids"
    tensors.setdefault(positions, torch.arange(POSITIONS)[None])
    part = path.with_suffix(".part")
    save_file(tensors, str(part), metadata=METADATA)
    OmegaConf.save(OmegaConf.create(config(scale_factor)), path.with_suffix(".yaml"))
    part.replace(path)


def read(source: Path | str) -> tuple[dict[str, Tensor], float]:
    """All tensors of a checkpoint, and the scale factor of its .yaml.

    `source` is a name of `weights.UNETS`, or a file with its .yaml beside it. Raises
    FileNotFoundError where a file is missing.
    """
    if str(source) in weights.UNETS:
        tensors, settings = weights.assemble(str(source)), weights.FOLDER / weights.SETTINGS
    else:
        path = Path(source)
        settings = path.with_suffix(".yaml")
        for file in (path, settings):
            if not file.is_file():
                raise FileNotFoundError(f"{file} is missing; by name there are {', '.join(weights.UNETS)}")
        tensors = load_file(str(path))
    return tensors, float(OmegaConf.load(settings).model.params.scale_factor)


def part_of(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors under `prefix`, without it, as fp32 (whole numbers stay)."""
    return {
        name[len(prefix) :]: value.float() if value.is_floating_point() else value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
