"""Makes the 4-step checkpoint: `python playground/model/distil.py --out DIR` (`--quick`: a minute).

Progressive distillation (arXiv 2202.00512) in one jump, with the guidance built in (arXiv
2210.03142): the student learns to go in one step at CFG 1 where the teacher, the playground's
checkpoint, goes in four at CFG 5. Stages: the teacher's trajectories, the student, figures. DIR
keeps what each has reached, so the same command goes on after an interruption. The finished files
are DIR/pladis-playground-4step.safetensors and .yaml; `--quick` works in DIR/quick.
"""

from __future__ import annotations

import argparse
import copy
import math
import os
import random
import sys
import time
from dataclasses import dataclass
from itertools import product
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from PIL import Image
from torch import Tensor, nn

from playground.model import checkpoint, sampler, training, trajectories, weights
from playground.model.load import Model, load
from playground.model.scenes import caption, sample
from playground.model.scorer import score
from playground.model.training import Log
from playground.model.trajectories import CFG, KNOTS, Grid

NAME = f"{weights.NAME}-{KNOTS}step"
RATE, WARM_UP, AVERAGE = 5e-4, 50, 0.995
SAVE_EVERY, LOOK_EVERY = 50, 300
KINDS = ("unseen_combo", "unseen_pair", "three", "distractors")
WAYS = (("teacher", 20, CFG), ("teacher", KNOTS, CFG), ("teacher", KNOTS, 1.0), ("student", KNOTS, 1.0))
SHOWN = 2
"""Prompts of each kind on the contact sheet."""


@dataclass(frozen=True)
class Plan:
    """`parts` of `size` trajectories; `batch` trajectories a step, in all processes together;
    from step `own_from` on the student starts each jump from where it has come by itself;
    figures on `count` prompts of each kind."""

    parts: int = 18
    size: int = 128
    steps: int = 900
    own_from: int = 600
    batch: int = 8
    count: int = 96
    seed: int = 1
    processes: int = 2


QUICK = Plan(parts=2, size=2, steps=4, own_from=2, batch=2, count=1, processes=1)


def rate_at(step: int, steps: int) -> float:
    """Share of RATE: warm-up, then down to 2% along a cosine."""
    fall = 0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * step / steps))
    return min(1.0, (step + 1) / WARM_UP) * fall


def jump(unet: nn.Module, x: Tensor, knot: Tensor, context: Tensor, grid: Grid) -> Tensor:
    """One Euler step for each row of x (B, 4, h, w), from level `knot` (B,) to the next."""
    seen = x * grid.scale()[knot].view(-1, 1, 1, 1)
    eps = unet(seen, grid.timesteps[knot], context=context)
    return x + (grid.sigmas[knot + 1] - grid.sigmas[knot]).view(-1, 1, 1, 1) * eps


def losses(unet: nn.Module, knots: Tensor, context: Tensor, grid: Grid, own: bool) -> Tensor:
    """(KNOTS,) mean squared distance to the teacher's next knot, at the scale that the UNet sees.

    knots is (KNOTS + 1, B, 4, h, w). A jump starts at the teacher's knot, or with `own` where the
    student's last one ended (without gradient through that), so it learns to come back.
    """
    count, rows = len(knots) - 1, knots.shape[1]
    if own:
        x, reached = knots[0], []
        for k in range(count):
            x = jump(unet, x.detach(), torch.full((rows,), k), context, grid)
            reached.append(x)
        after = torch.stack(reached)
    else:
        at = torch.arange(count).repeat_interleave(rows)
        after = jump(unet, knots[:-1].flatten(0, 1), at, context.repeat(count, 1, 1), grid).view_as(knots[1:])
    return ((after - knots[1:]) * grid.scale()[1:].view(-1, 1, 1, 1, 1)).square().mean((1, 2, 3, 4))


def make_trajectories(out: Path, rank: int, plan: Plan) -> None:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    parts = range(rank, plan.parts, plan.processes)
    trajectories.build(out / "trajectories", load(), parts, plan.size, plan.seed, Log(out))


def make_student(out: Path, rank: int, plan: Plan) -> None:
    """One of the equal processes that train; the first keeps DIR/student.pt and the checkpoint."""
    training.join(out / "meet-distil", rank, plan.processes)
    log, model = Log(out), load()
    student = copy.deepcopy(model.unet).requires_grad_(True)
    average = model.unet
    optimizer = torch.optim.AdamW(student.parameters(), lr=RATE, betas=(0.9, 0.99), weight_decay=0.01)
    path, start = out / "student.pt", 0
    if path.exists():
        state = torch.load(path, weights_only=True)
        student.load_state_dict(state["student"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        start = state["step"]
    kept, texts = trajectories.read(out / "trajectories", plan.parts, plan.size, plan.seed)
    grid = trajectories.sgm_uniform(model.alphas_cumprod, KNOTS)
    scales = grid.scale().view(-1, 1, 1, 1, 1)
    began, recent = time.monotonic(), []
    for step in range(start, plan.steps):
        rng = random.Random(f"{plan.seed}:{step}:{rank}")
        picked = [rng.randrange(len(texts)) for _ in range(plan.batch // plan.processes)]
        knots = torch.from_numpy(kept[:, picked]).float() / scales
        with torch.no_grad():
            context = model.text([texts[i] for i in picked])
        each = losses(student, knots, context, grid, own=step >= plan.own_from)
        training.descend(each.mean(), optimizer, RATE * rate_at(step, plan.steps))
        recent.append(each.detach())
        if rank:
            continue
        training.follow(average, student, step, AVERAGE)
        done = step + 1
        if done % SAVE_EVERY and done != plan.steps:
            continue
        at_knots = " ".join(f"{value:.4f}" for value in torch.stack(recent[-SAVE_EVERY:]).mean(0))
        seconds = (time.monotonic() - began) / (done - start)
        log(f"student step {done}/{plan.steps} loss at the knots {at_knots} {seconds:.2f} s/step")
        state = {"student": student.state_dict(), "average": average.state_dict()}
        training.keep(path, **state, optimizer=optimizer.state_dict(), step=done)
        for stale in out.glob(f"shown-*-{len(WAYS) - 1}.png"):
            stale.unlink()
        checkpoint.save(out / f"{NAME}.safetensors", average, model.vae, model.text.transformer, model.scale_factor)
        if done % LOOK_EVERY == 0:
            log(f"  at {done}: {figures(model, 'unseen_combo', 24, KNOTS, 1.0)[0]}")
    training.leave()


@torch.no_grad()
def figures(model: Model, kind: str, count: int, steps: int, cfg: float) -> tuple[str, list[Image.Image]]:
    """Draws `count` prompts of `kind` with Euler, SGM Uniform: a line of figures, and the pictures."""
    rng, images = random.Random(f"distil {kind}"), []
    scenes = [sample(rng, kind) for _ in range(count)]
    texts = [caption(scene, rng) for scene in scenes]
    noise = torch.randn(count, 4, 16, 16, generator=torch.Generator().manual_seed(2000))
    grid = trajectories.sgm_uniform(model.alphas_cumprod, steps)
    empty = model.text([""])

    def denoise(x: Tensor, t: Tensor, context: Tensor) -> Tensor:
        return model.unet(x, t, context=context)

    for at in range(0, count, 16):
        context = model.text(texts[at : at + 16])
        latents = trajectories.euler(denoise, noise[at : at + 16], context, grid, empty, cfg)[-1]
        images += sampler.pictures(model.vae, latents, model.scale_factor)
    scores = [score(image, scene) for image, scene in zip(images, scenes)]
    objects = sum(len(scene.objects) for scene in scenes)
    placed, right = (sum(sum(getattr(s, part)) for s in scores) / objects for part in ("placed", "right"))
    whole = sum(s.all_right for s in scores) / count
    line = f"{kind} ({count} prompts): placed {placed:.3f} right {right:.3f} pictures all right {whole:.3f}"
    return line, images


def make_figures(out: Path, rank: int, plan: Plan) -> None:
    """Logs a line for each kind and each of WAYS; keeps the first pictures for the contact sheet.

    Where the pictures are there, the line is in the log.
    """
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    log, models = Log(out), {"teacher": load(), "student": load(out / f"{NAME}.safetensors")}
    for kind, (i, (who, steps, cfg)) in product(KINDS[rank :: plan.processes], enumerate(WAYS)):
        shown = out / f"shown-{kind}-{i}.png"
        if shown.exists():
            continue
        line, images = figures(models[who], kind, plan.count, steps, cfg)
        log(f"{who}, {steps} steps, CFG {cfg:g}: {line}")
        sampler.sheet(images[:SHOWN], SHOWN).save(shown)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for everything")
    parser.add_argument("--quick", action="store_true", help="everything, but far too little of it")
    parser.add_argument("--seed", type=int, default=Plan.seed)
    parser.add_argument("--processes", type=int, default=Plan.processes, help="one per core; divides 8")
    arguments = parser.parse_args()
    options = {"seed": arguments.seed, "processes": arguments.processes}
    plan = Plan(**{**vars(QUICK), "seed": arguments.seed}) if arguments.quick else Plan(**options)
    out: Path = arguments.out.resolve() / ("quick" if arguments.quick else "")
    out.mkdir(parents=True, exist_ok=True)
    (out / "meet-distil").unlink(missing_ok=True)
    load()  # builds the tokenizer's folder, before processes do so side by side
    ranks = range(plan.processes)
    training.together(make_trajectories, [(out, rank, plan) for rank in ranks])
    training.together(make_student, [(out, rank, plan) for rank in ranks])
    training.together(make_figures, [(out, rank, plan) for rank in ranks])
    rows = [sampler.sheet([Image.open(out / f"shown-{kind}-{i}.png") for kind in KINDS], 4) for i in range(len(WAYS))]
    sampler.sheet(rows, 1).save(out / "contact.png")
    path = out / f"{NAME}.safetensors"
    Log(out)(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
