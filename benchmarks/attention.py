"""PLADIS attention against plain attention, over the cross-attention layers of real models.

    python benchmarks/attention.py [--device cuda] [--dtype float16] [--only "SD1.5 512²"] [--alpha 1.25]

All sides take turns in every round of one run, so that other work on the machine falls on all of them:

    sdpa    torch's scaled_dot_product_attention: what the host does without PLADIS
    eager   softmax(Q K^T) V with the score matrix in memory
    torch   ours, chunked;  triton: ours, fused (on a GPU)
    entmax  2 entmax(z) - softmax(z) with the `entmax` package, as the paper's code does it

Every further --alpha adds the last three at that alpha. A model's time is that of its layers: each shape is timed once
and counted as often as it occurs. The package takes about 5 GiB for Flux; --skip entmax leaves it out.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import entmax
import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import common
from lib_pladis.attention import pladis_attention
from lib_pladis.kernels import triton_fused
from tests.oracle import reference

Side = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Layer:
    """`count` layers of one shape; key and value have `keys` tokens."""

    count: int
    heads: int
    queries: int
    dim: int
    keys: int = 77


def sd15(size: int) -> list[Layer]:
    side = size // 8
    sides = [(5, side, 40), (5, side // 2, 80), (5, side // 4, 160), (1, side // 8, 160)]
    return [Layer(count, 8, s * s, dim) for count, s, dim in sides]


def sdxl(size: int) -> list[Layer]:
    side = size // 8
    return [Layer(10, 10, (side // 2) ** 2, 64), Layer(60, 20, (side // 4) ** 2, 64)]


def flux(size: int) -> list[Layer]:
    """Image queries and 512 text keys of the joint attention, 19 double and 38 single blocks."""
    return [Layer(57, 24, (size // 16) ** 2, 128, 512)]


MODELS: dict[str, list[Layer]] = {
    "SD1.5 512²": sd15(512),
    "SD1.5 1024²": sd15(1024),
    "SDXL 512²": sdxl(512),
    "SDXL 1024²": sdxl(1024),
    "SDXL 2048²": sdxl(2048),
    "Flux 1024² (text keys)": flux(1024),
}


@dataclass
class Row:
    """One side over one model's layers, batch 2 (positive and negative prompt)."""

    side: str
    milliseconds: list[float]
    extra_mebibytes: float | None
    error: float


def tensors(layer: Layer, device: str, dtype: torch.dtype, sigma: float) -> tuple[Tensor, Tensor, Tensor]:
    """Views of (B, L, H D), as the hosts' linear layers make them; logits of deviation sigma."""
    generator = torch.Generator(device).manual_seed(0)

    def one(length: int, deviation: float) -> Tensor:
        shape = (2, length, layer.heads * layer.dim)
        flat = torch.randn(shape, generator=generator, device=device) * deviation
        return flat.to(dtype).view(2, length, layer.heads, layer.dim).transpose(1, 2)

    return one(layer.queries, sigma), one(layer.keys, 1.0), one(layer.keys, 1.0)


def eager(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    logits = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
    return torch.softmax(logits, -1) @ value


def package(query: Tensor, key: Tensor, value: Tensor, alpha: float) -> Tensor:
    logits = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
    if alpha == 1.5:
        sparse = entmax.entmax15(logits, dim=-1)
    elif alpha == 2.0:
        sparse = entmax.sparsemax(logits, dim=-1)
    else:
        sparse = entmax.entmax_bisect(logits, alpha=alpha, dim=-1)
    return (2.0 * sparse - torch.softmax(logits, -1)).to(value.dtype) @ value


def all_sides(options: argparse.Namespace) -> dict[str, tuple[Side, float | None]]:
    """Each side and its alpha, None where it is plain attention."""
    backends = ["torch"]
    if options.device == "cuda" and triton_fused.installed():
        backends.append("triton")
    sides: dict[str, tuple[Side, float | None]] = {
        "sdpa": (F.scaled_dot_product_attention, None),
        "eager": (eager, None),
    }
    for alpha in dict.fromkeys([1.5, *options.alpha]):
        suffix = "" if alpha == 1.5 else f", α {alpha:g}"
        for backend in backends:
            sides[backend + suffix] = (functools.partial(pladis_attention, alpha=alpha, backend=backend), alpha)
        sides["entmax" + suffix] = (functools.partial(package, alpha=alpha), alpha)
    return {name: side for name, side in sides.items() if name.split(",")[0] not in options.skip}


def largest_error(side: Side, arguments: tuple[Tensor, Tensor, Tensor], alpha: float | None) -> float:
    """Against the tests' fp64 oracle on 256 queries, which take a share of every head."""
    query, key, value = arguments
    query = query[:1, :, :: max(1, query.shape[2] // 256)]
    arguments = (query, key[:1], value[:1])
    exact = reference(*arguments, 0.0 if alpha is None else 2.0, alpha or 1.5)
    return (side(*arguments).double() - exact).abs().max().item()


def measure(model: str, sides: dict[str, tuple[Side, float | None]], options: argparse.Namespace) -> list[Row]:
    rows = {name: Row(name, [0.0] * options.rounds, 0.0, 0.0) for name in sides}
    for layer in MODELS[model]:
        arguments = tensors(layer, options.device, getattr(torch, options.dtype), options.sigma)
        for name, (side, alpha) in sides.items():
            row = rows[name]
            row.error = max(row.error, largest_error(side, arguments, alpha))
            common.seconds(options.device, side, *arguments)
            used = common.extra_bytes(side, arguments)
            row.extra_mebibytes = None if used is None else max(row.extra_mebibytes or 0.0, used / 2**20)
        for index in range(options.rounds):
            for name, (side, _) in sides.items():
                taken = common.seconds(options.device, side, *arguments)
                rows[name].milliseconds[index] += taken * 1e3 * layer.count
    return list(rows.values())


def table(model: str, rows: list[Row]) -> str:
    lines, floor = [], rows[0].milliseconds
    for row in rows:
        ratio = statistics.median(mine / base for mine, base in zip(row.milliseconds, floor))
        low, middle, high = statistics.quantiles(row.milliseconds, n=4)
        extra = "?" if row.extra_mebibytes is None else f"{row.extra_mebibytes:.0f}"
        times = f"{middle:.1f} ({low:.1f} – {high:.1f}) | {ratio:.2f}"
        lines.append(f"| {model} | {row.side} | {times} | {extra} | {row.error:.1e} |")
    return "\n".join(lines)


def main() -> None:
    parser = common.parser(__doc__, rounds=9)
    parser.add_argument("--sigma", type=float, default=1.0, help="standard deviation of the logits")
    parser.add_argument("--alpha", type=float, action="append", default=[], help="measured beside 1.5")
    parser.add_argument("--only", action="append", choices=list(MODELS))
    parser.add_argument("--skip", action="append", default=[], help="a side, such as entmax")
    options = parser.parse_args()
    common.prepare(options)
    print(f"{common.machine(options)}, {options.rounds} rounds, logits of deviation {options.sigma:g}")
    print(f"`{common.command()}`\n")
    print("| model | side | ms (quartiles) | × sdpa | extra MiB | max error |\n|---|---|---|---|---|---|")
    for model in options.only or MODELS:
        with torch.no_grad():
            rows = measure(model, all_sides(options), options)
        if any(row.error != row.error for row in rows):
            raise SystemExit(f"{model}: a side gave NaN")
        print(table(model, rows), flush=True)


if __name__ == "__main__":
    main()
