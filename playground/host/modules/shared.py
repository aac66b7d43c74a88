"""Global objects: settings, state, the loaded model, the gradio app."""

from __future__ import annotations

import argparse
import threading
from typing import Any

import gradio as gr

from modules.devices import device  # noqa: F401  (part of the interface)
from modules.options import OptionInfo, Options, options_section
from modules.shared_state import State

__all__ = ["OptionInfo", "cmd_opts", "demo", "options_section", "opts", "sd_model", "state"]

cmd_opts = argparse.Namespace(
    api=True, nowebui=False, port=7860, listen=False, share=False, api_auth=None, gradio_auth=None, no_half=True,
)  # fmt: skip

state = State()
queue_lock = threading.RLock()
"""One generation at a time."""

sd_model: Any = None
demo: gr.Blocks | None = None
loaded_hypernetworks: list[Any] = []

latent_upscale_default_mode = "Latent"
latent_upscale_modes: dict[str, dict[str, Any]] = {
    "Latent": {"mode": "bilinear", "antialias": False},
    "Latent (bicubic)": {"mode": "bicubic", "antialias": False},
    "Latent (nearest-exact)": {"mode": "nearest-exact", "antialias": False},
}

options_templates: dict[str, OptionInfo] = {
    **options_section(("sd", "Stable Diffusion"), {
        "sd_model_checkpoint": OptionInfo("", "Stable Diffusion checkpoint"),
    }),
    **options_section(("optimizations", "Optimizations"), {
        "cross_attention_optimization": OptionInfo(
            "Automatic", "Cross attention optimization", gr.Dropdown,
            {"choices": ["Automatic", "sdp-no-mem", "None"]}),
        "upcast_attn": OptionInfo(False, "Upcast cross attention layer to float32"),
        "skip_early_cond": OptionInfo(
            0.0, "Ignore negative prompt during early sampling", gr.Slider,
            {"minimum": 0.0, "maximum": 1.0, "step": 0.01}, infotext="Skip Early CFG"),
        "batch_cond_uncond": OptionInfo(True, "Batch cond/uncond"),
    }),
    **options_section(("saving-images", "Pictures"), {
        "return_grid": OptionInfo(True, "Show grid in results for web"),
        "samples_save": OptionInfo(True, "Always save all generated images"),
        "outdir_txt2img_samples": OptionInfo("", "Folder for txt2img pictures (empty: data/outputs/txt2img-images)"),
        "outdir_img2img_samples": OptionInfo("", "Folder for img2img pictures (empty: data/outputs/img2img-images)"),
    }),
    **options_section((None, "Hidden options"), {
        "playground": OptionInfo(True, "This is the playground"),
    }),
}  # fmt: skip
opts = Options(options_templates)
