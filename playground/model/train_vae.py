"""Stages 1 and 4: the autoencoder.

The encoder is trained first, together with a cheap decoder that works on the 16×16 grid alone and
is thrown away (`Sketch`): the latents, and so the UNet, need only the encoder. The real decoder is
trained on the finished encoder's latents, when the UNet has had its time.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import training
from .nets import AutoencoderKL
from .scenes import SIZE, render, sample

RATE, KL, SAVE_EVERY = 1.5e-3, 2e-4, 100
ROUGHEN = 0.2
"""Noise on the decoder's input, per latent and per channel: the UNet's latents are not exact."""


def to_tensor(pictures: list[np.ndarray]) -> Tensor:
    """H×W×3 uint8 arrays -> (B, 3, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)


def crops(rng: random.Random, count: int, side: int) -> Tensor:
    """`count` crops of `side` pixels, each near a random object of a fresh training scene."""
    result = []
    for _ in range(count):
        scene = sample(rng)
        picture = np.asarray(render(scene, rng))
        thing = rng.choice(scene.objects)
        left, top = (int(min(max(at + rng.uniform(-28, 28) - side / 2, 0), SIZE - side)) for at in (thing.x, thing.y))
        result.append(picture[top : top + side, left : left + side])
    return to_tensor(result)


class Sketch(nn.Module):
    """Latents -> pictures by one 8×8 patch per latent: cheap, no normalisation, a bit blocky."""

    mean: Tensor
    std: Tensor

    def __init__(self, width: int = 96) -> None:
        super().__init__()
        self.first = nn.Conv2d(4, width, 3, padding=1)
        self.one = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(3))
        self.two = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(3))
        self.last = nn.Conv2d(width, 192, 3, padding=1)
        self.register_buffer("mean", torch.zeros(1, 4, 1, 1))
        self.register_buffer("std", torch.ones(1, 4, 1, 1))

    def forward(self, latents: Tensor) -> Tensor:
        """(B, 4, h, w) -> (B, 3, 8h, 8w)."""
        hidden = self.first(latents * self.std + self.mean)
        for one, two in zip(self.one, self.two):
            hidden = hidden + two(F.silu(one(F.silu(hidden))))
        return F.pixel_shuffle(self.last(F.silu(hidden)), 8)


class Both(nn.Module):
    """The autoencoder and the sketch decoder, so that one state holds both."""

    def __init__(self) -> None:
        super().__init__()
        self.vae = AutoencoderKL()
        self.sketch = Sketch()


def batch(rng: random.Random, step: int, steps: int, count: int) -> Tensor:
    """64-pixel crops in the first 60% of the steps, then a quarter as many whole pictures."""
    whole = step >= 0.6 * steps
    return crops(rng, max(count // 4, 1), SIZE) if whole else crops(rng, count, 64)


def encoder_loss(model: Both, pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Absolute + squared error of the sketch + a little KL; and the absolute error alone."""
    mean, log_variance = model.vae.moments(pictures)
    latents = mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance)
    error = model.sketch(latents) - pictures
    kl = 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).mean()
    return error.abs().mean() + error.square().mean() + KL * kl, error.abs().mean()


def decoder_loss(model: Both, pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Absolute + squared error of the decoder on the encoder's latents, slightly roughened."""
    with torch.no_grad():
        mean = model.vae.encode(pictures)
        amount = ROUGHEN * torch.rand(len(mean), 1, 1, 1)
        mean = mean + amount * (torch.randn_like(mean) + torch.randn(len(mean), 4, 1, 1))
    error = model.vae.decode(mean) - pictures
    return error.abs().mean() + error.square().mean(), error.abs().mean()


@torch.no_grad()
def whiten(out: Path, seed: int) -> None:
    """Gives each latent channel mean 0 and deviation 1, inside quant_conv; writes whitened.pt.

    SD1 knows one scale factor and no shift, so both go into the encoder's last layer; the decoder
    starts from there, and the sketch keeps the way back.
    """
    model = load(out, "encoder")
    rng = random.Random(f"{seed}:whiten")
    latents = torch.cat([model.vae.encode(crops(rng, 10, SIZE)) for _ in range(20)])
    mean, std = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    weight, bias = model.vae.quant_conv.weight, model.vae.quant_conv.bias
    assert bias is not None
    weight[:4] /= std.view(4, 1, 1, 1)
    bias[:4] = (bias[:4] - mean) / std
    bias[4:] -= 2.0 * std.log()
    model.sketch.mean.copy_(mean.view(1, 4, 1, 1))
    model.sketch.std.copy_(std.view(1, 4, 1, 1))
    torch.save({"model": model.state_dict()}, out / "whitened.pt")


def load(out: Path, stage: str) -> Both:
    """The networks as `stage` ("encoder", "whitened" or "decoder") has left them, frozen."""
    model = Both()
    state = torch.load(out / f"{stage}.pt", weights_only=True)["model"]
    missing, unexpected = model.load_state_dict(state, strict=False)
    if unexpected or not set(missing) <= {"sketch.mean", "sketch.std"}:
        raise RuntimeError(f"{stage}.pt does not fit: {[*missing, *unexpected][:5]}")
    return model.eval().requires_grad_(False)


def worker(
    rank: int,
    processes: int,
    out: Path,
    stage: str,
    steps: int,
    count: int,
    seed: int,
    log: Callable[[str], None],
) -> None:
    """One of `processes` equal ones; the first keeps `out`/<stage>.pt, from which a run goes on.

    `count` 64-pixel crops a step, for all processes together.
    """
    training.join(out / f"meet-{stage}", rank, processes)
    torch.manual_seed(seed)
    model, path = Both(), out / f"{stage}.pt"
    if stage == "decoder":
        model.load_state_dict(torch.load(out / "whitened.pt", weights_only=True)["model"])
        parts: tuple[nn.Module, ...] = (model.vae.decoder, model.vae.post_quant_conv)
    else:
        parts = (model.vae.encoder, model.vae.quant_conv, model.sketch)
    parameters = [p for part in parts for p in part.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=RATE, betas=(0.9, 0.99), weight_decay=0.0)
    start = 0
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        start = state["step"]
    loss = decoder_loss if stage == "decoder" else encoder_loss
    began, errors = time.monotonic(), []
    for step in range(start, steps):
        rng = random.Random(f"{seed}:{stage}:{step}:{rank}")
        torch.manual_seed(rng.randrange(2**31))
        rate = RATE * min(1.0, (step + 1) / 50) * 0.5 * (1.0 + math.cos(math.pi * step / steps))
        total, error = loss(model, batch(rng, step, steps, count // processes))
        training.descend(total, optimizer, max(rate, 2e-5))
        errors.append(error.item())
        if rank == 0 and ((step + 1) % SAVE_EVERY == 0 or step + 1 == steps):
            seconds = (time.monotonic() - began) / (step + 1 - start)
            recent = sum(errors[-SAVE_EVERY:]) / len(errors[-SAVE_EVERY:])
            log(f"{stage} step {step + 1}/{steps} abs error {recent:.4f} {seconds:.2f} s/step")
            training.keep(path, model=model.state_dict(), optimizer=optimizer.state_dict(), step=step + 1)
    training.leave()
