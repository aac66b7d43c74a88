"""txt2img with its hires pass, and img2img with a mask: what `init` prepares and `sample` does."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from modules import devices, images, prompt_parser, rng, sd_samplers, shared
from modules.processing_base import StableDiffusionProcessing
from modules.shared import state

opt_C, opt_f = 4, 8


@dataclass(repr=False)
class StableDiffusionProcessingTxt2Img(StableDiffusionProcessing):
    enable_hr: bool = False
    denoising_strength: float = 0.75
    hr_scale: float = 2.0
    hr_upscaler: str = None
    hr_second_pass_steps: int = 0
    hr_resize_x: int = 0
    hr_resize_y: int = 0
    hr_checkpoint_name: str = None
    hr_sampler_name: str = None
    hr_scheduler: str = None
    hr_prompt: str = ""
    hr_negative_prompt: str = ""

    hr_upscale_to_x: int = field(default=0, init=False)
    hr_upscale_to_y: int = field(default=0, init=False)
    hr_c: Any = field(default=None, init=False)
    hr_uc: Any = field(default=None, init=False)
    latent_scale_mode: dict = field(default=None, init=False)

    def init(self, all_prompts: list[str], all_seeds: list[int], all_subseeds: list[int]) -> None:
        if not self.enable_hr:
            return
        extra = self.extra_generation_params
        name = self.hr_upscaler or shared.latent_upscale_default_mode
        if name not in shared.latent_upscale_modes:
            raise ValueError(f"could not find upscaler named {name}")
        self.latent_scale_mode = shared.latent_upscale_modes[name]
        extra["Denoising strength"] = self.denoising_strength
        if self.hr_sampler_name is not None and self.hr_sampler_name != self.sampler_name:
            extra["Hires sampler"] = self.hr_sampler_name
        if self.hr_prompt and self.hr_prompt != self.prompt:
            extra["Hires prompt"] = self.hr_prompt
        if self.hr_negative_prompt and self.hr_negative_prompt != self.negative_prompt:
            extra["Hires negative prompt"] = self.hr_negative_prompt
        if self.hr_resize_x or self.hr_resize_y:
            extra["Hires resize"] = f"{self.hr_resize_x}x{self.hr_resize_y}"
            self.hr_upscale_to_x = self.hr_resize_x or self.hr_resize_y * self.width // self.height
            self.hr_upscale_to_y = self.hr_resize_y or self.hr_resize_x * self.height // self.width
        else:
            extra["Hires upscale"] = self.hr_scale
            self.hr_upscale_to_x, self.hr_upscale_to_y = (
                int(self.width * self.hr_scale),
                int(self.height * self.hr_scale),
            )
        if self.hr_second_pass_steps:
            extra["Hires steps"] = self.hr_second_pass_steps
        if self.hr_upscaler is not None:
            extra["Hires upscaler"] = self.hr_upscaler
        if not state.processing_has_refined_job_count:
            state.job_count = (self.n_iter if state.job_count == -1 else state.job_count) * 2
            state.processing_has_refined_job_count = True

    def sample(
        self, conditioning: Any, unconditional_conditioning: Any, seeds: Any, subseeds: Any, subseed_strength: float,
        prompts: Any,
    ) -> Tensor:  # fmt: skip
        self.sampler = sd_samplers.create_sampler(self.sampler_name, self.sd_model)
        x = self.rng.next()
        self.before_sampling(x, x, conditioning, unconditional_conditioning)
        samples = self.sampler.sample(
            self, x, conditioning, unconditional_conditioning, image_conditioning=self.image_conditioning(x)
        )
        return self.sample_hr_pass(samples) if self.enable_hr and not state.interrupted else samples

    def sample_hr_pass(self, samples: Tensor) -> Tensor:
        """The second pass: upscale the latents, add noise, sample again."""
        self.is_hr_pass = True
        self.sampler = sd_samplers.create_sampler(self.hr_sampler_name or self.sampler_name, self.sd_model)
        size = (self.hr_upscale_to_y // opt_f, self.hr_upscale_to_x // opt_f)
        samples = torch.nn.functional.interpolate(samples, size=size, **self.latent_scale_mode)
        state.nextjob()
        self.rng = rng.ImageRNG(samples.shape[1:], self.seeds)
        noise = self.rng.next()
        self.hr_uc = prompt_parser.get_learned_conditioning(
            [self.hr_negative_prompt or x for x in self.negative_prompts]
        )
        self.hr_c = prompt_parser.get_multicond_learned_conditioning([self.hr_prompt or x for x in self.prompts])
        if self.scripts is not None:
            self.scripts.before_hr(self)
        self.before_sampling(samples, noise, self.hr_c, self.hr_uc)
        samples = self.sampler.sample_img2img(
            self, samples, noise, self.hr_c, self.hr_uc, steps=self.hr_second_pass_steps or self.steps,
            image_conditioning=self.image_conditioning(samples),
        )  # fmt: skip
        self.sampler = None
        self.is_hr_pass = False
        return samples

    def get_conds(self) -> tuple[Any, Any]:
        return (self.hr_c, self.hr_uc) if self.is_hr_pass else super().get_conds()


@dataclass(repr=False)
class StableDiffusionProcessingImg2Img(StableDiffusionProcessing):
    init_images: list = None
    resize_mode: int = 0
    denoising_strength: float = 0.75
    mask: Any = None
    mask_blur: int = 4
    inpainting_fill: int = 1
    inpaint_full_res: bool = False
    inpainting_mask_invert: int = 0

    image_mask: Any = field(default=None, init=False)
    nmask: Any = field(default=None, init=False)
    init_latent: Any = field(default=None, init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.image_mask, self.mask = self.mask, None

    def init(self, all_prompts: list[str], all_seeds: list[int], all_subseeds: list[int]) -> None:
        self.extra_generation_params["Denoising strength"] = self.denoising_strength
        self.sampler = sd_samplers.create_sampler(self.sampler_name, self.sd_model)
        pictures = [
            images.resize_image(self.resize_mode, x.convert("RGB"), self.width, self.height) for x in self.init_images
        ]
        if len(pictures) == 1:
            pictures *= self.batch_size
        if len(pictures) > self.batch_size:
            raise RuntimeError(f"bad number of images passed: {len(pictures)}; expecting {self.batch_size} or less")
        self.batch_size = len(pictures)
        batch = torch.cat([images.image_to_tensor(x) for x in pictures]).to(devices.device)
        self.init_latent = self.sd_model.get_first_stage_encoding(self.sd_model.encode_first_stage(batch))
        if self.image_mask is not None:
            mask = self.image_mask.convert("L").resize((self.width // opt_f, self.height // opt_f), Image.BILINEAR)
            repaint = (images.image_to_tensor(mask)[0, :1].to(devices.device) > 0).float()
            self.nmask = 1 - repaint if self.inpainting_mask_invert else repaint
            self.mask = 1 - self.nmask

    def sample(
        self, conditioning: Any, unconditional_conditioning: Any, seeds: Any, subseeds: Any, subseed_strength: float,
        prompts: Any,
    ) -> Tensor:  # fmt: skip
        noise = self.rng.next()
        self.before_sampling(self.init_latent, noise, conditioning, unconditional_conditioning)
        samples = self.sampler.sample_img2img(
            self, self.init_latent, noise, conditioning, unconditional_conditioning,
            image_conditioning=self.image_conditioning(noise),
        )  # fmt: skip
        return samples if self.mask is None else samples * self.nmask + self.init_latent * self.mask
