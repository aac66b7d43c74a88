"""Drawing a blind test: for each prompt and seed the host draws a picture with every candidate."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lib_pladis.presets import Preset
from lib_pladis.settings import BESIDE, TABLE, Settings
from lib_pladis.webui import arguments, compare, infotext, model
from lib_pladis.webui.blind import prompts
from lib_pladis.webui.blind.blind_test import CHANCE, OFF, BlindTest, BlindTestError, same_model
from lib_pladis.webui.blind.store import Store

PANEL = "The panel's settings"
FEWEST, MOST = 2, 4
MOST_PICTURES, MOST_IN_ALL = 50, 2_000


@dataclass(frozen=True)
class Request:
    """The script's arguments, in order: names of the candidates, one of prompts.SOURCES, the user's own lines,
    pictures per prompt, and the id of a test to continue ("": a new one; otherwise that test's candidates and prompts
    count)."""

    candidates: tuple[str, ...] = (OFF, PANEL)
    source: str = prompts.SENTENCES
    lines: str = ""
    pictures: int = 1
    test: str = ""

    @classmethod
    def from_args(cls, args: Sequence[Any]) -> Request:
        """The given arguments; None and missing ones have their defaults. Raises BlindTestError."""
        given = {name: value for name, value in zip(cls.__dataclass_fields__, args) if value is not None}
        names = given.get("candidates", cls.candidates)
        names = [each.strip() for each in names.split(",")] if isinstance(names, str) else names
        if not isinstance(names, (list, tuple)) or not all(isinstance(each, str) for each in names):
            raise BlindTestError(f"Blind test: got candidates {names!r}, allowed: a list of names")
        pictures = given.get("pictures", cls.pictures)
        if isinstance(pictures, bool) or not isinstance(pictures, (int, float)) or not 1 <= pictures <= MOST_PICTURES:
            raise BlindTestError(f"Blind test: got {pictures!r} pictures a prompt, allowed: 1 to {MOST_PICTURES}")
        texts = {name: str(given.get(name, getattr(cls, name))) for name in ("source", "lines", "test")}
        return cls(candidates=tuple(names), pictures=int(pictures), **{**texts, "test": texts["test"].strip()})


def candidates(names: Sequence[str], panel: Mapping[str, Any], preset: Callable[[str], Preset]) -> list[dict[str, Any]]:
    """The candidates of these names, as in BlindTest; `panel` has the panel's values. Raises BlindTestError."""
    if not FEWEST <= len(names) <= MOST:
        raise BlindTestError(f"Blind test: got {len(names)} candidates, allowed: {FEWEST} to {MOST}")
    found: list[dict[str, Any]] = []
    for name in names:
        if name == OFF:
            settings: dict[str, Any] = {}
        else:
            asked = Settings.from_dict({**panel, "enabled": True}) if name == PANEL else preset(name).settings
            settings = {each: getattr(asked, each) for each in TABLE if each not in BESIDE}
            if asked.why_idle():
                raise BlindTestError(f"Blind test: {name} does nothing: {asked.why_idle()}")
        same = next((each["name"] for each in found if each["settings"] == settings), None)
        if same is not None:
            raise BlindTestError(f"Blind test: {same} and {name} are the same")
        found.append({"name": name, "settings": settings})
    return found


class Drawing:
    """One run of the script."""

    def __init__(self, p: Any, request: Request, store: Store, preset: Callable[[str], Preset]) -> None:
        self.p, self._store = p, store
        self._images: list[Any] = []
        self._last: Any = None
        self.test: BlindTest | None = store.get(request.test) if request.test else None
        if self.test is None:
            self.candidates = candidates(request.candidates, arguments.of(p), preset)
            self.prompts = prompts.chosen(request.source, request.lines, p.prompt)
            self.rounds = request.pictures
            self.todo = [(prompt, turn) for turn in range(self.rounds) for prompt in range(len(self.prompts))]
        else:
            self.candidates, self.prompts = self.test.candidates, self.test.prompts
            self.rounds = self.test.rounds + (0 if self.test.missing(self.test.rounds) else request.pictures)
            self.todo = self.test.missing(self.rounds)
        self.count = len(self.todo) * len(self.candidates)
        if self.count > MOST_IN_ALL:
            raise BlindTestError(f"Blind test: got {self.count} pictures to draw, allowed: at most {MOST_IN_ALL}")

    def run(self) -> Any:
        """Draw the missing pictures. Returns the host's result with an empty gallery, as pictures there would reveal
        their candidates."""
        from modules import processing, shared

        processing.fix_seed(self.p)
        shared.state.job_count = self.count
        groups = 0
        for prompt, turn in self.todo:
            shared.state.job = f"Blind test: {groups * len(self.candidates)} of {self.count} pictures"
            if self._draw_group(prompt, turn):
                groups += 1
            if _stopped("interrupted", "stopping_generation"):
                break
        return self._result(f"Blind test: {len(self._images)} pictures of {self.count} drawn")

    def _draw_group(self, prompt: int, turn: int) -> bool:
        """Draw the pictures of one prompt and seed, in random order. Returns whether all candidates have theirs."""
        from modules import processing

        number = turn * len(self.prompts) + prompt
        random, made = compare.RandomState(), {}
        for place in CHANCE.sample(range(len(self.candidates)), len(self.candidates)):
            p = self._copy(prompt, number, self.candidates[place]["settings"])
            random.set()
            with compare.no_prompt_history():
                self._last = processing.process_images(p)
            if _stopped("interrupted", "skipped") or not self._last.images:
                return False  # after "stop after this picture" the host draws no further one
            applied = any(key.startswith(infotext.PREFIX) for key in p.extra_generation_params)
            if self.candidates[place]["settings"] and not applied:
                name = self.candidates[place]["name"]
                raise BlindTestError(f"Blind test: {name} was not applied to a picture: there is nothing to compare")
            first = self._last.index_of_first_image
            made[place] = (self._last.images[first], self._last.infotexts[first])
        self._keep(prompt, turn, self.p.seed + number, [made[place] for place in range(len(self.candidates))])
        return True

    def _copy(self, prompt: int, number: int, settings: Mapping[str, Any]) -> Any:
        """A copy of `p` for one picture, with PLADIS's arguments set to `settings` (none: off)."""
        p = compare.untouched(self.p)
        p.prompt, p.n_iter, p.batch_size, p.do_not_save_grid = self.prompts[prompt], 1, 1, True
        p.seed, p.subseed = self.p.seed + number, self.p.subseed + number
        if getattr(p, "hr_prompt", "") and p.prompt != self.p.prompt:
            p.hr_prompt = ""
        if not arguments.put(p, {name: setting.default for name, setting in TABLE.items()} | dict(settings)):
            raise BlindTestError("Blind test: PLADIS itself is not among the scripts of this web UI")
        return p

    def _keep(self, prompt: int, turn: int, seed: int, made: list[tuple[Any, str]]) -> None:
        """Add a group to the test. The test is created with its first group: only then do all hosts know the
        checkpoint."""
        last = self._last
        checkpoint = {"name": model.bare(str(last.sd_model_name or "")), "hash": str(last.sd_model_hash or "")}
        if self.test is None:
            self.test = self._store.create(
                checkpoint={**checkpoint, "family": model.in_use().family},
                cfg=float(self.p.cfg_scale),
                parameters={name: getattr(last, name) for name in ("steps", "sampler_name", "width", "height")},
                candidates=self.candidates,
                prompts=self.prompts,
                rounds=self.rounds,
            )
        elif not same_model(self.test.checkpoint, checkpoint) or self.test.cfg != float(self.p.cfg_scale):
            raise BlindTestError(
                f"Blind test: got {checkpoint['name']} at CFG {self.p.cfg_scale:g}, allowed to go on with this test: "
                f"{self.test.checkpoint['name']} at CFG {self.test.cfg:g}"
            )
        id = self.test.id
        pictures = [self._store.add_picture(id, image) for image, _ in made]
        texts = [text for _, text in made]

        def add(test: BlindTest) -> None:
            test.rounds = self.rounds
            test.add({"prompt": prompt, "round": turn, "seed": seed, "pictures": pictures, "infotexts": texts})

        self._store.change(id, add)
        self._images += [(image, text, self.prompts[prompt], seed) for image, text in made]

    def _result(self, text: str) -> Any:
        """What the host returns: all pictures to the API, none to the page."""
        from modules import processing

        result: Any = copy.copy(self._last) if self._last is not None else processing.Processed(self.p, [])
        shown = self._images if getattr(self.p, "is_api", False) else []
        result.images, result.infotexts, result.index_of_first_image = [], [], 0
        result.all_prompts, result.all_seeds, result.extra_generation_params = [self.p.prompt], [self.p.seed], {}
        if shown:
            lists = map(list, zip(*shown))
            result.images, result.infotexts, result.all_prompts, result.all_seeds = lists
        result.info, result.comments = text, ""
        return result


class Pace:
    """How long a step takes, measured on everything that is drawn."""

    def __init__(self) -> None:
        self.seconds = 0.0
        """Seconds for one step of one picture, per pixel of its latents; 0 before the first."""
        self._last: tuple[int, int, float] = (-1, 0, 0.0)

    def step(self, params: Any) -> None:
        """Before each denoiser call (`on_cfg_denoiser`)."""
        rows, *_, height, width = params.x.shape
        index, size, now = int(params.sampling_step), rows * height * width, time.monotonic()
        if (index - 1, size) == self._last[:2]:
            self.seconds = 2 * (now - self._last[2]) / size  # a picture has two rows: both prompts
        self._last = (index, size, now)


PACE = Pace()
"""The drawing speed of this web UI."""


def _stopped(*how: str) -> bool:
    from modules import shared

    return any(bool(getattr(shared.state, name, False)) for name in how)
