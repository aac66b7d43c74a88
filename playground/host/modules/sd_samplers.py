"""Samplers: a table of k-diffusion's, and what surrounds one on a pass."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from modules import images, shared
from modules.k_diffusion import sampling
from modules.sd_samplers_cfg_denoiser import CFGDenoiser, InterruptedException
from modules.sd_schedulers import SCHEDULES, CompVisDenoiser, schedulers
from modules.shared import state


@dataclasses.dataclass
class SamplerData:
    name: str
    funcname: str
    aliases: list[str]
    options: dict[str, Any]

    def total_steps(self, steps: int) -> int:
        """Calls of the model that `steps` steps make, about."""
        return steps * 2 if self.options.get("second_order") else steps


KARRAS, TWICE, BROWNIAN = {"scheduler": "Karras"}, {"second_order": True}, {"brownian_noise": True}
all_samplers = [
    SamplerData("DPM++ 2M", "sample_dpmpp_2m", ["k_dpmpp_2m"], KARRAS),
    SamplerData("DPM++ SDE", "sample_dpmpp_sde", ["k_dpmpp_sde"], {**KARRAS, **TWICE, **BROWNIAN}),
    SamplerData("DPM++ 2S a", "sample_dpmpp_2s_ancestral", ["k_dpmpp_2s_a"], {**KARRAS, **TWICE}),
    SamplerData("Euler a", "sample_euler_ancestral", ["k_euler_a", "k_euler_ancestral"], {}),
    SamplerData("Euler", "sample_euler", ["k_euler"], {}),
    SamplerData("LMS", "sample_lms", ["k_lms"], {}),
    SamplerData("Heun", "sample_heun", ["k_heun"], TWICE),
    SamplerData("DPM2", "sample_dpm_2", ["k_dpm_2"], {**KARRAS, **TWICE, "discard_next_to_last_sigma": True}),
    SamplerData("DDIM", "sample_euler", ["ddim"], {"scheduler": "DDIM"}),
]
samplers = samplers_for_img2img = all_samplers
all_samplers_map = {x.name: x for x in all_samplers}
samplers_map = {name.lower(): x.name for x in all_samplers for name in [x.name, *x.aliases]}


def visible_sampler_names() -> list[str]:
    return [x.name for x in samplers]


def get_sampler_and_scheduler(sampler_name: str | None, scheduler_name: str | None) -> tuple[str, str]:
    """Names as used now; "DPM++ 2M Karras" becomes ("DPM++ 2M", "Karras"), unknown names the default."""
    name, found = sampler_name or all_samplers[0].name, scheduler_name or "Automatic"
    for scheduler in schedulers:
        if name.endswith(" " + scheduler):
            name, found = name[: -len(scheduler) - 1], scheduler
    config = all_samplers_map.get(samplers_map.get(name.lower(), ""), all_samplers[0])
    known = found in schedulers and found != config.options.get("scheduler")
    return config.name, found if known else "Automatic"


class KDiffusionSampler:
    """One sampler on one model, for one pass."""

    def __init__(self, config: SamplerData, sd_model: Any) -> None:
        self.config, self.funcname = config, config.funcname
        self.func = getattr(sampling, config.funcname)
        self.model_wrap = CompVisDenoiser(sd_model)
        self.model_wrap_cfg = CFGDenoiser(self, self.model_wrap)
        self.last_latent: Tensor | None = None

    def get_sigmas(self, p: Any, steps: int) -> Tensor:
        """Falling σ, (steps + 1,)."""
        name = p.scheduler or "Automatic"
        schedule = SCHEDULES[self.config.options.get("scheduler", "Uniform") if name == "Automatic" else name]
        if self.config.options.get("discard_next_to_last_sigma"):
            sigmas = schedule(steps + 1, self.model_wrap)
            return torch.cat([sigmas[:-2], sigmas[-1:]])
        return schedule(steps, self.model_wrap)

    def callback_state(self, d: dict[str, Any]) -> None:
        state.sampling_step = d["i"]

    def noise_sampler(self, p: Any, x: Tensor, sigmas: Tensor) -> Any:
        """Noise for the samplers that add some: the same for a picture alone and in a batch."""
        if self.config.options.get("brownian_noise"):
            return sampling.BrownianTreeNoiseSampler(x, sigmas[sigmas > 0].min(), sigmas.max(), seed=p.seeds)
        return lambda sigma, sigma_next: p.rng.next()

    def launch(self, p: Any, x: Tensor, sigmas: Tensor, cond: Any, uncond: Any) -> Tensor:
        steps = len(sigmas) - 1
        cfg = self.model_wrap_cfg
        cfg.p, cfg.step, cfg.steps, cfg.total_steps = p, 0, steps, self.config.total_steps(steps)
        cfg.mask, cfg.nmask = getattr(p, "mask", None), getattr(p, "nmask", None)
        state.sampling_steps, state.sampling_step = steps, 0
        self.last_latent = x
        self.sampler_extra_args = {"cond": cond, "uncond": uncond, "cond_scale": p.cfg_scale}
        options: dict[str, Any] = {}
        taken = inspect.signature(self.func).parameters
        if "noise_sampler" in taken:
            options["noise_sampler"] = self.noise_sampler(p, x, sigmas)
        if "eta" in taken and p.eta is not None:
            options["eta"] = p.extra_generation_params["Eta"] = p.eta
        guide = {"extra_args": self.sampler_extra_args, "callback": self.callback_state, "disable": True}
        try:
            return self.func(cfg, x, sigmas, **guide, **options)
        except InterruptedException:
            return self.last_latent

    def sample(self, p: Any, x: Tensor, cond: Any, uncond: Any) -> Tensor:
        sigmas = self.get_sigmas(p, p.steps)
        first = (sigmas[0] ** 2 + 1).sqrt() if self.config.name == "DDIM" else sigmas[0]
        return self.launch(p, x * first, sigmas, cond, uncond)

    def sample_img2img(self, p: Any, x: Tensor, noise: Tensor, cond: Any, uncond: Any, steps: int = 0) -> Tensor:
        """The last part of a pass, as much as the denoising strength says; with `steps`, exactly so many steps."""
        strength = min(p.denoising_strength, 0.999)
        total, last = p.steps, int(strength * p.steps)
        if steps:
            total, last = int(steps / strength) if strength > 0 else 0, steps - 1
        sigmas = self.get_sigmas(p, total)[total - last - 1 :]
        self.model_wrap_cfg.init_latent = x
        return self.launch(p, x + noise * sigmas[0], sigmas, cond, uncond)


def create_sampler(name: str | None, model: Any) -> KDiffusionSampler:
    return KDiffusionSampler(all_samplers_map[name or all_samplers[0].name], model)


def samples_to_image_grid(samples: Tensor) -> Image.Image:
    return images.image_grid([images.tensor_to_image(x) for x in shared.sd_model.decode_first_stage(samples)])
