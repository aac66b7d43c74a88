"""How much memory a call takes."""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from lib_pladis.kernels import torch_chunked


def extra_bytes(
    side: Callable[[Tensor, Tensor, Tensor], Tensor], arguments: tuple[Tensor, Tensor, Tensor]
) -> int | None:
    """Peak memory of a call beyond its arguments and its result; None where it cannot be measured.

    On Linux's CPU: the peak of the resident set, which the kernel resets on request, over what was
    resident before. What earlier calls have freed is given back to the system first.
    """
    query, _, value = arguments
    result_bytes = query.shape[:3].numel() * value.shape[3] * query.element_size()
    if query.is_cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        result = side(*arguments)
        torch.cuda.synchronize()
        del result
        return max(0, torch.cuda.max_memory_allocated() - before - result_bytes)
    if sys.platform != "linux":
        return None
    torch_chunked.release_buffers()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    result = side(*arguments)
    peak = resident("VmHWM")
    del result
    return max(0, peak - before - result_bytes)


def resident(name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found.group(1)) * 1024
