"""The checkpoint in use, in the shape the webui gives it: `sd_model.model.diffusion_model` and so on."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from typing import Any

import torch
from torch import Tensor

from modules import devices, shared


@dataclasses.dataclass
class CheckpointInfo:
    filename: str
    sha256: str

    def __post_init__(self) -> None:
        self.name = os.path.basename(self.filename)
        self.name_for_extra = self.model_name = os.path.splitext(self.name)[0]
        self.shorthash = self.sha256[:10]
        self.title = self.short_title = f"{self.name} [{self.shorthash}]"


class TextEncoder(torch.nn.Module):
    """CLIP's text model and tokenizer behind two methods."""

    def __init__(self, text: Any) -> None:
        super().__init__()
        self.transformer, self.tokenizer = text.transformer, text.tokenizer
        self.id_start, self.id_end = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id

    def tokenize(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False).input_ids

    def encode_ids(self, ids: Tensor) -> Tensor:
        """(B, 77) to (B, 77, width), after the final layer norm."""
        with torch.no_grad():
            return self.transformer(input_ids=ids.to(devices.device)).last_hidden_state


class DiffusionWrapper(torch.nn.Module):
    conditioning_key = "crossattn"

    def __init__(self, unet: torch.nn.Module) -> None:
        super().__init__()
        self.diffusion_model = unet

    def forward(self, x: Tensor, t: Tensor, c_crossattn: list[Tensor], c_concat: Any = None) -> Tensor:
        return self.diffusion_model(x, t, context=torch.cat(c_crossattn, 1))


class LatentDiffusion(torch.nn.Module):
    """What extensions call `p.sd_model`."""

    is_sd1, is_sd2, is_sdxl, is_ssd, is_sd3 = True, False, False, False, False
    is_sdxl_inpaint = False
    cond_stage_key, parameterization = "txt", "eps"

    def __init__(self, loaded: Any, info: CheckpointInfo) -> None:
        super().__init__()
        self.model = DiffusionWrapper(loaded.unet)
        self.first_stage_model = loaded.vae
        self.cond_stage_model = TextEncoder(loaded.text)
        self.register_buffer("alphas_cumprod", loaded.alphas_cumprod.float())
        self.scale_factor = float(loaded.scale_factor)
        self.sd_checkpoint_info, self.sd_model_hash = info, info.shorthash
        self.sd_model_checkpoint = info.filename

    @property
    def device(self) -> torch.device:
        return self.alphas_cumprod.device

    def apply_model(self, x: Tensor, t: Tensor, cond: dict[str, Any]) -> Tensor:
        return self.model(x, t, **cond)

    def get_learned_conditioning(self, prompts: list[str]) -> Tensor:
        from modules import prompt_parser

        return prompt_parser.stack_conds(prompt_parser.get_learned_conditioning(prompts))

    @torch.no_grad()
    def decode_first_stage(self, z: Tensor) -> Tensor:
        """(B, 4, h, w) to (B, 3, 8h, 8w) in −1…1."""
        return self.first_stage_model.decode(z / self.scale_factor)

    @torch.no_grad()
    def encode_first_stage(self, x: Tensor) -> Any:
        return self.first_stage_model.encode(x)

    def get_first_stage_encoding(self, posterior: Any) -> Tensor:
        return self.scale_factor * (posterior if isinstance(posterior, Tensor) else posterior.mode())

    def ema_scope(self, context: Any = None) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()


def load_model(loaded: Any) -> LatentDiffusion:
    """Wrap the parts that `loaded` (see playground/model/load.py) holds and put them in use."""
    from modules import script_callbacks, sd_hijack_optimizations

    info = CheckpointInfo(loaded.filename, loaded.sha256)
    shared.sd_model = LatentDiffusion(loaded, info).eval().requires_grad_(False).to(devices.device)
    checkpoints_list[info.title] = info
    checkpoint_aliases.update({x: info for x in (info.title, info.name, info.name_for_extra, info.shorthash)})
    shared.opts.data["sd_model_checkpoint"] = info.title
    shared.opts.onchange("cross_attention_optimization", sd_hijack_optimizations.apply_optimizations)
    script_callbacks.model_loaded_callback(shared.sd_model)
    return shared.sd_model


checkpoints_list: dict[str, CheckpointInfo] = {}
checkpoint_aliases: dict[str, CheckpointInfo] = {}


def get_closet_checkpoint_match(name: str) -> CheckpointInfo | None:
    return checkpoint_aliases.get(name)


def reload_model_weights(sd_model: Any = None, info: Any = None) -> Any:
    """There is one checkpoint: nothing to reload."""
    return shared.sd_model
