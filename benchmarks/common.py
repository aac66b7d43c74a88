"""What the benchmarks share: options, time and memory of a call, the machine and the command.

They print a table in markdown; those in `results/` were kept with `> benchmarks/results/NAME.md`.
"""

from __future__ import annotations

import argparse
import ctypes
import platform
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lib_pladis.kernels import torch_chunked

ROOT = Path(__file__).parents[1]


def parser(description: str | None, rounds: int) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawTextHelpFormatter)
    made.add_argument("--device", default="cpu")
    made.add_argument("--dtype", default=None, choices=["float32", "float16", "bfloat16"])
    made.add_argument("--threads", type=int, default=None)
    made.add_argument("--rounds", type=int, default=rounds)
    return made


def prepare(options: argparse.Namespace) -> torch.dtype:
    """Fill in what was not given and set the threads; returns the dtype."""
    options.dtype = options.dtype or ("float16" if options.device == "cuda" else "float32")
    if options.threads:
        torch.set_num_threads(options.threads)
    dtype: torch.dtype = getattr(torch, options.dtype)
    return dtype


def seconds(device: str, call: Callable[..., Any], *args: Any, clock: Callable[[], float] = time.perf_counter) -> float:
    """How long a call takes, until the device is done with it."""
    if device == "cuda":
        torch.cuda.synchronize()
    start = clock()
    call(*args)
    if device == "cuda":
        torch.cuda.synchronize()
    return clock() - start


def machine(options: argparse.Namespace) -> str:
    if options.device == "cuda":
        name = torch.cuda.get_device_name()
    else:
        name = platform.processor() or platform.machine()
        info = Path("/proc/cpuinfo")
        if info.exists():
            found = re.search(r"model name\s*:\s*(.+)", info.read_text())
            name = found.group(1) if found else name
        name += f", {torch.get_num_threads()} threads"
    return f"{name}, torch {torch.__version__}, {options.dtype}"


def command() -> str:
    """As it would be typed in the repository's root."""
    script = Path(sys.argv[0]).resolve().relative_to(ROOT)
    words = [f'"{word}"' if " " in word else word for word in sys.argv[1:]]
    return " ".join(["python", str(script), *words])


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
