"""The parameters of a generation, common to txt2img and img2img."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from modules import prompt_parser, shared


@dataclass(repr=False)
class StableDiffusionProcessing:
    sd_model: Any = None
    outpath_samples: str = None
    outpath_grids: str = None
    prompt: Any = ""
    negative_prompt: Any = ""
    styles: list[str] = None
    seed: Any = -1
    subseed: Any = -1
    subseed_strength: float = 0
    sampler_name: str = None
    scheduler: str = None
    batch_size: int = 1
    n_iter: int = 1
    steps: int = 20
    cfg_scale: float = 7.0
    width: int = 128
    height: int = 128
    restore_faces: bool = None
    tiling: bool = None
    do_not_save_samples: bool = False
    do_not_save_grid: bool = False
    extra_generation_params: dict[str, Any] = None
    eta: float = None
    denoising_strength: float = None
    s_min_uncond: float = None
    override_settings: dict[str, Any] = None
    override_settings_restore_afterwards: bool = True
    refiner_checkpoint: str = None
    refiner_switch_at: float = None
    disable_extra_networks: bool = False

    scripts_value: Any = field(default=None, init=False)
    script_args_value: Any = field(default=None, init=False)
    scripts_setup_complete: bool = field(default=False, init=False)
    is_hr_pass: bool = field(default=False, init=False)
    is_api: bool = field(default=False, init=False)
    sampler: Any = field(default=None, init=False)
    rng: Any = field(default=None, init=False)
    c: Any = field(default=None, init=False)
    uc: Any = field(default=None, init=False)
    iteration: int = field(default=0, init=False)
    batch_index: int = field(default=0, init=False)
    all_prompts: list = field(default=None, init=False)
    all_negative_prompts: list = field(default=None, init=False)
    all_seeds: list = field(default=None, init=False)
    all_subseeds: list = field(default=None, init=False)
    prompts: list = field(default=None, init=False)
    negative_prompts: list = field(default=None, init=False)
    seeds: list = field(default=None, init=False)
    subseeds: list = field(default=None, init=False)
    seconds_sampling: float = field(default=0.0, init=False)
    steps_sampled: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self.sd_model = shared.sd_model
        self.comments: dict[str, int] = {}
        self.styles = self.styles or []
        self.extra_generation_params = self.extra_generation_params or {}
        self.override_settings = self.override_settings or {}

    @property
    def scripts(self) -> Any:
        return self.scripts_value

    @scripts.setter
    def scripts(self, value: Any) -> None:
        self.scripts_value = value
        self.setup_scripts()

    @property
    def script_args(self) -> Any:
        return self.script_args_value

    @script_args.setter
    def script_args(self, value: Any) -> None:
        self.script_args_value = value
        self.setup_scripts()

    def setup_scripts(self) -> None:
        """`setup` runs once, as soon as both scripts and their arguments are known."""
        if self.scripts_value and self.script_args_value and not self.scripts_setup_complete:
            self.scripts_setup_complete = True
            self.scripts_value.setup_scrips(self, is_ui=not self.is_api)

    def comment(self, text: str) -> None:
        """A line for the user, shown under the pictures."""
        self.comments[text] = 1

    def init(self, all_prompts: list[str], all_seeds: list[int], all_subseeds: list[int]) -> None: ...

    def sample(
        self, conditioning: Any, unconditional_conditioning: Any, seeds: Any, subseeds: Any, subseed_strength: float,
        prompts: Any,
    ) -> Tensor:  # fmt: skip
        raise NotImplementedError

    def close(self) -> None:
        self.sampler = self.c = self.uc = None

    def setup_prompts(self) -> None:
        count = self.batch_size * self.n_iter

        def fill(value: Any, count: int) -> list[str]:
            return list(value) if isinstance(value, list) else [value] * count

        self.all_prompts = fill(
            self.prompt, len(self.negative_prompt) if isinstance(self.negative_prompt, list) else count
        )
        self.all_negative_prompts = fill(self.negative_prompt, len(self.all_prompts))
        if len(self.all_prompts) != len(self.all_negative_prompts):
            raise RuntimeError("Received a different number of prompts and negative prompts")

    def setup_conds(self) -> None:
        self.uc = prompt_parser.get_learned_conditioning(self.negative_prompts)
        self.c = prompt_parser.get_multicond_learned_conditioning(self.prompts)

    def get_conds(self) -> tuple[Any, Any]:
        return self.c, self.uc

    def image_conditioning(self, x: Tensor) -> Tensor:
        return x.new_zeros(len(x), 5, 1, 1)

    def before_sampling(self, x: Tensor, noise: Tensor, c: Any, uc: Any) -> None:
        if self.scripts is not None:
            self.scripts.process_before_every_sampling(p=self, x=x, noise=noise, c=c, uc=uc)
