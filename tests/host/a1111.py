"""One generation through the A1111 adapter, on a real `ldm` U-Net, and what its layers are held against."""

from __future__ import annotations

from typing import Any

import entmax
import torch

from lib_pladis.facts import Conditions, Step
from lib_pladis.hosts.a1111 import A1111Model
from lib_pladis.run.session import Session
from lib_pladis.settings import Settings


def reference_forward(self: Any, x: Any, context: Any = None, mask: Any = None) -> Any:
    """PLADIS as the paper writes it, eagerly, with the entmax package: independent of the product."""
    b, n, _ = x.shape
    h = self.heads
    q = self.to_q(x).view(b, n, h, -1).permute(0, 2, 1, 3)
    k = self.to_k(context).view(b, context.shape[1], h, -1).permute(0, 2, 1, 3)
    v = self.to_v(context).view(b, context.shape[1], h, -1).permute(0, 2, 1, 3)
    logits = torch.einsum("bhid,bhjd->bhij", q, k) / q.shape[-1] ** 0.5
    weights = 2.0 * entmax.entmax15(logits, dim=-1) + (1 - 2.0) * logits.softmax(-1)
    out = torch.einsum("bhij,bhjd->bhid", weights, v).permute(0, 2, 1, 3).reshape(b, n, -1)
    return self.to_out(out)


def texts(batches: Any) -> Conditions:
    """As the denoiser has them: one batch is positive, then negative rows; of two, the first is positive."""
    if len(batches) > 1:
        return Conditions(batches[0].context.clone(), batches[1].context.clone())
    context = batches[0].context.clone()
    half = len(context) // 2 or 1
    return Conditions(context[:half], context[half:] if len(context) > 1 else None)


def generate(
    sd_model: Any,
    settings: Settings,
    batches: Any,
    *,
    hires: bool = False,
    steps: int = 4,
    comments: Any = None,
    session: Any = None,
) -> Any:
    """One run of the sampler: `steps` denoiser calls, each with the U-Net calls of `batches`."""
    session = session or Session(settings, log=lambda line: None, comment=([] if comments is None else comments).append)
    outputs = []
    unet = sd_model.model.diffusion_model
    with session.sampling():
        for index in range(steps):
            session.step(A1111Model(sd_model), Step(index, steps, hires, lambda: texts(batches)))
            outputs.append([batch.run(unet) for batch in batches])
    return outputs, session


ON = Settings(enabled=True)
