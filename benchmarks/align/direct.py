"""The playground's pictures without its page: model, samplers and hooks in this process, many prompts in a batch.

Everything is what the web UI runs: `playground/host`'s samplers and guidance, the extension's session and hooks, noise
by seed. Only requests, PNGs and infotext are left out, and that prompts share a batch. `tests/acceptance` holds the
pictures against those over the API.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from PIL import Image
from tqdm import tqdm

from .point import Point
from .prompts import Prompt
from .runner import Plan
from .scores import judge
from .store import Record, Store
from .webui import Drawing

HOST = Path(__file__).resolve().parents[2] / "playground" / "host"

Pairs = Sequence[tuple[Prompt, int]]
"""Prompts with their seeds."""


class Direct:
    """One checkpoint, drawn with as `drawing` says; one of these a process, as the host's modules are global."""

    def __init__(self, checkpoint: str, drawing: Drawing) -> None:
        """Loads it. Raises like `playground.model.load.load`; ValueError for a drawing with a negative prompt."""
        sys.path += [path for path in (str(HOST), str(HOST.parent)) if path not in sys.path]
        import torch

        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
        from modules import prompt_parser, rng, script_callbacks, sd_models, sd_samplers

        from lib_pladis.hosts import model_in_use
        from lib_pladis.hosts.facts import Texts
        from lib_pladis.run.session import Session
        from lib_pladis.run.step import Step

        self.drawing = drawing
        self.model = sd_models.load_model(checkpoint)
        self.model.first_stage_model.to(memory_format=torch.channels_last)  # a quarter faster; the same to 1e-5
        self._torch, self._parser, self._rng, self._samplers = torch, prompt_parser, rng, sd_samplers
        self._session_of: Callable[..., Any] = Session
        self._session: Any = None
        self.layers: list[str] = []
        """Those that the last picture with PLADIS was drawn with, in the order of their calls."""

        def before_denoiser(params: Any) -> None:
            if self._session is not None:
                denoiser, texts = params.denoiser, Texts(params.text_cond, params.text_uncond)
                step = Step(denoiser.step, denoiser.total_steps, False, lambda: texts)
                self._session.step(model_in_use(self.model), step)

        script_callbacks.on_cfg_denoiser(before_denoiser)

    def draw(self, point: Point, pairs: Pairs, kernels: Any = None) -> list[Image.Image]:
        """A picture of each pair, in one batch. `kernels` in place of those that the point's rule says.

        Raises RuntimeError where PLADIS was on and blended nothing.
        """
        from modules.images import tensor_to_image

        torch, drawing = self._torch, self.drawing
        texts = [prompt.text for prompt, _ in pairs]
        p = SimpleNamespace(
            sd_model=self.model,
            scheduler=drawing.scheduler,
            steps=drawing.steps,
            cfg_scale=point.cfg,
            eta=None,
            extra_generation_params={},
            rng=self._rng.ImageRNG((4, drawing.height // 8, drawing.width // 8), [seed for _, seed in pairs]),
        )
        with torch.no_grad(), self._under(point, kernels):
            uncond = self._parser.get_learned_conditioning([drawing.negative] * len(texts))
            cond = self._parser.get_multicond_learned_conditioning(texts)
            sampler = self._samplers.create_sampler(drawing.sampler, self.model)
            latents = sampler.sample(p, p.rng.next(), cond, uncond)
            decoded = [self.model.decode_first_stage(one[None]).float() for one in latents]
            return [tensor_to_image(((one[0] + 1) / 2).clamp(0, 1) * 2 - 1) for one in decoded]

    @contextmanager
    def _under(self, point: Point, kernels: Any) -> Iterator[None]:
        """The session of a point around one run of the sampler."""
        from .rules import RuleKernels

        if point.is_off:
            yield
            return
        kernels = kernels or (RuleKernels(point.rule) if point.rule else None)
        quiet: Callable[[str], None] = lambda line: None  # noqa: E731
        self._session = self._session_of(point.settings, kernels=kernels, log=quiet)
        try:
            with self._session.sampling():
                yield
            if not any(each.calls_blended for each in self._session.passes):
                raise RuntimeError(f"{point}: nothing was blended")
            self.layers = self._session.passes[-1].layers_hooked
        finally:
            self._session = None


_direct: Direct | None = None


def _start(checkpoint: str, drawing: Drawing) -> None:
    global _direct
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    _direct = Direct(checkpoint, drawing)


def here() -> Direct:
    """The one of this process, which must be a worker of `workers`."""
    if _direct is None:
        raise RuntimeError("not in a worker of workers()")
    return _direct


def draw(point: Point, pairs: Pairs) -> list[Image.Image]:
    """As `Direct.draw`, in a worker of `workers`."""
    return here().draw(point, pairs)


def score(point: Point, pairs: Pairs, scorers: list[str]) -> list[dict[str, float]]:
    """The scores of `draw`'s pictures, in a worker of `workers`."""
    return [judge(scorers, picture, prompt) for picture, (prompt, _) in zip(draw(point, pairs), pairs)]


@contextmanager
def workers(count: int, checkpoint: str, drawing: Drawing) -> Iterator[ProcessPoolExecutor]:
    """`count` processes of one thread each that draw with a checkpoint."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        with ProcessPoolExecutor(count, get_context("spawn"), _start, (checkpoint, drawing)) as pool:
            try:
                yield pool
            finally:
                pool.shutdown(cancel_futures=True)
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


def fill(plan: Plan, store: Store, pool: ProcessPoolExecutor, scorers: list[str]) -> None:
    """Draw and score what the store lacks of a plan, `plan.batch` pictures at a time; the pictures are not kept.

    Prompts by prompts: wherever it stops, all points have had the same. Whatever was made is kept, after Ctrl+C too.
    """
    tasks = plan.batches(store)
    total = len(plan.points) * len(plan.pairs)
    bar = tqdm(total=total, unit="picture", smoothing=0.05, mininterval=1.0)
    bar.update(total - sum(len(pairs) for _, pairs in tasks))
    with bar:
        waiting = {pool.submit(score, point, pairs, scorers): (point, pairs) for point, pairs in tasks}
        try:
            for future in as_completed(waiting):
                point, pairs = waiting[future]
                for (prompt, seed), numbers in zip(pairs, future.result()):
                    store.add(Record(point, prompt.text, prompt.kind, seed, numbers, ""))
                bar.update(len(pairs))
        finally:
            for future in waiting:
                future.cancel()
