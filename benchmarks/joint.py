"""What PLADIS adds to a step of a joint-attention transformer: one Flux block at 1024², with and without.

    python benchmarks/joint.py [--device cuda] [--dtype bfloat16] [--text 512] [--own 32 128 512] [--size 1024]

A Flux block has 24 heads of 128 over text and picture, 512 + 4096 tokens at 1024². Timed, one after the other in every
round: its attention as it is, the same with PLADIS for each number of the prompt's own tokens, and what else a block
computes, its linear layers (12 times 3072² products a token, in double and single blocks alike). A step is 57 such
blocks, so a block's share is the step's. Prints a table. `sdpa` is torch's attention.
On a CPU the time is the process's own, of all threads together, so that other work on the machine counts less.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import common
from lib_pladis.joint import joint_attention

HEADS, DIM = 24, 128
HIDDEN = HEADS * DIM


def main() -> None:
    parser = common.parser(__doc__, rounds=5)
    parser.add_argument("--size", type=int, default=1024, help="of the square picture, in pixels")
    parser.add_argument("--text", type=int, default=512, help="text tokens with their padding")
    parser.add_argument("--own", type=int, nargs="+", default=[32, 128, 512], help="those of the prompt's own")
    options = parser.parse_args()
    dtype = common.prepare(options)
    picture = (options.size // 16) ** 2
    tensors = inputs(options.text + picture, dtype, options.device)
    sides: dict[str, Callable[[], Any]] = {"sdpa": lambda: F.scaled_dot_product_attention(*tensors)}
    for own in options.own:
        sides[f"PLADIS, {own} text tokens"] = lambda own=own: blend(tensors, own, options.text)  # type: ignore[misc]
    linear = linear_layers(options.text + picture, dtype, options.device)
    times = measured({**sides, "linear": linear}, options.rounds, options.device)
    plain, rest = times["sdpa"], times["linear"]
    lines = [
        f"One Flux block at {options.size}², {options.text} + {picture} tokens; {common.machine(options)}.",
        f"`{common.command()}`",
        "",
        "| attention | ms | against sdpa | against the block | MB more |",
        "|---|---|---|---|---|",
    ]
    base = common.extra_bytes(lambda *_: F.scaled_dot_product_attention(*tensors), tensors)
    for name in sides:
        own = int(name.split()[1]) if name != "sdpa" else 0
        more = None if own == 0 else common.extra_bytes(lambda *_, own=own: blend(tensors, own, options.text), tensors)  # type: ignore[misc]
        added = (times[name] - plain) * 100
        memory = "" if more is None or base is None else f"{(more - base) / 2**20:.0f}"
        against = "" if name == "sdpa" else f"+{added / plain:.1f} %"
        block = "" if name == "sdpa" else f"+{added / (plain + rest):.1f} %"
        lines.append(f"| {name} | {times[name] * 1000:.0f} | {against} | {block} | {memory} |")
    kind = "wall-clock time" if options.device == "cuda" else f"CPU time{load()}"
    lines += ["", f"A block's linear layers take {rest * 1000:.0f} ms. Medians of {options.rounds} rounds, {kind}."]
    print("\n".join(lines))


def load() -> str:
    """What else ran, where the system says so."""
    return (
        f"; load of the machine {os.getloadavg()[0]:.0f}, {os.cpu_count()} cores" if hasattr(os, "getloadavg") else ""
    )


def inputs(tokens: int, dtype: torch.dtype, device: str) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value, (1, H, tokens, D), views of (B, L, H D) as in the network."""
    generator = torch.Generator().manual_seed(0)
    flat = [torch.randn(1, tokens, HIDDEN, generator=generator).to(device, dtype) for _ in range(3)]
    query, key, value = (each.unflatten(-1, (HEADS, DIM)).transpose(1, 2) for each in flat)
    return query, key, value


def blend(tensors: tuple[Tensor, Tensor, Tensor], own: int, text: int) -> Tensor:
    query, key, value = tensors
    return joint_attention(query, key, value, text_keys=slice(0, own), image_queries=slice(text, None))


def linear_layers(tokens: int, dtype: torch.dtype, device: str) -> Callable[[], Tensor]:
    """Query, key, value, output, and the MLP of four times the width."""
    x = torch.randn(tokens, HIDDEN, device=device, dtype=dtype)
    weights = [torch.randn(wide, narrow, device=device, dtype=dtype) / narrow**0.5 for wide, narrow in SHAPES]

    def run() -> Tensor:
        wide = [F.linear(x, weight) for weight in weights[:-1]]
        return F.linear(wide[-1], weights[-1])

    return run


SHAPES = ((3 * HIDDEN, HIDDEN), (HIDDEN, HIDDEN), (4 * HIDDEN, HIDDEN), (HIDDEN, 4 * HIDDEN))


def measured(sides: dict[str, Callable[[], Any]], rounds: int, device: str) -> dict[str, float]:
    """Median seconds of each."""
    clock = time.perf_counter if device == "cuda" else time.process_time
    taken: dict[str, list[float]] = {name: [] for name in sides}
    with torch.no_grad():
        for side in sides.values():
            side()
        for _ in range(rounds):
            for name, side in sides.items():
                taken[name].append(common.seconds(device, side, clock=clock))
    return {name: statistics.median(each) for name, each in taken.items()}


if __name__ == "__main__":
    main()
