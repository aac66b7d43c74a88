"""PLADIS attention against plain attention, over the cross-attention layers of real models.

    python benchmarks/attention.py [--device cuda] [--dtype float16] [--only "SD1.5 512²"] [--alpha 1.25] [--quick]

Sides, all timed in one run, one after the other in every round, so that whatever else the machine
does falls on all of them:

    sdpa    torch's scaled_dot_product_attention: what the host does without PLADIS, the floor
    eager   softmax(Q K^T) V with the score matrix in memory
    torch   ours, chunked;  triton: ours, fused (on a GPU)
    entmax  the `entmax` package's way, 2 entmax(z) - softmax(z): what the official code does

Every further --alpha adds the last three at that alpha. A model's time is that of its layers, each
shape timed once and counted as often as it occurs. A side that would take more memory than
--gibibytes or, for a call, more than --seconds is left out and named. Prints a table; keeps each
model's rows in results/, with those of earlier calls on this machine, and draws them all.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import entmax
import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import common
from benchmarks.memory import extra_bytes
from benchmarks.shapes import MODELS, tensors
from lib_pladis.attention import pladis_attention
from lib_pladis.kernels import triton_fused
from tests.oracle import reference

SCORE_MATRICES = {"eager": 3, "entmax": 14}
"""About how many score matrices in memory a side takes."""

Side = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass
class Row:
    """One side over one model's layers, batch 2 (positive and negative prompt)."""

    model: str
    side: str
    milliseconds: float
    quartiles: tuple[float, float]
    against_sdpa: float
    extra_mebibytes: float | None
    error: float


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


def exact(query: Tensor, key: Tensor, value: Tensor, alpha: float | None) -> Tensor:
    """The tests' oracle: fp64, entmax by bisection; plain attention without an alpha."""
    return reference(query, key, value, 0.0 if alpha is None else 2.0, alpha or 1.5)


def seconds(side: Side, arguments: tuple[Tensor, Tensor, Tensor]) -> float:
    synchronize(arguments[0])
    start = time.perf_counter()
    side(*arguments)
    synchronize(arguments[0])
    return time.perf_counter() - start


def synchronize(tensor: Tensor) -> None:
    if tensor.is_cuda:
        torch.cuda.synchronize()


def largest_error(side: Side, arguments: tuple[Tensor, Tensor, Tensor], alpha: float | None) -> float:
    """Against fp64 on 256 queries, which take a share of every head."""
    query, key, value = arguments
    query = query[:1, :, :: max(1, query.shape[2] // 256)]
    arguments = (query, key[:1], value[:1])
    return (side(*arguments).double() - exact(*arguments, alpha)).abs().max().item()


def why_left_out(name: str, model: str, options: argparse.Namespace) -> str | None:
    """Why a side is not measured: it would take too much memory, or too long a call."""
    scores = max(2 * layer.heads * layer.queries * layer.keys for layer in MODELS[model])
    size = torch.empty((), dtype=getattr(torch, options.dtype)).element_size()
    needed = SCORE_MATRICES.get(name.split(",")[0], 0) * scores * size / 2**30
    return f"needs about {needed:.0f} GiB" if needed > options.gibibytes else None


def measure(model: str, options: argparse.Namespace) -> tuple[list[Row], dict[str, str]]:
    """The rows of a model, and the sides that were left out, with the reason."""
    sides = all_sides(options)
    reasons = {name: why_left_out(name, model, options) for name in sides}
    left_out = {name: reason for name, reason in reasons.items() if reason}
    totals = {name: [0.0] * options.rounds for name in sides}
    extra: dict[str, float | None] = dict.fromkeys(sides, 0.0)
    errors = dict.fromkeys(sides, 0.0)
    for layer in MODELS[model]:
        arguments = tensors(layer, options.device, getattr(torch, options.dtype), options.sigma)
        for name, (side, alpha) in sides.items():
            if name in left_out:
                continue
            errors[name] = max(errors[name], largest_error(side, arguments, alpha))
            taken = seconds(side, arguments)
            if taken > options.seconds:
                left_out[name] = f"a call takes {taken:.0f} s"
                continue
            used = extra_bytes(side, arguments)
            extra[name] = None if used is None else max(extra[name] or 0.0, used / 2**20)
        for index in range(options.rounds):
            for name, (side, _) in sides.items():
                if name not in left_out:
                    totals[name][index] += seconds(side, arguments) * 1e3 * layer.count
    rows = []
    for name, times in totals.items():
        if name in left_out:
            continue
        ratios = [mine / floor for mine, floor in zip(times, totals["sdpa"])]
        spread = statistics.quantiles(times, n=4)
        middle = statistics.median(times)
        rows.append(
            Row(model, name, middle, (spread[0], spread[2]), statistics.median(ratios), extra[name], errors[name])
        )
    return rows, left_out


def copy_share(row: Row, options: argparse.Namespace) -> float:
    """Of the card's copy bandwidth, the share that reading Q and writing the result once comes to."""
    source = torch.empty(2**28, dtype=torch.uint8, device=options.device)
    target = torch.empty_like(source)
    times = []
    for _ in range(20):
        torch.cuda.synchronize()
        start = time.perf_counter()
        target.copy_(source)
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    bandwidth = 2 * source.numel() / statistics.median(times)
    size = torch.empty((), dtype=getattr(torch, options.dtype)).element_size()
    moved = sum(2 * 2 * x.count * x.heads * x.queries * x.dim * size for x in MODELS[row.model])
    return moved / (row.milliseconds / 1e3) / bandwidth


def table(parts: dict[str, dict[str, Any]]) -> str:
    lines = [
        "| model | side | ms (quartiles) | × sdpa | extra MiB | max error |",
        "|---|---|---|---|---|---|",
    ]
    for model, part in parts.items():
        for row in part["rows"]:
            low, high = row["quartiles"]
            extra = "?" if row["extra_mebibytes"] is None else f"{row['extra_mebibytes']:.0f}"
            lines.append(
                f"| {model} | {row['side']} | {row['milliseconds']:.1f} ({low:.1f} – {high:.1f}) "
                f"| {row['against_sdpa']:.2f} | {extra} | {row['error']:.1e} |"
            )
        lines += [f"| {model} | {side} | left out: {reason} | | | |" for side, reason in part["left_out"].items()]
    return "\n".join(lines)


def draw(parts: dict[str, dict[str, Any]], title: str, name: str) -> None:
    """Bars of time over sdpa, for alpha 1.5."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    models = list(parts)
    found = {(model, row["side"]): row["against_sdpa"] for model, part in parts.items() for row in part["rows"]}
    sides = [side for side in ("eager", "torch", "triton", "entmax") if any(key[1] == side for key in found)]
    figure, axes = pyplot.subplots(figsize=(max(6.4, 1.6 + 1.5 * len(models)), 4.2))
    width = 0.8 / len(sides)
    for index, side in enumerate(sides):
        heights = {place: found[model, side] for place, model in enumerate(models) if (model, side) in found}
        places = [place + (index - (len(sides) - 1) / 2) * width for place in heights]
        bars = axes.bar(places, list(heights.values()), width, label=side)
        axes.bar_label(bars, [f"{height:.1f}" for height in heights.values()], fontsize=8)
    axes.axhline(1.0, color="black", linewidth=1)
    axes.set_yscale("log")
    axes.set_ylim(0.8, 1.6 * max(found.values()))
    axes.set_yticks([1, 2, 5, 10, 20], ["1", "2", "5", "10", "20"])
    axes.minorticks_off()
    axes.set_xticks(range(len(models)), [model.replace(" ", "\n", 1) for model in models], fontsize=8)
    axes.set_xlim(-0.6, len(models) - 0.4)
    axes.set_ylabel("time / scaled_dot_product_attention")
    axes.set_title(f"Cross-attention layers of one step, α 1.5\n{title}", fontsize=9)
    axes.legend(frameon=False, ncols=len(sides), loc="upper left", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    common.save(figure, name)


def main() -> None:
    parser = common.parser(__doc__, rounds=9)
    parser.add_argument("--sigma", type=float, default=1.0, help="standard deviation of the logits")
    parser.add_argument("--alpha", type=float, action="append", default=[], help="measured beside 1.5")
    parser.add_argument("--only", action="append", choices=list(MODELS))
    parser.add_argument("--skip", action="append", default=[], help="a side, such as entmax")
    parser.add_argument("--gibibytes", type=float, default=8.0, help="most memory that a side may take")
    parser.add_argument("--seconds", type=float, default=20.0, help="longest that a call may take")
    parser.add_argument("--quick", action="store_true", help="3 rounds, the smallest model only")
    options = parser.parse_args()
    common.prepare(options, "attention")
    if options.quick:
        options.rounds, options.only = 3, options.only or ["SD1.5 512²"]

    title = common.machine(options)
    print(f"{title}, {options.rounds} rounds, logits of deviation {options.sigma:g}\n")
    for model in options.only or MODELS:
        with torch.no_grad():
            rows, left_out = measure(model, options)
        if any(row.error != row.error for row in rows):
            raise SystemExit(f"{model}: a side gave NaN")
        record: dict[str, Any] = {"rounds": options.rounds, "sigma": options.sigma, "left_out": left_out}
        record["rows"] = [asdict(row) for row in rows]
        print(table({model: record}), flush=True)
        for row in rows:
            if row.side == "triton":
                record["copy_share"] = copy_share(row, options)
                print(f"{model}: triton moves Q and the result at {record['copy_share']:.0%} of the copy bandwidth")
        parts = common.merge(options.name, title, model, record, list(MODELS))
        common.write(options.name, f"{title}\n\n{table(parts)}")
        draw(parts, title, options.name)


if __name__ == "__main__":
    main()
