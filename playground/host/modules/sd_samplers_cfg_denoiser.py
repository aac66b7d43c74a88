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

    def __init__(self, sampler: Any, model_wrap: torch.nn.Module) -> None:
        super().__init__()
        self.sampler = sampler
        self.model_wrap = self.inner_model = model_wrap
        self.p: Any = None
        self.mask: Any = None
        self.nmask: Any = None
        self.init_latent: Any = None
        self.step = self.steps = self.total_steps = 0

    def combine_denoised(self, x_out: Tensor, conds_list: Any, uncond: Tensor, cond_scale: float) -> Tensor:
        """uncond + Σ weight · scale · (cond − uncond), per picture."""
        denoised_uncond = x_out[-uncond.shape[0] :]
        denoised = denoised_uncond.clone()
        for i, conds in enumerate(conds_list):
            for row, weight in conds:
                denoised[i] += (x_out[row] - denoised_uncond[i]) * (weight * cond_scale)
        return denoised

    def skips_uncond(self, cond_scale: float) -> bool:
        """Whether the negative prompt takes no part in this step."""
        early = opts.skip_early_cond != 0 and self.step / self.total_steps <= opts.skip_early_cond
        if early:
            self.p.extra_generation_params["Skip Early CFG"] = opts.skip_early_cond
        return early or cond_scale == 1.0

    def denoise(self, params: callbacks.CFGDenoiserParams, groups: list[Tensor], size: int) -> Tensor:
        """The UNet on all rows, `size` rows at a time; `groups` are their conditions, by length."""
        parts, start = [], 0
        for conds in groups:
            for c in conds.split(size):
                rows = slice(start, start + len(c))
                cond = {"c_crossattn": [c], "c_concat": [params.image_cond[rows]]}
                parts.append(self.inner_model(params.x[rows], params.sigma[rows], cond=cond))
                start += len(c)
        return torch.cat(parts)

    def forward(self, x: Tensor, sigma: Tensor, uncond: Any, cond: Any, cond_scale: float) -> Tensor:
        if state.interrupted or state.skipped:
            raise InterruptedException
        conds_list, tensor = prompt_parser.reconstruct_multicond_batch(cond)
        uncond = prompt_parser.stack_conds(uncond)
        repeats = torch.tensor([len(c) for c in conds_list], device=x.device)

        def rows(t: Tensor) -> Tensor:
            return torch.cat([t.repeat_interleave(repeats, 0), t])

        at = (state.sampling_step, state.sampling_steps)
        image_cond = x.new_zeros(len(x), 5, 1, 1)
        params = callbacks.CFGDenoiserParams(rows(x), rows(image_cond), rows(sigma), *at, tensor, uncond, self)
        callbacks.cfg_denoiser_callback(params)
        tensor, uncond = params.text_cond, params.text_uncond

        skip = self.skips_uncond(cond_scale)
        if skip:
            groups = [tensor]
        elif tensor.shape[1] == uncond.shape[1]:
            groups = [torch.cat([tensor, uncond])]
        else:
            groups = [tensor, uncond]
        size = sum(map(len, groups)) if opts.batch_cond_uncond else len(conds_list)
        x_out = self.denoise(params, groups, size)
        if skip:
            x_out = torch.cat([x_out, x_out[[c[0][0] for c in conds_list]]])
        callbacks.cfg_denoised_callback(callbacks.CFGDenoisedParams(x_out, *at, self.inner_model))

        denoised = self.combine_denoised(x_out, conds_list, uncond, 1.0 if skip else cond_scale)
        if self.mask is not None:  # keep what is not to be painted anew
            denoised = denoised * self.nmask + self.init_latent * self.mask
        self.sampler.last_latent = state.current_latent = denoised
        after = callbacks.AfterCFGCallbackParams(denoised, *at)
        callbacks.cfg_after_cfg_callback(after)
        self.step += 1
        return after.x
