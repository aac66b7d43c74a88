"""`process_images`: one generation, with the scripts called in the webui's order."""

from __future__ import annotations

import os

import torch
from PIL import Image

from modules import images, paths, rng, scripts, sd_samplers
from modules.processed import Processed, create_infotext, fix_seed, get_fixed_seed, program_version
from modules.processing_base import StableDiffusionProcessing
from modules.processing_passes import (
    StableDiffusionProcessingImg2Img,
    StableDiffusionProcessingTxt2Img,
    opt_C,
    opt_f,
)
from modules.shared import opts, state

__all__ = [
    "Processed",
    "StableDiffusionProcessing",
    "StableDiffusionProcessingImg2Img",
    "StableDiffusionProcessingTxt2Img",
    "create_infotext",
    "fix_seed",
    "get_fixed_seed",
    "process_images",
    "program_version",
]


def process_images(p: StableDiffusionProcessing) -> Processed:
    """Make the pictures of `p`. What `p.init` and `p.sample` raise is not caught, as in the webui."""
    if p.scripts is not None:
        p.scripts.before_process(p)
    stored = {k: opts.data[k] for k in p.override_settings if k in opts.data}
    try:
        for k, v in p.override_settings.items():
            if k in opts.data_labels:
                opts.set(k, v, is_api=True)
        p.sampler_name, p.scheduler = sd_samplers.get_sampler_and_scheduler(p.sampler_name, p.scheduler)
        return process_images_inner(p)
    finally:
        if p.override_settings_restore_afterwards:
            for k, v in stored.items():
                opts.set(k, v)


@torch.no_grad()
def process_images_inner(p: StableDiffusionProcessing) -> Processed:
    seed, subseed = get_fixed_seed(p.seed), get_fixed_seed(p.subseed)
    p.width, p.height = (max(64, x // opt_f * opt_f) for x in (p.width, p.height))
    p.seconds_sampling = p.steps_sampled = 0.0
    p.setup_prompts()
    p.all_seeds = seed if isinstance(seed, list) else [seed + i for i in range(len(p.all_prompts))]
    p.all_subseeds = subseed if isinstance(subseed, list) else [subseed + i for i in range(len(p.all_prompts))]
    if p.scripts is not None:
        p.scripts.process(p)

    infotexts: list[str] = []
    output_images: list[Image.Image] = []
    p.init(p.all_prompts, p.all_seeds, p.all_subseeds)
    if state.job_count == -1:
        state.job_count = p.n_iter
    for n in range(p.n_iter):
        p.iteration = n
        state.skipped = False
        if state.interrupted or state.stopping_generation:
            break
        part = slice(n * p.batch_size, (n + 1) * p.batch_size)
        p.prompts, p.negative_prompts = p.all_prompts[part], p.all_negative_prompts[part]
        p.seeds, p.subseeds = p.all_seeds[part], p.all_subseeds[part]
        p.rng = rng.ImageRNG((opt_C, p.height // opt_f, p.width // opt_f), p.seeds)
        batch = {"batch_number": n, "prompts": p.prompts, "seeds": p.seeds, "subseeds": p.subseeds}
        if p.scripts is not None:
            p.scripts.before_process_batch(p, **batch)
        if len(p.prompts) == 0:
            break
        if p.scripts is not None:
            p.scripts.process_batch(p, **batch)
        p.setup_conds()
        if n == 0:
            with open(os.path.join(paths.data_path, "params.txt"), "w", encoding="utf8") as file:
                file.write(Processed(p, []).infotext(p, 0))
        if p.n_iter > 1:
            state.job = f"Batch {n + 1} out of {p.n_iter}"

        samples = p.sample(
            conditioning=p.c, unconditional_conditioning=p.uc, seeds=p.seeds, subseeds=p.subseeds,
            subseed_strength=p.subseed_strength, prompts=p.prompts,
        )  # fmt: skip
        if p.scripts is not None:
            ps = scripts.PostSampleArgs(samples)
            p.scripts.post_sample(p, ps)
            samples = ps.samples
        decoded = torch.cat([p.sd_model.decode_first_stage(x[None]) for x in samples])
        x_samples = ((decoded.float() + 1) / 2).clamp(0, 1)
        state.nextjob()
        if p.scripts is not None:
            p.scripts.postprocess_batch(p, x_samples, batch_number=n)
            p.prompts, p.negative_prompts = p.all_prompts[part], p.all_negative_prompts[part]
            listed = scripts.PostprocessBatchListArgs(list(x_samples))
            p.scripts.postprocess_batch_list(p, listed, batch_number=n)
            x_samples = listed.images

        for i, x in enumerate(x_samples):
            p.batch_index = i
            pp = scripts.PostprocessImageArgs(images.tensor_to_image(x * 2 - 1))
            if p.scripts is not None:
                p.scripts.postprocess_image(p, pp)
                p.scripts.postprocess_image_after_composite(p, pp)
            text = create_infotext(p, p.prompts, p.seeds, p.subseeds, index=i, all_negative_prompts=p.negative_prompts)
            infotexts.append(text)
            if opts.enable_pnginfo:
                pp.image.info["parameters"] = text
            output_images.append(pp.image)

    if not infotexts:
        infotexts.append(Processed(p, []).infotext(p, 0))
    first = 0
    if (
        opts.return_grid
        and not p.do_not_save_grid
        and (len(output_images) > 1 or not opts.grid_only_if_multiple)
        and output_images
    ):
        grid = images.image_grid(output_images, p.batch_size)
        infotexts.insert(0, create_infotext(p, p.prompts, p.seeds, p.subseeds, use_main_prompt=True))
        grid.info["parameters"] = infotexts[0]
        output_images.insert(0, grid)
        first = 1
    res = Processed(
        p, output_images, seed=p.all_seeds[0], info=infotexts[0], subseed=p.all_subseeds[0],
        index_of_first_image=first, infotexts=infotexts,
    )  # fmt: skip
    if p.scripts is not None:
        p.scripts.postprocess(p, res)
    return res
