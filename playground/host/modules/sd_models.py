"""The checkpoint in use, in the shape the webui gives it: `sd_model.model.diffusion_model` and so on."""

from __future__ import annotations

import dataclasses
import functools
import os
from typing import Any

import gradio as gr
import torch
from model.load import filename, load
from model.weights import sha256
from torch import Tensor

from modules import devices, prompt_parser, script_callbacks, sd_hijack_optimizations, shared


@dataclasses.dataclass
class CheckpointInfo:
    filename: str
    sha256: str

    def __post_init__(self) -> None:
        stem, _ = os.path.splitext(self.filename)
        self.name, self.config = os.path.basename(self.filename), f"{stem}.yaml"
        self.name_for_extra = self.model_name = os.path.basename(stem)
        self.shorthash = self.hash = self.sha256[:10]
        self.title = f"{self.name} [{self.shorthash}]"


class DiffusionWrapper(torch.nn.Module):
    def __init__(self, unet: torch.nn.Module) -> None:
        super().__init__()
        self.diffusion_model = unet

    def forward(self, x: Tensor, t: Tensor, c_crossattn: list[Tensor], c_concat: Any = None) -> Tensor:
        return self.diffusion_model(x, t, context=torch.cat(c_crossattn, 1))


def with_tokenize_line(text: Any) -> Any:
    """The text encoder with what extensions call to learn a prompt's tokens."""
    text.id_start, text.id_end = text.tokenizer.bos_token_id, text.tokenizer.eos_token_id
    text.tokenize_line = functools.partial(prompt_parser.tokenize_line, tokenizer=text.tokenizer)
    return text


class LatentDiffusion(torch.nn.Module):
    """What extensions call `p.sd_model`. `loaded` holds the networks (see playground/model/load.py)."""

    is_sd1, is_sd2, is_sdxl, is_sd3 = True, False, False, False

    def __init__(self, loaded: Any, info: CheckpointInfo) -> None:
        super().__init__()
        self.model = DiffusionWrapper(loaded.unet)
        self.first_stage_model = loaded.vae
        self.cond_stage_model = with_tokenize_line(loaded.text)
        self.alphas_cumprod = loaded.alphas_cumprod.float().to(devices.device)
        self.scale_factor = float(loaded.scale_factor)
        self.sd_checkpoint_info, self.sd_model_hash = info, info.shorthash

    @property
    def device(self) -> torch.device:
        return self.alphas_cumprod.device

    def apply_model(self, x: Tensor, t: Tensor, cond: dict[str, Any]) -> Tensor:
        return self.model(x, t, **cond)

    def decode_first_stage(self, z: Tensor) -> Tensor:
        """(B, 4, h, w) to (B, 3, 8h, 8w) in −1…1."""
        with torch.no_grad():
            return self.first_stage_model.decode(z / self.scale_factor)

    def encode_first_stage(self, x: Tensor) -> Any:
        with torch.no_grad():
            return self.first_stage_model.encode(x)

    def get_first_stage_encoding(self, posterior: Any) -> Tensor:
        return self.scale_factor * (posterior if isinstance(posterior, Tensor) else posterior.mode())


checkpoints_list: dict[str, CheckpointInfo] = {}
_sources: dict[str, str] = {}
"""Of each title, what `load` takes."""


def list_models(*sources: str) -> None:
    """Make these the list of checkpoints: names, or files of the same layout (see playground/model/load.py)."""
    for source in sources:
        info = CheckpointInfo(filename(source), sha256(source))
        checkpoints_list[info.title], _sources[info.title] = info, source
    option = shared.opts.data_labels["sd_model_checkpoint"]
    option.component, option.component_args, option.onchange = gr.Dropdown, {"choices": [*checkpoints_list]}, _chosen


def _chosen() -> None:
    """Load the checkpoint that Settings says; one that isn't in the list is refused, and the last stays."""
    title = shared.opts.sd_model_checkpoint
    loaded = shared.sd_model.sd_checkpoint_info.title
    if title in checkpoints_list and title != loaded:
        with shared.queue_lock:
            load_model(_sources[title])
    elif title != loaded:
        shared.opts.sd_model_checkpoint = loaded
        raise ValueError(f"sd_model_checkpoint: got {title!r}, allowed: {', '.join(checkpoints_list)}")


def load_model(source: str) -> LatentDiffusion:
    """Load a checkpoint of the list and put it in use."""
    loaded = load(source)
    info = CheckpointInfo(loaded.filename, loaded.sha256)
    shared.sd_model = LatentDiffusion(loaded, info).eval().requires_grad_(False).to(devices.device)
    shared.opts.data["sd_model_checkpoint"] = info.title
    shared.opts.data_labels["cross_attention_optimization"].onchange = sd_hijack_optimizations.apply_optimizations
    sd_hijack_optimizations.apply_optimizations()
    script_callbacks.model_loaded_callback(shared.sd_model)
    return shared.sd_model
