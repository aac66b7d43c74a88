"""What a call of a fused kernel costs on the CPU besides the launch, once its kind is proved and planned.

    python benchmarks/calls.py [--rounds 3000]

Done: checks, choice of the kernel and its plan, the result's memory, the kernel's arguments. The tensors lie on the
CPU and the launch does nothing, so no GPU is needed; what the driver takes to launch is not in it. Prints microseconds,
the least and the median, of a layer of SDXL at 1024². Few calls of other functions make it: `tests/unit/test_choice.py`
counts them.
"""

from __future__ import annotations

import statistics
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import common
from lib_pladis.attention import attend
from lib_pladis.math.rule import Mix
from tests.inputs import tensors
from tests.kernels import without_launch


def microseconds(name: str, rounds: int) -> list[float]:
    """Of that many calls."""
    query, key, value = tensors(2, 10, 4096, 77, 64, torch.float16)
    mix, times = Mix(), []
    with without_launch(name) as kernels:
        for _ in range(100):
            assert attend(kernels, query, key, value, mix).kernel == name
        for _ in range(rounds):
            start = time.perf_counter()
            attend(kernels, query, key, value, mix)
            times.append((time.perf_counter() - start) * 1e6)
    return times


def main() -> None:
    options = common.parser(__doc__, rounds=3000).parse_args()
    options.dtype = "float16"
    common.prepare(options)
    print(f"{common.machine(options)}\n`{common.command()}`\n")
    print("| kernel | least, µs | median, µs |\n|---|---|---|")
    for name in ("triton", "cuda"):
        if name == "triton" and find_spec("triton") is None:
            continue
        times = microseconds(name, options.rounds)
        print(f"| {name} | {min(times):.1f} | {statistics.median(times):.1f} |", flush=True)


if __name__ == "__main__":
    main()
