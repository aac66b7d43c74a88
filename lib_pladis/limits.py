"""Accuracy of the sparse map, memory of the attention beyond its result, and what depends on the device."""

from __future__ import annotations

import torch

ROW_SUM_TOLERANCE = 4e-6
"""A row of the sparse map counts as solved if its sum differs from 1 by at most this."""

ROW_SUM_TOLERANCES = {torch.float64: 1e-12, torch.float16: 1e-4, torch.bfloat16: 1e-4}
"""The same by dtype of the inputs: weights rounded to half precision are less exact."""

FUSED_TOLERANCE = 2.0**-10
"""The same for the fused kernels in half precision: a row's sum is rounded as much."""

ROUNDINGS = 2.0
"""Where a kernel is proved, the root mean square of a row's difference may be that of so many roundings of each weight
and value."""

MEAN_SQUARE = 0.01
"""The root mean square of all differences against that of the result: an error of 2 % fails."""

FINEST = 2.0**-18
"""A rounding counts as no less: fp32 results are as exact as τ is."""

MAX_STEPS = 60
"""Maximum number of Newton steps. Two or three are usual; near-ties of many magnitudes take more."""

CHUNK_BYTES = {"cpu": 12 * 2**20 + 2**19}
"""Number of fp32 scores that the chunked kernel computes at once, by device type; two or three tensors of that size
exist, and their queries or results. On a CPU they stay in cache."""

CHUNK_BYTES_ACCELERATOR = 60 * 2**20
"""The same if a launch costs more: 64 MiB with everything else that a chunk needs. SDXL's layer of 4,096 queries,
batch 2, is one chunk."""

SMALLEST_CHUNK_BYTES = 2**20
"""If an accelerator's memory runs out, chunks are halved down to this size."""

ADDED_BYTES = {"cpu": 16 * 2**20}
"""Of outputs at once that joint attention adds to others: heads are taken in groups that need no more."""

ADDED_BYTES_ACCELERATOR = 64 * 2**20
"""The same where a launch costs more."""

LSE_CHUNK_SCORES = 1024 * 1024
"""Number of fp32 scores at once if torch's attention doesn't return the log-sum-exp."""

LOOK_CHUNK_SCORES = 512 * 1024
"""Number of scores that Look inside reads at once; a handful of fp32 tensors of that size exist."""

DIRECT = ("cpu", "cuda")
"""Devices on which operations write correctly into views, and scale a product at no cost. On MPS some have written
into a copy (pytorch#118115): there only whole tensors are written, except by `copy_`."""

SUMS_IN_ONE_READ = ("cuda",)
"""Devices on which `var_mean` reads its input once and takes no longer than a sum."""


def is_cpu(device: torch.device) -> bool:
    """Whether values can be read without waiting for the device, and chunks should stay in a cache."""
    return device.type == "cpu"


def tolerance_of(dtype: torch.dtype) -> float:
    """How much the sum of a row of the sparse map may differ from 1."""
    return ROW_SUM_TOLERANCES.get(dtype, ROW_SUM_TOLERANCE)
