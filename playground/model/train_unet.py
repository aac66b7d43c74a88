"""Stage 3: the UNet; the text model stays as stage 2 left it.

Noise prediction on SD1's schedule, loss weighted by min(SNR, 5)/SNR (Min-SNR, arXiv 2303.09556),
one caption in ten left empty for CFG, moving average of the weights. One process per core, one
thread each, gradients averaged at each step (training.py).
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from . import data, training
from .nets import schedule, text_model, unet
from .scenes import caption
from .train_text import Vocabulary

RATE, WARM_UP, GAMMA, EMPTY, AVERAGE = 1e-3, 200, 5.0, 0.1, 0.998
SAVE_EVERY = 100


@dataclass(frozen=True)
class Plan:
    """How long and on what: `batch` is for all processes together, `parts` of 500 pictures."""

    steps: int
    batch: int
    parts: int
    seed: int
    processes: int


def rate_at(step: int, steps: int) -> float:
    """Warm-up, then flat, then down to 2% over the last 40% (cosine)."""
    if step < WARM_UP:
        return (step + 1) / WARM_UP
    into = (step / steps - 0.6) / 0.4
    return 1.0 if into <= 0 else 0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * min(into, 1.0)))


class Networks(nn.Module):
    """UNet and text model together, so that one state and one moving average hold both."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.unet = unet()
        self.text = text_model(rows)

    def forward(self, noisy: Tensor, timesteps: Tensor, rows: Tensor) -> Tensor:
        """Predicted noise (B, 4, 16, 16) for noisy latents, timesteps (B,), token rows (B, 77)."""
        with torch.no_grad():
            context = self.text(rows).last_hidden_state
        return self.unet(noisy, timesteps, context=context)


def begin(out: Path, vocabulary: Vocabulary, plan: Plan) -> tuple[Networks, Networks, dict[str, Any]]:
    """Networks, their moving average, and the optimizer's state where a run is gone on with."""
    torch.manual_seed(plan.seed)
    networks, average = Networks(len(vocabulary)), Networks(len(vocabulary))
    networks.text.load_state_dict(torch.load(out / "text.pt", weights_only=True)["model"])
    average.load_state_dict(networks.state_dict())
    state: dict[str, Any] = {"step": 0, "optimizer": None}
    if (out / "unet.pt").exists():
        state = torch.load(out / "unet.pt", weights_only=True)
        networks.load_state_dict(state["networks"])
        average.load_state_dict(state["average"])
    return networks, average.requires_grad_(False), state


def worker(
    rank: int,
    out: Path,
    vocabulary: Vocabulary,
    plan: Plan,
    scale_factor: float,
    on_save: Callable[[int, Networks], None],
    log: Callable[[str], None],
) -> None:
    """One of `plan.processes` equal processes; the first keeps unet.pt and calls `on_save`."""
    training.join(out / "meet-unet", rank, plan.processes)
    networks, average, state = begin(out, vocabulary, plan)
    optimizer = torch.optim.AdamW(networks.unet.parameters(), lr=RATE, betas=(0.9, 0.99), weight_decay=0.01)
    if state["optimizer"]:
        optimizer.load_state_dict(state["optimizer"])
    latents, scenes = data.read(out / "latents", plan.parts, plan.seed)
    bar = schedule()["alphas_cumprod"]
    snr = bar / (1.0 - bar)
    weights = snr.clamp(max=GAMMA) / snr
    share = plan.batch // plan.processes
    began, losses = time.monotonic(), []
    for step in range(state["step"], plan.steps):
        rng = random.Random(f"{plan.seed}:{step}:{rank}")
        torch.manual_seed(rng.randrange(2**31))
        picked = [rng.randrange(len(scenes)) for _ in range(share)]
        clean = torch.from_numpy(latents[picked].astype(np.float32)) * scale_factor
        captions = [caption(scenes[i], rng) if rng.random() > EMPTY else "" for i in picked]
        rows = torch.tensor([vocabulary.rows(text, rng if text else None) for text in captions])
        timesteps = torch.randint(0, len(bar), (share,))
        noise, level = torch.randn_like(clean), bar[timesteps].view(-1, 1, 1, 1)
        predicted = networks(level.sqrt() * clean + (1.0 - level).sqrt() * noise, timesteps, rows)
        loss = (weights[timesteps] * (predicted - noise).square().mean((1, 2, 3))).mean()
        training.descend(loss, optimizer, RATE * rate_at(step, plan.steps))
        losses.append(loss.item())
        if rank:
            continue
        training.follow(average.unet, networks.unet, step, AVERAGE)
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == plan.steps:
            seconds = (time.monotonic() - began) / (step + 1 - state["step"])
            recent = sum(losses[-SAVE_EVERY:]) / len(losses[-SAVE_EVERY:])
            log(f"unet step {step + 1}/{plan.steps} loss {recent:.4f} {seconds:.2f} s/step")
            kept = {"networks": networks.state_dict(), "average": average.state_dict()}
            training.keep(out / "unet.pt", **kept, optimizer=optimizer.state_dict(), step=step + 1)
            on_save(step + 1, average)
    training.leave()
