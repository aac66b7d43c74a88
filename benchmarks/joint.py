"""What PLADIS adds to a step of a joint-attention transformer: one Flux block at 1024², with and without.

    python benchmarks/joint.py [--device cuda] [--dtype bfloat16] [--text 512] [--own 32 128 512] [--size 1024]

A Flux block has 24 heads of 128 over text and picture, 512 + 4096 tokens at 1024². Timed, one after the other in every
round: its attention as it is, the same with PLADIS for each number of the prompt's own tokens, the last of these also
by an attention that gives no log-sum-exp and is called twice instead ("host twice"), and what else a block
computes, its linear layers (12 times 3072² products a token, in double and single blocks alike). A step is 57 such
blocks, so a block's share is the step's. Prints a table. `sdpa` is torch's attention.
On a CPU the time is the process's own, of all threads together, so that other work on the machine counts less.
"""

from __future__ import annotations

import functools
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
from lib_pladis.attention import pladis_attention
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
    sides: dict[str, Callable[..., Any]] = {"sdpa": F.scaled_dot_product_attention}
    for own in options.own:
        blend = functools.partial(joint_attention, text_keys=slice(0, own), image_queries=slice(options.text, None))
        sides[f"PLADIS, {own} text tokens"] = blend
    longest = options.own[-1]
    twice = f"host twice, {longest} text tokens"
    sides[twice] = functools.partial(host_twice, own=longest, text=options.text)
    sides["linear"] = linear_layers(options.text + picture, dtype, options.device)
    times = measured(sides, tensors, options.rounds, options.device)
    plain, rest = times["sdpa"], times["linear"]
    lines = [
        f"One Flux block at {options.size}², {options.text} + {picture} tokens; {common.machine(options)}.",
        f"`{common.command()}`",
        "",
        "| attention | ms | against sdpa | against the block | MB more |",
        "|---|---|---|---|---|",
    ]
    lines.append(f"| sdpa | {plain * 1000:.0f} | | | |")
    base = common.extra_bytes(F.scaled_dot_product_attention, tensors) or 0
    for name in (*(f"PLADIS, {own} text tokens" for own in options.own), twice):
        added, more = (times[name] - plain) * 100, common.extra_bytes(sides[name], tensors)
        memory = "?" if more is None else f"{(more - base) / 2**20:.0f}"
        shares = f"+{added / plain:.1f} % | +{added / (plain + rest):.1f} %"
        lines.append(f"| {name} | {times[name] * 1000:.0f} | {shares} | {memory} |")
    kind = "wall-clock time" if options.device == "cuda" else "CPU time"
    lines += ["", f"A block's linear layers take {rest * 1000:.0f} ms. Medians of {options.rounds} rounds, {kind}."]
    print("\n".join(lines))


def inputs(tokens: int, dtype: torch.dtype, device: str) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value, (1, H, tokens, D), views of (B, L, H D) as in the network."""
    generator = torch.Generator().manual_seed(0)
    flat = [torch.randn(1, tokens, HIDDEN, generator=generator).to(device, dtype) for _ in range(3)]
    query, key, value = (each.unflatten(-1, (HEADS, DIM)).transpose(1, 2) for each in flat)
    return query, key, value


def host_twice(query: Tensor, key: Tensor, value: Tensor, own: int, text: int) -> Tensor:
    """The other way: an attention that gives no log-sum-exp, called once more for each row's mass on the text."""
    out = F.scaled_dot_product_attention(query, key, value)
    of_text = torch.zeros_like(value)
    of_text[:, :, :own] = 1.0
    mass = F.scaled_dot_product_attention(query[:, :, text:], key, of_text)[..., :1]
    parts = query[:, :, text:], key[:, :, :own], value[:, :, :own]
    out[:, :, text:] += mass * (pladis_attention(*parts) - F.scaled_dot_product_attention(*parts))
    return out


def linear_layers(tokens: int, dtype: torch.dtype, device: str) -> Callable[[], Tensor]:
    """Query, key, value, output, and the MLP of four times the width."""
    x = torch.randn(tokens, HIDDEN, device=device, dtype=dtype)
    weights = [torch.randn(wide, narrow, device=device, dtype=dtype) / narrow**0.5 for wide, narrow in SHAPES]

    def run(*_: Tensor) -> Tensor:
        wide = [F.linear(x, weight) for weight in weights[:-1]]
        return F.linear(wide[-1], weights[-1])

    return run


SHAPES = ((3 * HIDDEN, HIDDEN), (HIDDEN, HIDDEN), (4 * HIDDEN, HIDDEN), (HIDDEN, 4 * HIDDEN))


def measured(sides: dict[str, Callable[..., Any]], tensors: Any, rounds: int, device: str) -> dict[str, float]:
    """Median seconds of each."""
    clock = time.perf_counter if device == "cuda" else time.process_time
    taken: dict[str, list[float]] = {name: [] for name in sides}
    with torch.no_grad():
        for side in sides.values():
            side(*tensors)
        for _ in range(rounds):
            for name, side in sides.items():
                taken[name].append(common.seconds(device, side, *tensors, clock=clock))
    return {name: statistics.median(each) for name, each in taken.items()}


if __name__ == "__main__":
    main()
