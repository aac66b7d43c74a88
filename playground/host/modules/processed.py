"""What a generation leaves: the pictures, their infotexts, and the API's `info`."""

from __future__ import annotations

import json
import random
from typing import Any

from modules import errors, infotext_utils, shared
from modules.shared import state

VERSION = "playground"
COPIED = (
    "width", "height", "sampler_name", "cfg_scale", "steps", "batch_size", "denoising_strength",
    "extra_generation_params",
)  # fmt: skip
"""Attributes of `p` that the result has too."""


class Processed:
    """The pictures of one generation and what made them. `given`: all_prompts and the like, else those of `p`."""

    def __init__(
        self, p: Any, images_list: list[Any], seed: Any = -1, info: str = "", subseed: Any = -1,
        index_of_first_image: int = 0, infotexts: list[str] | None = None, comments: str = "", **given: Any,
    ) -> None:  # fmt: skip
        self.images, self.info, self.seed, self.subseed = images_list, info, seed, subseed
        self.all_prompts = given.get("all_prompts") or p.all_prompts or [p.prompt]
        self.all_negative_prompts = given.get("all_negative_prompts") or p.all_negative_prompts or [p.negative_prompt]
        self.all_seeds = given.get("all_seeds") or p.all_seeds or [seed]
        self.all_subseeds = given.get("all_subseeds") or p.all_subseeds or [subseed]
        self.prompt, self.negative_prompt = self.all_prompts[0], self.all_negative_prompts[0]
        self.comments = "".join(f"{comment}\n" for comment in p.comments) + comments
        vars(self).update({name: getattr(p, name) for name in COPIED})
        self.sd_model_name = shared.sd_model.sd_checkpoint_info.name_for_extra
        self.sd_model_hash = shared.sd_model.sd_model_hash
        self.index_of_first_image = index_of_first_image
        self.infotexts = infotexts or [info] * len(images_list)
        self.job_timestamp, self.clip_skip, self.version = state.job_timestamp, 1, VERSION

    def js(self) -> str:
        """The API's `info`: all but the pictures, as JSON."""
        obj = {k: v for k, v in vars(self).items() if k not in ("images", "info")}
        return json.dumps(obj, default=lambda o: None)

    def infotext(self, p: Any, index: int) -> str:
        return create_infotext(p, self.all_prompts, self.all_seeds, self.all_subseeds, index=index)


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
        "Denoising strength": None,
        **p.extra_generation_params,
        "Version": VERSION,
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
