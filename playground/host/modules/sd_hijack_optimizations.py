"""The attention in use: swaps the class's `CrossAttention.forward`, as the webui's optimizers do."""

from __future__ import annotations

from typing import Any

import ldm.modules.attention as attention
import torch
from torch import Tensor

from modules import shared
from modules.hypernetworks import hypernetwork

ldm_forward = attention.CrossAttention.forward


def sdp_forward(self: Any, x: Tensor, context: Tensor | None = None, mask: Any = None, **kwargs: Any) -> Tensor:
    """`softmax(q kᵀ / √d) v` by torch's own function. x (B, N, C), context (B, M, C')."""
    context = x if context is None else context
    context_k, context_v = hypernetwork.apply_hypernetworks(shared.loaded_hypernetworks, context)
    q, k, v = self.to_q(x), self.to_k(context_k), self.to_v(context_v)
    dtype = q.dtype
    if shared.opts.upcast_attn:
        q, k, v = q.float(), k.float(), v.float()
    q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (q, k, v))
    out = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return self.to_out(out.transpose(1, 2).flatten(2).to(dtype))


def apply_optimizations() -> None:
    chosen = shared.opts.cross_attention_optimization
    attention.CrossAttention.forward = ldm_forward if chosen == "None" else sdp_forward
