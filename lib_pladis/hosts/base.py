"""What the hosts' adapters share: model families, heads, and the owner of a function."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def model_kind(sd_model: Any, network: torch.nn.Module | None = None) -> str:
    """Short name of a model's family, from the flags that the web UIs set on it; without one, its network's class."""
    for kind in ("sdxl", "sd3", "sd2", "sd1"):
        if getattr(sd_model, f"is_{kind}", False):
            return kind
    return "unknown" if network is None else type(network).__name__


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(B, L, H·D) to (B, H, L, D), without a copy."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """(B, H, L, D) to (B, L, H·D)."""
    return x.transpose(1, 2).flatten(2)


def says_nothing(value: Any) -> bool:
    """Whether a keyword argument is at its default: None, or a number that is 0."""
    return value is None or (isinstance(value, (bool, int, float)) and value == 0)


def without_ours(function: Any) -> Any:
    """The function beneath hooks of ours that were put back after their session; each keeps in `pladis_before` what it
    replaced."""
    while hasattr(function, "pladis_before"):
        function = function.pladis_before
    return function


def owner_of(function: Any) -> str:
    """The name of the module that a function comes from; of a `functools.wraps` wrapper, the one that has its code."""
    if hasattr(function, "__wrapped__"):
        return str(getattr(function, "__globals__", {}).get("__name__", "unknown"))
    return str(getattr(function, "__module__", None) or type(function).__name__)
