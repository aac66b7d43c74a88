"""Tolerances, chunk sizes, and properties of devices."""

from __future__ import annotations

import torch

ROW_SUM_TOLERANCE = 4e-6
"""A row of the sparse map is solved if its sum differs from 1 by at most this."""

ROW_SUM_TOLERANCES = {torch.float64: 1e-12, torch.float16: 1e-4, torch.bfloat16: 1e-4}
"""The same by dtype of the inputs: weights that are rounded to half precision may be less exact."""

FUSED_TOLERANCE = 2.0**-10
"""The same for the fused kernels in half precision, whose rounding changes a row's sum as much."""

ROUNDINGS = 2.0
"""In a proof, the root mean square difference of a row may be that of this many roundings of each weight and value."""

MEAN_SQUARE = 0.01
"""In a proof, the largest root mean square of all differences, relative to that of the result."""

FINEST = 2.0**-18
"""In a proof, the smallest rounding that is assumed: fp32 results are limited by the accuracy of τ."""

MAX_STEPS = 60
"""Maximum number of Newton steps. Two or three are usual; rows with near-ties of many magnitudes take more."""

CHUNK_BYTES = {"cpu": 12 * 2**20 + 2**19}
"""Bytes of a chunk of the chunked kernel, by device type: two or three fp32 tensors of scores, and their queries or
results. On a CPU they stay in cache."""

CHUNK_BYTES_ACCELERATOR = 60 * 2**20
"""The same on accelerators, where launches cost more: 64 MiB with everything else that a chunk needs. SDXL's layer of
4,096 queries, batch 2, is one chunk."""

SMALLEST_CHUNK_BYTES = 2**20
"""If an accelerator's memory runs out, chunks are made smaller down to this size."""

ADDED_BYTES = {"cpu": 16 * 2**20}
"""Bytes of outputs that joint attention holds at once besides its result: it takes the heads in groups."""

ADDED_BYTES_ACCELERATOR = 64 * 2**20
"""The same on accelerators."""

LSE_CHUNK_SCORES = 1024 * 1024
"""Number of fp32 scores in a chunk if torch's attention doesn't return the log-sum-exp."""

LOOK_CHUNK_SCORES = 512 * 1024
"""Number of scores in a chunk of Look inside, which holds about five fp32 tensors of that size."""

DIRECT = ("cpu", "cuda")
"""Devices on which operations write correctly into views, and on which scaling a product is free. On MPS some wrote
into a copy (pytorch#118115), so only whole tensors are written there, except by `copy_`."""

SUMS_IN_ONE_READ = ("cuda",)
"""Devices on which `var_mean` reads its input once and is as fast as a sum."""


def is_cpu(device: torch.device) -> bool:
    """Whether the device is a CPU: values are read without synchronization, and chunks should stay in cache."""
    return device.type == "cpu"


def tolerance_of(dtype: torch.dtype) -> float:
    """How much the sum of a row of the sparse map may differ from 1, for inputs of this dtype."""
    return ROW_SUM_TOLERANCES.get(dtype, ROW_SUM_TOLERANCE)
