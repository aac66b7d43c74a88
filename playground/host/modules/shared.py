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
    api=True, nowebui=False, port=7860, listen=False, share=False, lowvram=False, medvram=False,
    no_half=True, precision="full", xformers=False, opt_sdp_attention=True, disable_all_extensions=False,
    hide_ui_dir_config=True, no_prompt_history=False, api_log=False, data_dir="", skip_install=True,
)  # fmt: skip

state = State()
queue_lock = threading.Lock()
"""One generation at a time."""

sd_model: Any = None
demo: gr.Blocks | None = None
loaded_hypernetworks: list[Any] = []
sd_upscalers: list[Any] = []
xformers_available = False
parallel_processing_allowed = True

latent_upscale_default_mode = "Latent"
latent_upscale_modes: dict[str, dict[str, Any]] = {
    "Latent": {"mode": "bilinear", "antialias": False},
    "Latent (antialiased)": {"mode": "bilinear", "antialias": True},
    "Latent (bicubic)": {"mode": "bicubic", "antialias": False},
    "Latent (bicubic antialiased)": {"mode": "bicubic", "antialias": True},
    "Latent (nearest)": {"mode": "nearest", "antialias": False},
    "Latent (nearest-exact)": {"mode": "nearest-exact", "antialias": False},
}

SLIDER = gr.Slider
options_templates: dict[str, OptionInfo] = {
    **options_section(("sd", "Stable Diffusion"), {
        "sd_model_checkpoint": OptionInfo("", "Stable Diffusion checkpoint"),
        "CLIP_stop_at_last_layers": OptionInfo(1, "Clip skip", SLIDER, {"minimum": 1, "maximum": 1, "step": 1}),
        "eta_ancestral": OptionInfo(1.0, "Eta for ancestral samplers", SLIDER,
                                    {"minimum": 0.0, "maximum": 1.0, "step": 0.01}, infotext="Eta"),
    }),
    **options_section(("optimizations", "Optimizations"), {
        "cross_attention_optimization": OptionInfo(
            "Automatic", "Cross attention optimization", gr.Dropdown,
            {"choices": ["Automatic", "sdp-no-mem", "None"]}),
        "upcast_attn": OptionInfo(False, "Upcast cross attention layer to float32"),
        "s_min_uncond": OptionInfo(0.0, "Negative Guidance minimum sigma", SLIDER,
                                   {"minimum": 0.0, "maximum": 15.0, "step": 0.01}, infotext="NGMS"),
        "s_min_uncond_all": OptionInfo(False, "Negative Guidance minimum sigma all steps", infotext="NGMS all steps"),
        "skip_early_cond": OptionInfo(0.0, "Ignore negative prompt during early sampling", SLIDER,
                                      {"minimum": 0.0, "maximum": 1.0, "step": 0.01}, infotext="Skip Early CFG"),
        "batch_cond_uncond": OptionInfo(True, "Batch cond/uncond"),
        "pad_cond_uncond": OptionInfo(False, "Pad prompt/negative prompt", infotext="Pad conds"),
    }),
    **options_section(("saving-images", "Pictures"), {
        "samples_format": OptionInfo("png", "File format for images"),
        "enable_pnginfo": OptionInfo(True, "Write infotext to metadata of the generated image"),
        "return_grid": OptionInfo(True, "Show grid in results for web"),
        "grid_only_if_multiple": OptionInfo(True, "Do not make grids consisting of one picture"),
        "img2img_fix_steps": OptionInfo(False, "With img2img, do exactly the amount of steps the slider specifies"),
    }),
    **options_section(("ui", "Live previews"), {
        "live_previews_enable": OptionInfo(True, "Show live previews of the created image"),
        "show_progress_every_n_steps": OptionInfo(2, "Live preview display period", SLIDER,
                                                  {"minimum": -1, "maximum": 32, "step": 1}),
        "live_preview_refresh_period": OptionInfo(300, "Progressbar and preview update period"),
        "send_seed": OptionInfo(True, "Send seed when sending prompt or image to other interface"),
        "send_size": OptionInfo(True, "Send size when sending prompt or image to another interface"),
    }),
    **options_section((None, "Hidden options"), {
        "playground": OptionInfo(True, "This is the playground"),
        "hide_samplers": OptionInfo([], "Hide samplers"),
        "infotext_skip_pasting": OptionInfo([], "Disregard fields from pasted infotext"),
    }),
}  # fmt: skip
opts = Options(options_templates)
