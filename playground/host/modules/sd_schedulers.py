"""Schedules: how the noise levels of a pass are spaced, under the names that the web UI lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from modules.k_diffusion import external, sampling

CompVisDenoiser = external.CompVisDenoiser
"""`forward(x, σ, cond=…)` → denoised x, where x = x₀ + σ ε. σ of timestep t: √((1 − ᾱ)/ᾱ)."""


def uniform(n: int, wrap: Any) -> Tensor:
    return wrap.get_sigmas(n)


def karras(n: int, wrap: Any) -> Tensor:
    return sampling.get_sigmas_karras(n, float(wrap.sigma_min), float(wrap.sigma_max), device=wrap.sigmas.device)


def exponential(n: int, wrap: Any) -> Tensor:
    return sampling.get_sigmas_exponential(n, float(wrap.sigma_min), float(wrap.sigma_max), device=wrap.sigmas.device)


def sgm_uniform(n: int, wrap: Any) -> Tensor:
    t = torch.linspace(len(wrap.sigmas) - 1, 0, n + 1, device=wrap.sigmas.device)
    return sampling.append_zero(wrap.t_to_sigma(t[:-1]))


def ddim(n: int, wrap: Any) -> Tensor:
    """DDIM's whole-number timesteps, and 0: in σ a step of DDIM (η = 0) is a step of Euler's method."""
    t = torch.arange(n, 0, -1, device=wrap.sigmas.device).sub(1) * (len(wrap.sigmas) // max(n, 1)) + 1
    return wrap.t_to_sigma(torch.cat([t, t.new_zeros(1)]))


SCHEDULES: dict[str, Callable[[int, Any], Tensor]] = {
    "Uniform": uniform, "Karras": karras, "Exponential": exponential, "SGM Uniform": sgm_uniform, "DDIM": ddim,
}  # fmt: skip
"""`schedule(n, wrap)`: n falling σ of `wrap`, a CompVisDenoiser, and a last one (0; with DDIM the lowest σ)."""

schedulers = ["Automatic", *SCHEDULES]
