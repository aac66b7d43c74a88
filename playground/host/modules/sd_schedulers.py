"""Noise levels of an ε-model with discrete timesteps, and ways to space them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

schedulers = ["Automatic", "Uniform", "Karras", "Exponential", "SGM Uniform"]


class CompVisDenoiser(torch.nn.Module):
    """`forward(x, σ, cond)` → denoised x, where x = x₀ + σ ε. σ of timestep t: √((1 − ᾱ)/ᾱ)."""

    def __init__(self, sd_model: Any) -> None:
        super().__init__()
        self.inner_model = sd_model
        alphas = sd_model.alphas_cumprod
        self.sigmas: Tensor = ((1 - alphas) / alphas).sqrt()
        self.log_sigmas: Tensor = self.sigmas.log()

    def sigma_to_t(self, sigma: Tensor) -> Tensor:
        """Timestep, between whole numbers by interpolation in log σ."""
        log_sigma = sigma.log()
        high = torch.searchsorted(self.log_sigmas, log_sigma).clamp(1, len(self.sigmas) - 1)
        low = high - 1
        part = (log_sigma - self.log_sigmas[low]) / (self.log_sigmas[high] - self.log_sigmas[low])
        return low + part.clamp(0, 1)

    def t_to_sigma(self, t: Tensor) -> Tensor:
        low = t.floor().long()
        high = t.ceil().long()
        return torch.lerp(self.log_sigmas[low], self.log_sigmas[high], t.frac()).exp()

    def forward(self, x: Tensor, sigma: Tensor, cond: dict[str, Any]) -> Tensor:
        s = sigma[:, None, None, None]
        return x - s * self.inner_model.apply_model(x / (s**2 + 1).sqrt(), self.sigma_to_t(sigma), cond)


class CompVisTimestepsDenoiser(torch.nn.Module):
    """`forward(x, timestep, cond)` → ε."""

    def __init__(self, sd_model: Any) -> None:
        super().__init__()
        self.inner_model = sd_model

    def forward(self, x: Tensor, timesteps: Tensor, cond: dict[str, Any]) -> Tensor:
        return self.inner_model.apply_model(x, timesteps, cond)


def get_sigmas(name: str, n: int, wrap: Any) -> Tensor:
    """n falling levels and a final 0; for "timesteps" n whole-number timesteps and a final 0."""
    if name == "timesteps":
        total = len(wrap.inner_model.alphas_cumprod)
        steps = torch.arange(n - 1, -1, -1) * (total // max(n, 1)) + 1
        return torch.cat([steps, steps.new_zeros(1)]).to(wrap.inner_model.device)
    low, high = wrap.sigmas[0], wrap.sigmas[-1]
    ramp = torch.linspace(0, 1, n, device=low.device)
    if name.lower() == "karras":
        levels = (high ** (1 / 7) + ramp * (low ** (1 / 7) - high ** (1 / 7))) ** 7
    elif name.lower() == "exponential":
        levels = torch.lerp(high.log(), low.log(), ramp).exp()
    elif name.lower() == "sgm uniform":
        levels = wrap.t_to_sigma(torch.linspace(len(wrap.sigmas) - 1, 0, n + 1, device=low.device)[:-1])
    else:
        levels = wrap.t_to_sigma(torch.linspace(len(wrap.sigmas) - 1, 0, n, device=low.device))
    return torch.cat([levels, levels.new_zeros(1)])
