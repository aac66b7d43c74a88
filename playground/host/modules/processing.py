"""`process_images`: one generation, with the scripts called in the webui's order."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import torch
from PIL import Image

from modules import images, paths_internal, rng, scripts, sd_samplers
from modules.processed import Processed, create_infotext, fix_seed, get_fixed_seed
from modules.processing_base import StableDiffusionProcessing
from modules.processing_passes import (
    StableDiffusionProcessingImg2Img,
    StableDiffusionProcessingTxt2Img,
    opt_C,
    opt_f,
)
from modules.shared import opts, state

__all__ = [
    "Processed", "StableDiffusionProcessing", "StableDiffusionProcessingImg2Img", "StableDiffusionProcessingTxt2Img",
    "create_infotext", "fix_seed", "get_fixed_seed", "process_images", "process_with_scripts",
]  # fmt: skip


def process_with_scripts(p: StableDiffusionProcessing, runner: scripts.ScriptRunner, args: Sequence[Any]) -> Processed:
    """What "Generate" does: the script chosen in the dropdown, else the pictures of `p`; `args` are all scripts'."""
    p.scripts, p.script_args = runner, args
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
