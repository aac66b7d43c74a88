"""txt2img with its hires pass, and img2img with a mask: what `init` prepares and `sample` does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from modules import devices, images, rng, sd_samplers, shared
from modules.processing_base import StableDiffusionProcessing
from modules.shared import state

opt_C, opt_f = 4, 8


@dataclass(repr=False)
class StableDiffusionProcessingTxt2Img(StableDiffusionProcessing):
    enable_hr: bool = False
    denoising_strength: float = 0.75
    hr_scale: float = 2.0
    hr_upscaler: str | None = None
    hr_second_pass_steps: int = 0

    def init(self, all_prompts: list[str], all_seeds: list[int], all_subseeds: list[int]) -> None:
        if not self.enable_hr:
            return
        upscaler = self.hr_upscaler or shared.latent_upscale_default_mode
        if upscaler not in shared.latent_upscale_modes:
            raise ValueError(f"could not find upscaler named {upscaler}")
        self.latent_scale_mode = shared.latent_upscale_modes[upscaler]
        self.hr_upscale_to_x, self.hr_upscale_to_y = (int(x * self.hr_scale) for x in (self.width, self.height))
        self.extra_generation_params |= {
            "Denoising strength": self.denoising_strength,
            "Hires upscale": self.hr_scale,
            "Hires steps": self.hr_second_pass_steps or None,
            "Hires upscaler": self.hr_upscaler,
        }
        if not state.processing_has_refined_job_count:
            state.job_count = (self.n_iter if state.job_count == -1 else state.job_count) * 2
            state.processing_has_refined_job_count = True

    def sample(self, conditioning: Any, unconditional_conditioning: Any, **batch: Any) -> Tensor:
        self.sampler = sd_samplers.create_sampler(self.sampler_name, self.sd_model)
        x = self.rng.next()
        self.before_sampling(x, x, conditioning, unconditional_conditioning)
        samples = self.sampler.sample(self, x, conditioning, unconditional_conditioning)
        return self.sample_hr_pass(samples) if self.enable_hr and not state.interrupted else samples

    def sample_hr_pass(self, samples: Tensor) -> Tensor:
        """The second pass: upscale the latents, add noise, sample again."""
        self.is_hr_pass = True
        self.sampler = sd_samplers.create_sampler(self.sampler_name, self.sd_model)
        size = (self.hr_upscale_to_y // opt_f, self.hr_upscale_to_x // opt_f)
        samples = torch.nn.functional.interpolate(samples, size=size, **self.latent_scale_mode)
        state.nextjob()
        self.rng = rng.ImageRNG(samples.shape[1:], self.seeds)
        noise = self.rng.next()
        self.hr_c, self.hr_uc = self.c, self.uc
        self.runner.before_hr(self)
        self.before_sampling(samples, noise, self.hr_c, self.hr_uc)
        steps = self.hr_second_pass_steps or self.steps
        samples = self.sampler.sample_img2img(self, samples, noise, self.hr_c, self.hr_uc, steps=steps)
        self.sampler = None
        self.is_hr_pass = False
        return samples


@dataclass(repr=False)
class StableDiffusionProcessingImg2Img(StableDiffusionProcessing):
    init_images: list[Any] | None = None
    denoising_strength: float = 0.75
    mask: Any = None
    inpainting_mask_invert: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.image_mask, self.mask = self.mask, None

    def init(self, all_prompts: list[str], all_seeds: list[int], all_subseeds: list[int]) -> None:
        self.extra_generation_params["Denoising strength"] = self.denoising_strength
        self.sampler = sd_samplers.create_sampler(self.sampler_name, self.sd_model)
        size = (self.width, self.height)
        pictures = [x.convert("RGB").resize(size, Image.Resampling.LANCZOS) for x in self.init_images or []]
        if len(pictures) == 1:
            pictures *= self.batch_size
        if len(pictures) > self.batch_size:
            raise RuntimeError(f"bad number of images passed: {len(pictures)}; expecting {self.batch_size} or less")
        self.batch_size = len(pictures)
        batch = torch.cat([images.image_to_tensor(x) for x in pictures]).to(devices.device)
        self.init_latent = self.sd_model.get_first_stage_encoding(self.sd_model.encode_first_stage(batch))
        if self.image_mask is not None:
            mask = self.image_mask.convert("L").resize(
                (self.width // opt_f, self.height // opt_f), Image.Resampling.BILINEAR
            )
            repaint = (images.image_to_tensor(mask)[0, :1].to(devices.device) > 0).float()
            self.nmask = 1 - repaint if self.inpainting_mask_invert else repaint
            self.mask = 1 - self.nmask

    def sample(self, conditioning: Any, unconditional_conditioning: Any, **batch: Any) -> Tensor:
        noise = self.rng.next()
        self.before_sampling(self.init_latent, noise, conditioning, unconditional_conditioning)
        samples = self.sampler.sample_img2img(self, self.init_latent, noise, conditioning, unconditional_conditioning)
        return samples if self.mask is None else samples * self.nmask + self.init_latent * self.mask
