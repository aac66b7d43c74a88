"""The light loader: the playground's checkpoint as plain torch modules, fp32 on the CPU.

model = load("pladis-playground")                                      # or the path of a checkpoint file
context = model.text(["a red circle left of a blue square"])          # (1, 77, 128)
eps = model.unet(latents, timesteps, context=context)                 # (1, 4, 16, 16)
pictures = model.vae.decode(latents / model.scale_factor)             # (1, 3, 128, 128)
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ldm.modules.diffusionmodules.openaimodel import UNetModel
from omegaconf import OmegaConf
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from . import tokenizer as clip
from . import weights
from .nets import AutoencoderKL, text_model, unet
from .weights import NAME, TEXT_PREFIX, UNET_PREFIX, VAE_PREFIX


class Text(nn.Module):
    """Prompts -> context, as SD1 does: 77 tokens, padded with <|endoftext|>, last hidden state."""

    def __init__(self, transformer: CLIPTextModel, tokenizer: CLIPTokenizer) -> None:
        super().__init__()
        self.transformer = transformer
        self.tokenizer = tokenizer

    def forward(self, prompts: list[str]) -> Tensor:
        """Texts (cut after 75 tokens) -> (len(prompts), 77, 128) float32."""
        batch = self.tokenizer(prompts, padding="max_length", truncation=True, max_length=77, return_tensors="pt")
        return self.encode_ids(batch["input_ids"])

    def encode_ids(self, ids: Tensor) -> Tensor:
        """(B, 77) CLIP token ids, with start and end marks -> (B, 77, 128) float32."""
        return self.transformer(input_ids=ids).last_hidden_state


@dataclass
class Model:
    """The networks in eval mode without gradients; `unet` is a real ldm UNetModel."""

    unet: UNetModel
    vae: AutoencoderKL
    text: Text
    alphas_cumprod: Tensor
    scale_factor: float
    source: Path | str

    @property
    def filename(self) -> str:
        """The checkpoint's file; for a name the one that export.py would write."""
        return filename(self.source)

    @cached_property
    def sha256(self) -> str:
        """Of that file, in hex."""
        return weights.sha256(self.source)


def filename(source: Path | str) -> str:
    """As `Model.filename`."""
    return f"{source}.safetensors" if str(source) in weights.UNETS else str(source)


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


def load(source: Path | str = NAME, cache: Path | str | None = None) -> Model:
    """The model `source`: a name of `weights.UNETS`, or a checkpoint file with its .yaml beside it.

    `cache` is the folder in which the tokenizer's files are kept (built when missing); without it
    a folder in the system's temporary one.
    Raises FileNotFoundError where a file is missing, RuntimeError where tensors do not fit.
    """
    tensors, scale_factor = read(source)
    folder = Path(cache) if cache else Path(tempfile.gettempdir()) / f"{NAME}-clip"
    model = Model(
        unet=unet(),
        vae=AutoencoderKL(),
        text=Text(text_model(), clip.load(folder)),
        alphas_cumprod=tensors["alphas_cumprod"].float(),
        scale_factor=scale_factor,
        source=source,
    )
    parts = ((model.unet, UNET_PREFIX), (model.vae, VAE_PREFIX), (model.text.transformer, TEXT_PREFIX))
    for module, prefix in parts:
        # position_ids is a buffer in some versions of transformers only, and always 0, 1, 2, ...
        found = part_of(tensors, prefix)
        missing, unexpected = module.load_state_dict(found, strict=False)
        wrong = [name for name in (*missing, *unexpected) if not name.endswith("position_ids")]
        if wrong:
            raise RuntimeError(f"{source} does not fit at {prefix}: {', '.join(wrong[:5])}")
        module.eval().requires_grad_(False)
    return model
