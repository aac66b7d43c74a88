"""Hypernetworks: attention code asks for the contexts of key and value; here both are the same."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def apply_hypernetworks(hypernetworks: list[Any], context: Tensor, layer: Any = None) -> tuple[Tensor, Tensor]:
    """Contexts for key and value. Each entry of `hypernetworks` may be a callable
    `(context, layer) -> (context_k, context_v)`; with an empty list the context is returned twice."""
    context_k = context_v = context
    for network in hypernetworks:
        context_k, context_v = network(context_k, layer)
    return context_k, context_v
