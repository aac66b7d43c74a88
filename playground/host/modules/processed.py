"""What a generation leaves: the pictures, their infotexts, and the API's `info`."""

from __future__ import annotations

import json
import random
from typing import Any

from modules import errors, infotext_utils, shared
from modules.shared import state


class Processed:
    """The pictures of one generation and what made them."""

    def __init__(
        self, p: Any, images_list: list[Any], seed: Any = -1, info: str = "", subseed: Any = None,
        all_prompts: Any = None, all_negative_prompts: Any = None, all_seeds: Any = None, all_subseeds: Any = None,
        index_of_first_image: int = 0, infotexts: list[str] | None = None, comments: str = "",
    ) -> None:  # fmt: skip
        self.images, self.info = images_list, info
        self.all_prompts = all_prompts or p.all_prompts or [p.prompt]
        self.all_negative_prompts = all_negative_prompts or p.all_negative_prompts or [p.negative_prompt]
        self.prompt, self.negative_prompt = self.all_prompts[0], self.all_negative_prompts[0]
        self.seed, self.subseed = seed, -1 if subseed is None else subseed
        self.all_seeds = all_seeds or p.all_seeds or [self.seed]
        self.all_subseeds = all_subseeds or p.all_subseeds or [self.subseed]
        self.comments = "".join(f"{comment}\n" for comment in p.comments) + comments
        for name in COPIED:
            setattr(self, name, getattr(p, name, None))
        self.sd_model_name = shared.sd_model.sd_checkpoint_info.name_for_extra
        self.sd_model_hash = shared.sd_model.sd_model_hash
        self.index_of_first_image = index_of_first_image
        self.infotexts = infotexts or [info] * len(images_list)
        self.job_timestamp, self.clip_skip, self.version = state.job_timestamp, 1, program_version()
        self.steps_per_second = p.steps_sampled / p.seconds_sampling if p.seconds_sampling else 0.0

    def js(self) -> str:
        skip = {"images", "info", "prompt", "negative_prompt", "comments", "steps_per_second"}
        obj = {k: v for k, v in vars(self).items() if k not in skip}
        obj |= {"prompt": self.prompt, "negative_prompt": self.negative_prompt}
        return json.dumps(obj, default=lambda o: None)

    def infotext(self, p: Any, index: int) -> str:
        return create_infotext(p, self.all_prompts, self.all_seeds, self.all_subseeds, index=index)


COPIED = (
    "subseed_strength", "width", "height", "sampler_name", "cfg_scale", "steps", "batch_size", "restore_faces",
    "denoising_strength", "extra_generation_params", "styles",
)  # fmt: skip


def program_version() -> str:
    return "playground"


def get_fixed_seed(seed: Any) -> Any:
    if seed in ("", None, -1, "-1"):
        return random.randrange(4294967294)
    return seed if isinstance(seed, list) else int(seed)


def fix_seed(p: Any) -> None:
    p.seed, p.subseed = get_fixed_seed(p.seed), get_fixed_seed(p.subseed)


def create_infotext(
    p: Any, all_prompts: list[str], all_seeds: list[int], all_subseeds: list[int], comments: Any = None,
    iteration: int = 0, position_in_batch: int = 0, use_main_prompt: bool = False, index: int | None = None,
    all_negative_prompts: list[str] | None = None,
) -> str:  # fmt: skip
    """The text written into the PNG: prompt, negative prompt, and one line of `key: value` pairs."""
    index = 0 if use_main_prompt else position_in_batch + iteration * p.batch_size if index is None else index
    prompt_text = p.all_prompts[0] if use_main_prompt else all_prompts[index]
    negative_prompt = (all_negative_prompts or p.all_negative_prompts)[index]
    params = {
        "Steps": p.steps,
        "Sampler": p.sampler_name,
        "Schedule type": p.scheduler,
        "CFG scale": p.cfg_scale,
        "Seed": p.all_seeds[0] if use_main_prompt else all_seeds[index],
        "Size": f"{p.width}x{p.height}",
        "Model hash": shared.sd_model.sd_model_hash,
        "Model": shared.sd_model.sd_checkpoint_info.name_for_extra,
        "Denoising strength": p.extra_generation_params.get("Denoising strength"),
        **p.extra_generation_params,
        "Version": program_version(),
    }
    for key, value in params.items():
        try:
            if isinstance(value, list):
                params[key] = value[index]
            elif callable(value):
                params[key] = value(**locals())
        except Exception:  # noqa: BLE001
            errors.report(f'Error creating infotext for key "{key}"', exc_info=True)
            params[key] = None
    line = ", ".join(k if k == v else f"{k}: {infotext_utils.quote(v)}" for k, v in params.items() if v is not None)
    negative = f"\nNegative prompt: {negative_prompt}" if negative_prompt else ""
    return f"{prompt_text}{negative}\n{line}".strip()
