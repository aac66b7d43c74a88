"""Device and precision. The playground runs in fp32 on the CPU, or on CUDA where torch has it."""

from __future__ import annotations

import contextlib

import torch

device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
cpu = torch.device("cpu")
dtype = dtype_vae = dtype_unet = torch.float32
unet_needs_upcast = False


def autocast(disable: bool = False) -> contextlib.AbstractContextManager[None]:
    return contextlib.nullcontext()


def without_autocast(disable: bool = False) -> contextlib.AbstractContextManager[None]:
    return contextlib.nullcontext()


def torch_gc() -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()


def get_optimal_device() -> torch.device:
    return device
