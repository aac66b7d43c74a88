"""The networks of the playground's model, in the layout of an SD1 checkpoint.

Built from the real `ldm` modules (package stable-diffusion-sdkit) and transformers' CLIP text
model; the same numbers are in weights/model.yaml, which a webui reads.
"""

from __future__ import annotations

import numpy as np
import torch
from ldm.modules.diffusionmodules.model import Decoder, Encoder
from ldm.modules.diffusionmodules.openaimodel import UNetModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from .weights import TOKENS

WIDTH = 128
"""Width of the text model = context_dim of the UNet."""
POSITIONS = 77
"""Tokens of a prompt."""

UNET = {
    "image_size": 16,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 64,
    "attention_resolutions": [2, 4],
    "num_res_blocks": [0, 1, 1],
    "channel_mult": [1, 1, 2],
    "num_heads": 4,
    "use_spatial_transformer": True,
    "transformer_depth": 1,
    "context_dim": WIDTH,
    "use_checkpoint": False,
    "legacy": False,
}
VAE = {
    "double_z": True,
    "z_channels": 4,
    "resolution": 128,
    "in_channels": 3,
    "out_ch": 3,
    "ch": 64,
    "ch_mult": [1, 1, 1, 2],
    "num_res_blocks": 0,
    "attn_resolutions": [],
    "dropout": 0.0,
}
TEXT = {
    "hidden_size": WIDTH,
    "intermediate_size": 256,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": POSITIONS,
    "hidden_act": "quick_gelu",
    "vocab_size": TOKENS,
    "bos_token_id": 49406,
    "eos_token_id": 49407,
    "pad_token_id": 49407,
}
STEPS = 1000
LINEAR_START, LINEAR_END = 0.00085, 0.0120


class AutoencoderKL(nn.Module):
    """ldm's 8× autoencoder without its training code: same keys, same numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder(**VAE)
        self.decoder = Decoder(**VAE)
        self.quant_conv = nn.Conv2d(8, 8, 1)
        self.post_quant_conv = nn.Conv2d(4, 4, 1)

    def moments(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, 8h, 8w) in [-1, 1] -> mean and log variance of the posterior, (B, 4, h, w)."""
        mean, log_variance = self.quant_conv(self.encoder(pictures)).chunk(2, dim=1)
        return mean, log_variance.clamp(-30.0, 20.0)

    def encode(self, pictures: Tensor) -> Tensor:
        """(B, 3, 8h, 8w) in [-1, 1] -> posterior mean (B, 4, h, w), not yet scaled."""
        return self.moments(pictures)[0]

    def decode(self, latents: Tensor) -> Tensor:
        """(B, 4, h, w), not scaled -> pictures (B, 3, 8h, 8w), about [-1, 1]."""
        return self.decoder(self.post_quant_conv(latents))


def unet() -> UNetModel:
    """A fresh ldm UNetModel: call it as unet(latents, timesteps, context=context)."""
    return UNetModel(**UNET)


def text_model(vocabulary: int | None = None) -> CLIPTextModel:
    """A fresh CLIP text model; training uses a smaller `vocabulary`, see `train_text.py`."""
    return CLIPTextModel(CLIPTextConfig(**{**TEXT, "vocab_size": vocabulary or TOKENS}))


def schedule() -> dict[str, Tensor]:
    """The DDPM buffers of an SD1 checkpoint (ldm's "linear" schedule), fp32, 1000 long each."""
    betas = np.linspace(LINEAR_START**0.5, LINEAR_END**0.5, STEPS, dtype=np.float64) ** 2
    bar = np.cumprod(1.0 - betas)
    previous = np.append(1.0, bar[:-1])
    variance = betas * (1.0 - previous) / (1.0 - bar)
    values = {
        "betas": betas,
        "alphas_cumprod": bar,
        "alphas_cumprod_prev": previous,
        "sqrt_alphas_cumprod": np.sqrt(bar),
        "sqrt_one_minus_alphas_cumprod": np.sqrt(1.0 - bar),
        "log_one_minus_alphas_cumprod": np.log(1.0 - bar),
        "sqrt_recip_alphas_cumprod": np.sqrt(1.0 / bar),
        "sqrt_recipm1_alphas_cumprod": np.sqrt(1.0 / bar - 1.0),
        "posterior_variance": variance,
        "posterior_log_variance_clipped": np.log(np.maximum(variance, 1e-20)),
        "posterior_mean_coef1": betas * np.sqrt(previous) / (1.0 - bar),
        "posterior_mean_coef2": (1.0 - previous) * np.sqrt(1.0 - betas) / (1.0 - bar),
    }
    return {name: torch.tensor(value, dtype=torch.float32) for name, value in values.items()}
