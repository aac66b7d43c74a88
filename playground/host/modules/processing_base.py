"""The parameters of a generation, common to txt2img and img2img."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from modules import prompt_parser, shared
from modules.scripts import ScriptRunner


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
        return self.scripts or ScriptRunner()


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
