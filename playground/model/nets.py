"""The networks of the playground's model, in the layout of an SD1 checkpoint.

Built from the real `ldm` modules (package stable-diffusion-sdkit) and transformers' CLIP text
model; the same numbers are in weights/model.yaml, which a webui reads.
"""

from __future__ import annotations

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


class AutoencoderKL(nn.Module):
    """ldm's 8× autoencoder without its training code: same keys, same numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder(**VAE)
        self.decoder = Decoder(**VAE)
        self.quant_conv = nn.Conv2d(8, 8, 1)
        self.post_quant_conv = nn.Conv2d(4, 4, 1)

    def encode(self, pictures: Tensor) -> Tensor:
        """(B, 3, 8h, 8w) in [-1, 1] -> posterior mean (B, 4, h, w), not yet scaled."""
        return self.quant_conv(self.encoder(pictures)).chunk(2, dim=1)[0]

    def decode(self, latents: Tensor) -> Tensor:
        """(B, 4, h, w), not scaled -> pictures (B, 3, 8h, 8w), about [-1, 1]."""
        return self.decoder(self.post_quant_conv(latents))


def unet() -> UNetModel:
    """A fresh ldm UNetModel: call it as unet(latents, timesteps, context=context)."""
    return UNetModel(**UNET)


def text_model() -> CLIPTextModel:
    """A fresh CLIP text model."""
    return CLIPTextModel(CLIPTextConfig(**TEXT))
