"""Classifier-free guidance: one call per step of the sampler, one or more calls of the UNet."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from modules import prompt_parser
from modules import script_callbacks as callbacks
from modules.shared import opts, state


class InterruptedException(BaseException):
    """Raised inside sampling when the user stops it; the sampler then returns its last latent."""


class CFGDenoiser(torch.nn.Module):
    """`model_wrap(x, sigma, cond)` seen with guidance. With conditions of one length the UNet gets one
    batch, positives first and negatives last; else one batch of positives and one of negatives."""

    mask_before_denoising = False

    def __init__(self, sampler: Any, model_wrap: torch.nn.Module) -> None:
        super().__init__()
        self.sampler = sampler
        self.model_wrap = model_wrap
        self.p: Any = None
        self.mask: Tensor | None = None
        self.nmask: Tensor | None = None
        self.init_latent: Tensor | None = None
        self.step = 0
        self.steps = self.total_steps = 0
        self.cond_scale_miltiplier = 1.0

    @property
    def inner_model(self) -> torch.nn.Module:
        return self.model_wrap

    def get_pred_x0(self, x_in: Tensor, x_out: Tensor, sigma: Tensor) -> Tensor:
        return x_out

    def combine_denoised(self, x_out: Tensor, conds_list: Any, uncond: Tensor, cond_scale: float) -> Tensor:
        """uncond + Σ weight · scale · (cond − uncond), per picture."""
        denoised_uncond = x_out[-uncond.shape[0] :]
        denoised = denoised_uncond.clone()
        for i, conds in enumerate(conds_list):
            for row, weight in conds:
                denoised[i] += (x_out[row] - denoised_uncond[i]) * (weight * cond_scale)
        return denoised

    def blend(self, x: Tensor) -> Tensor:
        """Keep what the inpainting mask does not cover."""
        return x if self.mask is None else x * self.nmask + self.init_latent * self.mask

    def skips_uncond(self, sigma: Tensor, s_min_uncond: float, cond_scale: float) -> bool:
        params = self.p.extra_generation_params
        if opts.skip_early_cond != 0 and self.step / self.total_steps <= opts.skip_early_cond:
            params["Skip Early CFG"] = opts.skip_early_cond
            return True
        if (self.step % 2 or opts.s_min_uncond_all) and s_min_uncond > 0 and sigma[0] < s_min_uncond:
            params["NGMS"] = s_min_uncond
            return True
        return cond_scale == 1.0

    def pad(self, cond: Tensor, uncond: Tensor) -> tuple[Tensor, Tensor]:
        """Both to one length, with the states of empty chunks."""
        longest = max(cond.shape[1], uncond.shape[1])
        empty = prompt_parser.encode("")

        def fill(c: Tensor) -> Tensor:
            times = (longest - c.shape[1]) // len(empty)
            return torch.cat([c, empty.repeat(times, 1).expand(len(c), -1, -1)], 1) if times else c

        return fill(cond), fill(uncond)

    def forward(
        self,
        x: Tensor,
        sigma: Tensor,
        uncond: Any,
        cond: Any,
        cond_scale: float,
        s_min_uncond: float,
        image_cond: Tensor,
    ) -> Tensor:
        if state.interrupted or state.skipped:
            raise InterruptedException
        conds_list, tensor = prompt_parser.reconstruct_multicond_batch(cond, self.step)
        uncond = prompt_parser.reconstruct_cond_batch(uncond, self.step)
        if self.mask_before_denoising:
            x = self.blend(x)

        batch = len(conds_list)
        repeats = torch.tensor([len(c) for c in conds_list], device=x.device)

        def rows(t: Tensor) -> Tensor:
            return torch.cat([t.repeat_interleave(repeats, 0), t])

        params = callbacks.CFGDenoiserParams(
            rows(x), rows(image_cond), rows(sigma), state.sampling_step, state.sampling_steps, tensor, uncond, self
        )
        callbacks.cfg_denoiser_callback(params)
        x_in, sigma_in, image_in = params.x, params.sigma, params.image_cond
        tensor, uncond = params.text_cond, params.text_uncond

        skip = self.skips_uncond(sigma, s_min_uncond, cond_scale)
        if skip:
            x_in, sigma_in = x_in[:-batch], sigma_in[:-batch]
        elif opts.pad_cond_uncond and tensor.shape[1] != uncond.shape[1]:
            tensor, uncond = self.pad(tensor, uncond)

        def denoise(a: int, b: int, c: Tensor) -> Tensor:
            return self.inner_model(x_in[a:b], sigma_in[a:b], cond={"c_crossattn": [c], "c_concat": [image_in[a:b]]})

        n = len(tensor)
        together = skip or tensor.shape[1] == uncond.shape[1]
        groups = [(0, torch.cat([tensor, uncond]) if not skip else tensor)] if together else [(0, tensor), (n, uncond)]
        size = len(x_in) if opts.batch_cond_uncond else batch
        parts = []
        for start, conds in groups:
            for a in range(0, len(conds), size):
                parts.append(denoise(start + a, start + min(a + size, len(conds)), conds[a : a + size]))
        x_out = torch.cat(parts)

        first = [c[0][0] for c in conds_list]
        if skip:
            x_out = torch.cat([x_out, x_out[first]])
        callbacks.cfg_denoised_callback(
            callbacks.CFGDenoisedParams(x_out, state.sampling_step, state.sampling_steps, self.inner_model)
        )
        scale = 1.0 if skip else cond_scale * self.cond_scale_miltiplier
        denoised = self.combine_denoised(x_out, conds_list, uncond, scale)
        if not self.mask_before_denoising:
            denoised = self.blend(denoised)
        self.sampler.last_latent = self.get_pred_x0(x_in[first], x_out[first], sigma)
        state.current_latent = self.get_pred_x0(x_in[first], denoised, sigma)

        after = callbacks.AfterCFGCallbackParams(denoised, state.sampling_step, state.sampling_steps)
        callbacks.cfg_after_cfg_callback(after)
        self.step += 1
        return after.x
