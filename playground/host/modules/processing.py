"""txt2img with its hires pass, img2img with a mask, and `process_images`, which calls scripts in the webui's order."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from modules import devices, images, paths_internal, prompt_parser, rng, scripts, sd_samplers, shared
from modules.processed import Processed, create_infotext, fix_seed, get_fixed_seed
from modules.shared import opts, state

__all__ = ["fix_seed"]  # of the interface, and made elsewhere
opt_C, opt_f = 4, 8


class Running:
    """What a generation knows once it runs: no parameters."""

    scripts_setup_complete = is_hr_pass = is_api = False
    iteration = batch_index = 0
    scripts: Any = None
    script_args: Any = ()
    sampler: Any = None
    rng: Any = None
    c: Any = None
    uc: Any = None
    all_prompts: Any = None
    all_negative_prompts: Any = None
    all_seeds: Any = None
    all_subseeds: Any = None
    prompts: Any = None
    negative_prompts: Any = None
    seeds: Any = None
    subseeds: Any = None

    @property
    def runner(self) -> Any:
        """The scripts; an empty runner if there are none."""
        return self.scripts or scripts.ScriptRunner()


@dataclass(repr=False)
class StableDiffusionProcessing(Running):
    prompt: Any = ""
    negative_prompt: Any = ""
    seed: Any = -1
    subseed: Any = -1
    sampler_name: str | None = None
    scheduler: str | None = None
    batch_size: int = 1
    n_iter: int = 1
    steps: int = 20
    cfg_scale: float = 7.0
    width: int = 128
    height: int = 128
    outpath_samples: str | None = None
    do_not_save_samples: bool = False
    do_not_save_grid: bool = False
    eta: float | None = None
    denoising_strength: float | None = None
    override_settings: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        self.sd_model = shared.sd_model
        self.comments: dict[str, int] = {}
        self.extra_generation_params: dict[str, Any] = {}
        self.override_settings = self.override_settings or {}

    def comment(self, text: str) -> None:
        """A line for the user, shown under the pictures."""
        self.comments[text] = 1

    def init(self, all_prompts: list[str], all_seeds: list[int], all_subseeds: list[int]) -> None: ...

    def sample(self, conditioning: Any, unconditional_conditioning: Any, **batch: Any) -> Tensor:
        """Latents (batch, 4, h, w) of one batch."""
        raise NotImplementedError

    def close(self) -> None:
        self.sampler = self.c = self.uc = None

    def setup_prompts(self) -> None:
        count = self.batch_size * self.n_iter
        prompt, negative = (x if isinstance(x, list) else None for x in (self.prompt, self.negative_prompt))
        self.all_prompts = list(prompt or [self.prompt] * len(negative or [None] * count))
        self.all_negative_prompts = list(negative or [self.negative_prompt] * len(self.all_prompts))
        if len(self.all_prompts) != len(self.all_negative_prompts):
            raise RuntimeError("Received a different number of prompts and negative prompts")

    def setup_conds(self) -> None:
        self.uc = prompt_parser.get_learned_conditioning(self.negative_prompts)
        self.c = prompt_parser.get_multicond_learned_conditioning(self.prompts)

    def before_sampling(self, x: Tensor, noise: Tensor, c: Any, uc: Any) -> None:
        self.runner.process_before_every_sampling(self, x=x, noise=noise, c=c, uc=uc)


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


def process_with_scripts(p: StableDiffusionProcessing, runner: scripts.ScriptRunner, args: Sequence[Any]) -> Processed:
    """What "Generate" does: the script chosen in the dropdown, else the pictures of `p`; `args` are all scripts'."""
    p.scripts, p.script_args, p.outpath_samples = runner, args, out_folder(p)
    with closing(p):
        return runner.run(p, *args) or process_images(p)


def process_images(p: StableDiffusionProcessing) -> Processed:
    """Make the pictures of `p`. What `p.init` and `p.sample` raise is not caught, as in the webui."""
    if not p.scripts_setup_complete:
        p.scripts_setup_complete = True
        p.runner.setup(p)
    p.runner.before_process(p)
    overrides = {k: v for k, v in (p.override_settings or {}).items() if k in opts.data_labels}
    stored = {k: opts.data[k] for k in overrides}
    try:
        for k, v in overrides.items():
            opts.set(k, v, is_api=True)
        p.sampler_name, p.scheduler = sd_samplers.get_sampler_and_scheduler(p.sampler_name, p.scheduler)
        return process_images_inner(p)
    finally:
        for k, v in stored.items():
            opts.set(k, v)


@torch.no_grad()
def process_images_inner(p: StableDiffusionProcessing) -> Processed:
    seed, subseed = get_fixed_seed(p.seed), get_fixed_seed(p.subseed)
    p.width, p.height = (max(64, x // opt_f * opt_f) for x in (p.width, p.height))
    p.setup_prompts()
    p.all_seeds = seed if isinstance(seed, list) else [seed + i for i in range(len(p.all_prompts))]
    p.all_subseeds = subseed if isinstance(subseed, list) else [subseed + i for i in range(len(p.all_prompts))]
    p.runner.process(p)

    infotexts: list[str] = []
    pictures: list[Image.Image] = []
    p.init(p.all_prompts, p.all_seeds, p.all_subseeds)
    if state.job_count == -1:
        state.job_count = p.n_iter
    for n in range(p.n_iter):
        state.skipped = False
        if state.interrupted:
            break
        process_batch(p, n, pictures, infotexts)
    if not infotexts:
        infotexts.append(Processed(p, []).infotext(p, 0))
    grid = opts.return_grid and not p.do_not_save_grid and len(pictures) > 1
    if grid:
        infotexts.insert(0, create_infotext(p, p.prompts, p.seeds, p.subseeds, use_main_prompt=True))
        pictures.insert(0, with_infotext(images.image_grid(pictures), infotexts[0]))
    of_first = {"seed": p.all_seeds[0], "subseed": p.all_subseeds[0], "info": infotexts[0]}
    res = Processed(p, pictures, index_of_first_image=int(grid), infotexts=infotexts, **of_first)
    p.runner.postprocess(p, res)
    return res


def process_batch(p: StableDiffusionProcessing, n: int, pictures: list[Image.Image], infotexts: list[str]) -> None:
    """Batch `n` of `p`; its pictures and their infotexts are added to the lists."""
    part = slice(n * p.batch_size, (n + 1) * p.batch_size)
    p.iteration = n
    p.prompts, p.negative_prompts = p.all_prompts[part], p.all_negative_prompts[part]
    p.seeds, p.subseeds = p.all_seeds[part], p.all_subseeds[part]
    if not p.prompts:
        return
    p.rng = rng.ImageRNG((opt_C, p.height // opt_f, p.width // opt_f), p.seeds)
    batch = {"batch_number": n, "prompts": p.prompts, "seeds": p.seeds, "subseeds": p.subseeds}
    p.runner.before_process_batch(p, **batch)
    p.runner.process_batch(p, **batch)
    p.setup_conds()
    of_batch = {k: getattr(p, k) for k in ("seeds", "subseeds", "prompts")}
    ps = scripts.PostSampleArgs(p.sample(conditioning=p.c, unconditional_conditioning=p.uc, **of_batch))
    p.runner.post_sample(p, ps)
    decoded = torch.cat([p.sd_model.decode_first_stage(x[None]) for x in ps.samples])
    x_samples = ((decoded.float() + 1) / 2).clamp(0, 1)
    state.nextjob()
    p.runner.postprocess_batch(p, images=x_samples, batch_number=n)
    p.prompts, p.negative_prompts = p.all_prompts[part], p.all_negative_prompts[part]
    listed = scripts.PostprocessBatchListArgs(list(x_samples))
    p.runner.postprocess_batch_list(p, listed, batch_number=n)
    for i, x in enumerate(listed.images):
        p.batch_index = i
        pp = scripts.PostprocessImageArgs(images.tensor_to_image(x * 2 - 1))
        p.runner.postprocess_image(p, pp)
        p.runner.postprocess_image_after_composite(p, pp)
        text = create_infotext(p, p.prompts, p.seeds, p.subseeds, index=i, all_negative_prompts=p.negative_prompts)
        infotexts.append(text)
        pictures.append(with_infotext(pp.image, text))
        if opts.samples_save and not p.do_not_save_samples:
            images.save_image(pp.image, out_folder(p), "", p.seeds[i], info=text)


def out_folder(p: StableDiffusionProcessing) -> str:
    """Where the pictures of `p` are saved."""
    tab = "img2img" if isinstance(p, StableDiffusionProcessingImg2Img) else "txt2img"
    usual = os.path.join(paths_internal.data_path, "outputs", f"{tab}-images")
    return p.outpath_samples or opts.data[f"outdir_{tab}_samples"] or usual


def with_infotext(image: Image.Image, text: str) -> Image.Image:
    image.info["parameters"] = text
    return image
