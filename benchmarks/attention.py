"""PLADIS attention against plain attention, over the cross-attention layers of real models.

    python benchmarks/attention.py [--device cuda] [--dtype float16] [--only "SD1.5 512²"] [--quick]

Sides, all timed in one run, one after the other in every round, so that whatever else the machine
does falls on all of them:

    sdpa    torch's scaled_dot_product_attention: what the host does without PLADIS, the floor
    eager   softmax(Q K^T) V with the score matrix in memory
    torch   ours, chunked;  triton: ours, fused (on a GPU)
    entmax  the `entmax` package's way, 2 entmax15(z) - softmax(z): what the official code does

A model's time is that of its layers, each shape timed once and counted as often as it occurs.
Prints a table; writes it as markdown and JSON beside this file and a picture in docs/pictures.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import entmax
import torch
import torch.nn.functional as F
from torch import Tensor

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from lib_pladis.attention import choose_backend, pladis_attention  # noqa: E402

Side = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Layer:
    """`count` layers of one shape; key and value have `keys` tokens."""

    count: int
    heads: int
    queries: int
    dim: int
    keys: int = 77


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


def eager(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    logits = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
    return torch.softmax(logits, -1) @ value


def package(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    logits = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
    return (2.0 * entmax.entmax15(logits, dim=-1) - torch.softmax(logits, -1)).to(value.dtype) @ value


def ours(backend: str) -> Side:
    return lambda query, key, value: pladis_attention(query, key, value, backend=backend)


def exact(query: Tensor, key: Tensor, value: Tensor, sparse: bool) -> Tensor:
    """fp64; entmax by bisection."""
    logits = query.double() @ key.double().transpose(-1, -2) * query.shape[-1] ** -0.5
    weights = torch.softmax(logits, -1)
    if sparse:
        z = (logits - logits.amax(-1, keepdim=True)) / 2
        low, high = torch.full_like(z[..., :1], -1.0), torch.zeros_like(z[..., :1])
        for _ in range(60):
            middle = (low + high) / 2
            above = (z - middle).clamp_min(0).square().sum(-1, keepdim=True) >= 1
            low, high = torch.where(above, middle, low), torch.where(above, high, middle)
        weights = 2 * (z - low).clamp_min(0).square() - weights
    return weights @ value.double()


def tensors(layer: Layer, device: str, dtype: torch.dtype, sigma: float) -> tuple[Tensor, Tensor, Tensor]:
    """Views of (B, L, H D), as the hosts' linear layers make them; logits of deviation sigma."""
    generator = torch.Generator(device).manual_seed(0)

    def one(length: int, deviation: float) -> Tensor:
        shape = (2, length, layer.heads * layer.dim)
        flat = torch.randn(shape, generator=generator, device=device) * deviation
        return flat.to(dtype).view(2, length, layer.heads, layer.dim).transpose(1, 2)

    return one(layer.queries, sigma), one(layer.keys, 1.0), one(layer.keys, 1.0)


def seconds(side: Side, arguments: tuple[Tensor, Tensor, Tensor]) -> float:
    synchronize(arguments[0])
    start = time.perf_counter()
    side(*arguments)
    synchronize(arguments[0])
    return time.perf_counter() - start


def synchronize(tensor: Tensor) -> None:
    if tensor.is_cuda:
        torch.cuda.synchronize()


def extra_bytes(side: Side, arguments: tuple[Tensor, Tensor, Tensor]) -> int | None:
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


def largest_error(side: Side, arguments: tuple[Tensor, Tensor, Tensor], sparse: bool) -> float:
    """Against fp64 on 256 queries, which take a share of every head."""
    query, key, value = arguments
    query = query[:1, :, :: max(1, query.shape[2] // 256)]
    arguments = (query, key[:1], value[:1])
    return (side(*arguments).double() - exact(*arguments, sparse)).abs().max().item()


def measure(model: str, options: argparse.Namespace, sides: dict[str, Side]) -> list[Row]:
    dtype = getattr(torch, options.dtype)
    totals = {name: [0.0] * options.rounds for name in sides}
    extra: dict[str, float | None] = dict.fromkeys(sides, 0.0)
    errors = dict.fromkeys(sides, 0.0)
    for layer in MODELS[model]:
        arguments = tensors(layer, options.device, dtype, options.sigma)
        for name, side in sides.items():
            errors[name] = max(errors[name], largest_error(side, arguments, name not in ("sdpa", "eager")))
            side(*arguments)
            used = extra_bytes(side, arguments)
            extra[name] = None if used is None else max(extra[name] or 0.0, used / 2**20)
        for index in range(options.rounds):
            for name, side in sides.items():
                totals[name][index] += seconds(side, arguments) * 1e3 * layer.count
    rows = []
    for name, times in totals.items():
        ratios = [mine / floor for mine, floor in zip(times, totals["sdpa"])]
        spread = statistics.quantiles(times, n=4)
        middle = statistics.median(times)
        ratio = statistics.median(ratios)
        rows.append(Row(model, name, middle, (spread[0], spread[2]), ratio, extra[name], errors[name]))
    return rows


def copy_share(rows: list[Row], options: argparse.Namespace) -> dict[str, float]:
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
    shares = {}
    for row in rows:
        if row.side == "triton":
            size = torch.empty((), dtype=getattr(torch, options.dtype)).element_size()
            moved = sum(2 * 2 * x.count * x.heads * x.queries * x.dim * size for x in MODELS[row.model])
            shares[row.model] = moved / (row.milliseconds / 1e3) / bandwidth
    return shares


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


def table(rows: list[Row]) -> str:
    lines = [
        "| model | side | ms (quartiles) | × sdpa | extra MiB | max error |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        low, high = row.quartiles
        extra = "?" if row.extra_mebibytes is None else f"{row.extra_mebibytes:.0f}"
        lines.append(
            f"| {row.model} | {row.side} | {row.milliseconds:.1f} ({low:.1f} – {high:.1f}) "
            f"| {row.against_sdpa:.2f} | {extra} | {row.error:.1e} |"
        )
    return "\n".join(lines)


def draw(rows: list[Row], title: str, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    models = list(dict.fromkeys(row.model for row in rows))
    sides = [side for side in dict.fromkeys(row.side for row in rows) if side != "sdpa"]
    figure, axes = pyplot.subplots(figsize=(1.6 + 1.5 * len(models), 4.2))
    width = 0.8 / len(sides)
    for index, side in enumerate(sides):
        heights = [next(r.against_sdpa for r in rows if (r.model, r.side) == (m, side)) for m in models]
        places = [place + (index - (len(sides) - 1) / 2) * width for place in range(len(models))]
        bars = axes.bar(places, heights, width, label=side)
        axes.bar_label(bars, [f"{height:.1f}" for height in heights], fontsize=8)
    axes.axhline(1.0, color="black", linewidth=1)
    axes.set_xticks(range(len(models)), models, fontsize=8)
    axes.set_ylabel("time / scaled_dot_product_attention")
    axes.set_title(f"Cross-attention layers of one step\n{title}", fontsize=9)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default=None, choices=["float32", "float16", "bfloat16"])
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--sigma", type=float, default=1.0, help="standard deviation of the logits")
    parser.add_argument("--only", action="append", choices=list(MODELS))
    parser.add_argument("--skip", action="append", default=[], help="a side, such as entmax")
    parser.add_argument("--quick", action="store_true", help="3 rounds, the smallest model only")
    parser.add_argument("--name", default=None, help="of the files that are written")
    options = parser.parse_args()
    options.dtype = options.dtype or ("float16" if options.device == "cuda" else "float32")
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.quick:
        options.rounds, options.only = 3, options.only or ["SD1.5 512²"]
    sides: dict[str, Side] = {"sdpa": F.scaled_dot_product_attention, "eager": eager, "torch": ours("torch")}
    if choose_backend(torch.empty(1, 1, 1, 40, device=options.device)) == "triton":
        sides["triton"] = ours("triton")
    sides["entmax"] = package
    sides = {name: side for name, side in sides.items() if name not in options.skip}

    title = machine(options)
    print(f"{title}, {options.rounds} rounds, logits of deviation {options.sigma:g}\n")
    rows: list[Row] = []
    with torch.no_grad():
        for model in options.only or MODELS:
            rows += measure(model, options, sides)
            print(table(rows[-len(sides) :]), flush=True)
    shares = copy_share(rows, options) if "triton" in sides else {}
    for model, share in shares.items():
        print(f"{model}: triton moves Q and the result at {share:.0%} of the copy bandwidth")
    if any(math.isnan(row.error) for row in rows):
        raise SystemExit("a side gave NaN")

    name = options.name or f"attention-{options.device}"
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    (results / f"{name}.md").write_text(f"{title}\n\n{table(rows)}\n")
    record = {"machine": title, "rounds": options.rounds, "sigma": options.sigma, "copy_share": shares}
    record["rows"] = [asdict(row) for row in rows]
    (results / f"{name}.json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    draw(rows, title, ROOT / "docs" / "pictures" / f"{name}.png")


if __name__ == "__main__":
    main()
