"""Compare: the plain picture of the same seed, beside each picture that PLADIS changed.

The host draws it like any picture: `process_images` on a copy of `p` that was made before any script changed it, with
the seeds and prompts that were finally used, and with PLADIS off. So the host saves it with its own parameters. Random
numbers without a seed (the noise with which img2img encodes its picture) are also the same in both halves.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch

from lib_pladis.run.report import Report
from lib_pladis.webui import arguments
from lib_pladis.webui.result import picture_places, seeds, texts

FOLDER = "plain"
"""Subfolder of the plain pictures, so that no pattern of file names gives both halves the same name."""

LISTED = ("all_prompts", "all_negative_prompts", "all_seeds", "all_subseeds")
"""Attributes of a result that have one entry for each picture."""


class Comparison:
    """The plain half of one generation: `p` as it is now, to be drawn after the other half."""

    def __init__(self, p: Any) -> None:
        self._plain = untouched(p)
        self._random = RandomState()
        self.why_not = left_out(p)
        self.stopped = False
        """Whether the generation was stopped before all pictures were finished."""
        self.drawing = False
        """Whether the plain pictures are being drawn now."""
        self.shared = False
        """Whether other machines draw some of the pictures."""

    def announce(self, p: Any) -> None:
        """Add what is to be drawn to the jobs that the host's progress bar counts."""
        from modules import shared

        if not self.why_not and getattr(shared.state, "job_count", 0) > 0:
            shared.state.job_count += p.n_iter * (2 if getattr(p, "enable_hr", False) else 1)

    def make(self, p: Any, processed: Any, report: Report, ours: Sequence[int]) -> str:
        """Draw the plain pictures and append them to the result of `p`, whose pictures with PLADIS have the indices
        `ours`. Returns a message for the user; "" if all went well. If either half was stopped none are appended, and
        none are drawn if there is nothing to compare."""
        why_not = self.why_not or self._why_not_now(report)
        if not why_not:
            try:
                made = self._draw(p)
            except Exception as error:  # noqa: BLE001 (the first half exists and must not be lost)
                why_not = f"{type(error).__name__}: {error}"
            else:
                why_not = self._stopped()
                if not why_not:
                    report.pairs = _add(processed, made, ours)
                    alone = len(ours) - len(report.pairs)
                    why_not = f"for {alone} of {len(ours)} pictures none was made" if alone else ""
        report.why_not_compared = why_not
        return f"PLADIS: no plain picture to compare: {why_not}" if why_not else ""

    def _why_not_now(self, report: Report) -> str:
        if self._stopped():
            return self._stopped()
        blended = any(each.calls_blended for each in report.passes)
        return "" if blended else "PLADIS was not applied"

    def _stopped(self) -> str:
        return "the generation was stopped" if self.stopped or stopping() else ""

    def _draw(self, p: Any) -> Any:
        from modules import processing

        plain = self._plain
        _same_again(plain, p)
        arguments.make_plain(plain)
        if getattr(plain, "outpath_samples", None):
            plain.outpath_samples = os.path.join(plain.outpath_samples, FOLDER)
        self._random.set()
        self.drawing = True
        try:
            with no_prompt_history(), no_grid() if self.shared else nullcontext():
                return processing.process_images(plain)
        finally:
            self.drawing = False


def untouched(p: Any) -> Any:
    """A copy of `p` with its own lists and dicts, except the host's caches."""
    other = copy.copy(p)
    for name, value in vars(p).items():
        if type(value) in (list, dict) and not name.startswith("cached_"):
            vars(other)[name] = value.copy()
    return other


def stopping() -> bool:
    """Whether the user has asked the host to stop."""
    from modules import shared

    state = shared.state
    return any(bool(getattr(state, name, False)) for name in ("interrupted", "skipped", "stopping_generation"))


def chosen_script(p: Any) -> bool:
    """Whether a script of the Script list makes the pictures of `p`."""
    return bool((getattr(p, "script_args", None) or (0,))[0])


def left_out(p: Any) -> str:
    """Why nothing is shown beside the pictures of `p`; "" if it may be."""
    if chosen_script(p):  # X/Y/Z plot for one: it puts the pictures together
        return "the chosen script makes the pictures"
    if getattr(p, "txt2img_upscale", False):
        return "a picture of the gallery is upscaled"
    return ""


def _same_again(plain: Any, p: Any) -> None:
    """Set the prompts and seeds that `p` has used in the end, including styles and the like."""
    plain.styles = []
    plain.do_not_save_grid = True
    if getattr(plain, "override_settings", None):
        plain.override_settings.pop("return_grid", None)
    for name in ("prompt", "negative_prompt", "hr_prompt", "hr_negative_prompt"):
        used = getattr(p, f"all_{name}s", None)
        wanted = name in ("prompt", "negative_prompt") or bool(getattr(plain, name, None))
        if used and wanted:
            setattr(plain, name, used[0] if all(each == used[0] for each in used) else list(used))
    apart = 1 if not getattr(p, "subseed_strength", 0) else 0
    plain.seed = _one_or_all(p.all_seeds, apart)
    plain.subseed = _one_or_all(p.all_subseeds, 1)


class RandomState:
    """PyTorch's own random numbers, as they stand now."""

    def __init__(self) -> None:
        self._cpu = torch.get_rng_state()
        self._cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []

    def set(self) -> None:
        torch.set_rng_state(self._cpu)
        if self._cuda:
            torch.cuda.set_rng_state_all(self._cuda)


def _one_or_all(seeds: Any, apart: int) -> Any:
    """The first seed, if the host derives the others from it; otherwise all."""
    usual = [seeds[0] + apart * i for i in range(len(seeds))]
    return seeds[0] if list(seeds) == usual else list(seeds)


@contextmanager
def no_prompt_history() -> Iterator[None]:
    """Keep the host's params.txt, which is pasted into an empty prompt, from being overwritten."""
    from modules import shared

    options = shared.cmd_opts
    before = getattr(options, "no_prompt_history", False)
    options.no_prompt_history = True
    try:
        yield
    finally:
        options.no_prompt_history = before


@contextmanager
def no_grid() -> Iterator[None]:
    """Switch off the host's grid, which the plain half doesn't have: stable-diffusion-webui-distributed goes by the
    option alone, and would otherwise give parameters to the wrong pictures, or fail."""
    from modules import shared

    options = shared.opts.data
    before = {name: value for name, value in options.items() if name == "return_grid"}
    options["return_grid"] = False
    try:
        yield
    finally:
        del options["return_grid"]
        options.update(before)


def _add(processed: Any, made: Any, ours: Sequence[int]) -> list[tuple[int, int]]:
    """Append the pictures of `made` to those of `processed`. Returns the indices of each pair."""
    first = len(processed.images)
    pairs = [(place, first + plain) for place, plain in _paired(processed, ours, made)]
    processed.infotexts = texts(processed) + list(made.infotexts)
    processed.images = [*processed.images, *made.images]
    for name in LISTED:
        setattr(processed, name, [*getattr(processed, name, []), *getattr(made, name, [])])
    return pairs


def _paired(processed: Any, ours: Sequence[int], made: Any) -> list[tuple[int, int]]:
    """Pairs of pictures with the same seed and variation seed, in their order; by order alone if the texts have no
    seeds."""
    of_ours, of_plain = seeds(processed), seeds(made)
    plain = picture_places(made)
    left: dict[Any, list[int]] = {}
    for place in plain:
        left.setdefault(of_plain[place], []).append(place)
    same = [(place, left.get(of_ours[place], [])) for place in ours]
    pairs = [(place, found.pop(0)) for place, found in same if found]
    return pairs or (list(zip(ours, plain)) if len(ours) == len(plain) else [])
