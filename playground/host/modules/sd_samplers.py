"""Samplers: the step formulas of k-diffusion and DDIM, and what surrounds them."""

from __future__ import annotations

import dataclasses
import inspect
import time
from collections.abc import Callable
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from modules import images, shared
from modules.sd_samplers_cfg_denoiser import CFGDenoiser, InterruptedException
from modules.sd_schedulers import CompVisDenoiser, CompVisTimestepsDenoiser, get_sigmas, schedulers
from modules.shared import opts, state

Model = Callable[[Tensor, Tensor], Tensor]
Noise = Callable[[], Tensor]
Callback = Callable[[int], None]


def sample_euler(model: Model, x: Tensor, sigmas: Tensor, callback: Callback, noise: Noise) -> Tensor:
    for i in range(len(sigmas) - 1):
        denoised = model(x, sigmas[i])
        callback(i)
        x = x + (x - denoised) / sigmas[i] * (sigmas[i + 1] - sigmas[i])
    return x


def sample_euler_ancestral(
    model: Model, x: Tensor, sigmas: Tensor, callback: Callback, noise: Noise, eta: float = 1.0
) -> Tensor:
    for i in range(len(sigmas) - 1):
        now, then = sigmas[i], sigmas[i + 1]
        up = torch.minimum(then, eta * (then**2 * (now**2 - then**2) / now**2).sqrt())
        down = (then**2 - up**2).sqrt()
        denoised = model(x, now)
        callback(i)
        x = x + (x - denoised) / now * (down - now)
        if then > 0:
            x = x + noise() * up
    return x


def sample_heun(model: Model, x: Tensor, sigmas: Tensor, callback: Callback, noise: Noise) -> Tensor:
    """Two calls of the model a step, one in the last."""
    for i in range(len(sigmas) - 1):
        now, then = sigmas[i], sigmas[i + 1]
        d = (x - model(x, now)) / now
        callback(i)
        x_euler = x + d * (then - now)
        if then > 0:
            d = (d + (x_euler - model(x_euler, then)) / then) / 2
        x = x + d * (then - now)
    return x


def sample_dpmpp_2m(model: Model, x: Tensor, sigmas: Tensor, callback: Callback, noise: Noise) -> Tensor:
    """DPM-Solver++(2M), arXiv 2211.01095, in λ = −log σ."""
    previous: Tensor | None = None
    h_last = torch.tensor(0.0)
    for i in range(len(sigmas) - 1):
        now, then = sigmas[i], sigmas[i + 1]
        denoised = model(x, now)
        callback(i)
        h = now.log() - then.log()
        d = denoised
        if previous is not None and then > 0:
            r = h_last / h
            d = (1 + 1 / (2 * r)) * denoised - 1 / (2 * r) * previous
        x = then / now * x - torch.expm1(-h) * d
        previous, h_last = denoised, h
    return x


def sample_ddim(model: Model, x: Tensor, timesteps: Tensor, callback: Callback, noise: Noise) -> Tensor:
    """DDIM, η = 0; here the model returns ε for a whole-number timestep and x is not scaled by σ."""
    alphas = shared.sd_model.alphas_cumprod
    for i in range(len(timesteps) - 1):
        a, a_prev = alphas[timesteps[i]], alphas[timesteps[i + 1]]
        e = model(x, timesteps[i])
        callback(i)
        x0 = (x - (1 - a).sqrt() * e) / a.sqrt()
        x = a_prev.sqrt() * x0 + (1 - a_prev).sqrt() * e
    return x


@dataclasses.dataclass
class SamplerData:
    name: str
    func: Callable[..., Tensor]
    aliases: list[str]
    options: dict[str, Any]

    def total_steps(self, steps: int) -> int:
        return steps * 2 if self.options.get("second_order") else steps


all_samplers = [
    SamplerData("DPM++ 2M", sample_dpmpp_2m, ["k_dpmpp_2m"], {"scheduler": "karras"}),
    SamplerData("Euler a", sample_euler_ancestral, ["k_euler_a", "k_euler_ancestral"], {"uses_ensd": True}),
    SamplerData("Euler", sample_euler, ["k_euler"], {}),
    SamplerData("Heun", sample_heun, ["k_heun"], {"second_order": True}),
    SamplerData("DDIM", sample_ddim, ["ddim"], {"timesteps": True}),
]
samplers = samplers_for_img2img = all_samplers
all_samplers_map = {x.name: x for x in all_samplers}
samplers_map = {name.lower(): x.name for x in all_samplers for name in [x.name, *x.aliases]}


def find_sampler_config(name: str | None) -> SamplerData | None:
    return all_samplers[0] if name is None else all_samplers_map.get(name)


def visible_sampler_names() -> list[str]:
    return [x.name for x in samplers if x.name not in opts.hide_samplers]


def get_sampler_and_scheduler(sampler_name: str | None, scheduler_name: str | None) -> tuple[str, str]:
    """Names as used now; "DPM++ 2M Karras" becomes ("DPM++ 2M", "Karras"), unknown names the default."""
    name, found = sampler_name or all_samplers[0].name, scheduler_name or "Automatic"
    for scheduler in schedulers:
        if name.endswith(" " + scheduler):
            name, found = name[: -len(scheduler) - 1], scheduler
    config = all_samplers_map.get(samplers_map.get(name.lower(), ""), all_samplers[0])
    if config.options.get("scheduler") == found.lower():
        found = "Automatic"
    return config.name, found if found in schedulers else "Automatic"


class CFGDenoiserTimesteps(CFGDenoiser):
    mask_before_denoising = True

    def get_pred_x0(self, x_in: Tensor, x_out: Tensor, sigma: Tensor) -> Tensor:
        a = shared.sd_model.alphas_cumprod[sigma.long()][:, None, None, None]
        return (x_in - (1 - a).sqrt() * x_out) / a.sqrt()


class Sampler:
    """One sampler on one model, for one pass."""

    def __init__(self, config: SamplerData, sd_model: Any) -> None:
        self.config, self.func, self.funcname = config, config.func, config.func.__name__
        self.timesteps = bool(config.options.get("timesteps"))
        self.model_wrap = (CompVisTimestepsDenoiser if self.timesteps else CompVisDenoiser)(sd_model)
        self.model_wrap_cfg = (CFGDenoiserTimesteps if self.timesteps else CFGDenoiser)(self, self.model_wrap)
        self.last_latent: Tensor | None = None
        self.sampler_extra_args: dict[str, Any] = {}

    def get_sigmas(self, p: Any, steps: int) -> Tensor:
        """Falling σ, (steps + 1,), last 0; for DDIM falling timesteps."""
        if self.timesteps:
            return get_sigmas("timesteps", steps, self.model_wrap)
        name = (p.hr_scheduler if p.is_hr_pass else p.scheduler) or "Automatic"
        if name != "Automatic" and not p.is_hr_pass:
            p.extra_generation_params["Schedule type"] = name
        return get_sigmas(
            self.config.options.get("scheduler", "") if name == "Automatic" else name, steps, self.model_wrap
        )

    def add_noise(self, x: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
        if self.timesteps:
            a = shared.sd_model.alphas_cumprod[sigma]
            return x * a.sqrt() + noise * (1 - a).sqrt()
        return x + noise * sigma

    def callback_state(self, step: int) -> None:
        state.sampling_step = step

    def launch(self, p: Any, x: Tensor, sigmas: Tensor, cond: Any, uncond: Any, image_cond: Tensor) -> Tensor:
        steps = len(sigmas) - 1
        cfg = self.model_wrap_cfg
        cfg.p, cfg.step, cfg.steps, cfg.total_steps = p, 0, steps, self.config.total_steps(steps)
        cfg.mask, cfg.nmask = getattr(p, "mask", None), getattr(p, "nmask", None)
        state.sampling_steps, state.sampling_step = steps, 0
        self.last_latent = x
        self.sampler_extra_args = {
            "cond": cond, "uncond": uncond, "cond_scale": p.cfg_scale, "image_cond": image_cond,
            "s_min_uncond": opts.s_min_uncond if p.s_min_uncond is None else p.s_min_uncond,
        }  # fmt: skip
        kwargs = {}
        if "eta" in inspect.signature(self.func).parameters:
            kwargs["eta"] = opts.eta_ancestral if p.eta is None else p.eta
            if kwargs["eta"] != 1.0:
                p.extra_generation_params["Eta"] = kwargs["eta"]
        ones = x.new_ones(len(x))
        start = time.perf_counter()
        try:
            return self.func(
                lambda x, sigma: cfg(x, sigma * ones, **self.sampler_extra_args),
                x, sigmas, self.callback_state, p.rng.next, **kwargs,
            )  # fmt: skip
        except InterruptedException:
            return self.last_latent
        finally:
            p.seconds_sampling += time.perf_counter() - start
            p.steps_sampled += cfg.step / (self.config.total_steps(steps) / steps if steps else 1)

    def sample(
        self, p: Any, x: Tensor, conditioning: Any, unconditional_conditioning: Any,
        steps: int | None = None, image_conditioning: Any = None,
    ) -> Tensor:  # fmt: skip
        sigmas = self.get_sigmas(p, steps or p.steps)
        x = x if self.timesteps else x * sigmas[0]
        return self.launch(p, x, sigmas, conditioning, unconditional_conditioning, image_conditioning)

    def sample_img2img(
        self, p: Any, x: Tensor, noise: Tensor, conditioning: Any, unconditional_conditioning: Any,
        steps: int | None = None, image_conditioning: Any = None,
    ) -> Tensor:  # fmt: skip
        strength = min(p.denoising_strength, 0.999)
        if opts.img2img_fix_steps or steps is not None:
            wanted = steps or p.steps
            total, t_enc = int(wanted / strength) if strength > 0 else 0, wanted - 1
        else:
            total, t_enc = p.steps, int(strength * p.steps)
        sigmas = self.get_sigmas(p, total)[total - t_enc - 1 :]
        xi = self.add_noise(x, noise, sigmas[0])
        self.model_wrap_cfg.init_latent = x
        return self.launch(p, xi, sigmas, conditioning, unconditional_conditioning, image_conditioning)


def create_sampler(name: str | None, model: Any) -> Sampler:
    config = find_sampler_config(name)
    if config is None:
        raise ValueError(f"bad sampler name: {name}")
    return Sampler(config, model)


def sample_to_image(samples: Tensor, index: int = 0) -> Image.Image:
    return images.tensor_to_image(shared.sd_model.decode_first_stage(samples[index : index + 1])[0])


def samples_to_image_grid(samples: Tensor) -> Image.Image:
    return images.image_grid([sample_to_image(samples, i) for i in range(len(samples))])
