"""How exact a sparse map is, and how much memory attention takes beyond its result; what depends on the device."""

from __future__ import annotations

import torch

ROW_SUM_TOLERANCE = 4e-6
"""Rows of the sparse map whose sum differs from 1 by no more than this count as solved."""

ROW_SUM_TOLERANCES = {torch.float64: 1e-12, torch.float16: 1e-4, torch.bfloat16: 1e-4}
"""The same by the dtype of what is given: weights that are rounded to half-precision numbers are off by more."""

FUSED_TOLERANCE = 2.0**-10
"""The same of the fused kernels in half precision: a row's sum rounds as much."""

ROUNDINGS = 2.0
"""Where a kernel is proved, the root mean square of a row's difference may be that of so many roundings of each weight
and value."""

MEAN_SQUARE = 0.01
"""The root mean square of all differences against that of the result: an error of 2 % fails."""

FINEST = 2.0**-18
"""A rounding counts as no less: fp32 results are as exact as τ is."""

MAX_STEPS = 60
"""Steps of Newton's method at most. Two or three are usual; near-ties of many magnitudes take more."""

CHUNK_BYTES = {"cpu": 12 * 2**20 + 2**19}
"""What the chunked kernel computes at once, by device type: fp32 scores, twice or thrice, and their queries or results.
On a CPU they stay in cache."""

CHUNK_BYTES_ACCELERATOR = 60 * 2**20
"""The same where a launch costs more: 64 MiB with what else a chunk needs. SDXL's layer of 4,096 queries, batch 2, is
one chunk."""

SMALLEST_CHUNK_BYTES = 2**20
"""Where an accelerator's memory runs out, chunks get smaller, down to this."""

LSE_CHUNK_SCORES = 1024 * 1024
"""fp32 scores at once where torch's attention doesn't give the log-sum-exp."""

LOOK_CHUNK_SCORES = 512 * 1024
"""Scores looked at at once: a handful of fp32 tensors of that size exist meanwhile."""

DIRECT = ("cpu", "cuda")
"""Devices whose operations write where they are told to, a part of a tensor too, and scale a product at no cost. On MPS
some have written into a copy of a part (pytorch#118115): what is written there is whole, but for `copy_`."""

SUMS_IN_ONE_READ = ("cuda",)
"""Devices on which `var_mean` reads its input once and takes no longer than a sum."""


def is_cpu(device: torch.device) -> bool:
    """Whether numbers can be looked at without waiting for them, and chunks are to stay in a cache."""
    return device.type == "cpu"


def tolerance_of(dtype: torch.dtype) -> float:
    """What a row of the sparse map may differ from 1 by."""
    return ROW_SUM_TOLERANCES.get(dtype, ROW_SUM_TOLERANCE)
