"""Check my card: every kernel on a matrix of problems, in a child process, which may crash.

    python -m lib_pladis.check [--device cuda] [--minutes 8]      in the web UI's environment

Prints a table, which is also the text to paste into an issue. A row has: whether the whole result agrees with the
chunked kernel's, the largest error against fp64 on some of the queries, the shortest time of five, the same relative to
`scaled_dot_product_attention`, the bandwidth of reading the inputs and writing the result as a share of the copy
bandwidth, and the peak memory beyond the inputs (CUDA devices).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lib_pladis.kernels.base import AttentionInputs, Problem, Result
from lib_pladis.kernels.choice import FALLBACK, KERNELS
from lib_pladis.kernels.dense import plain
from lib_pladis.kernels.entmax_package import by_equation
from lib_pladis.kernels.proof import environment, first_line, seconds, why_wrong
from lib_pladis.math.rule import Mix
from lib_pladis.math.sparse import entmax

ROOT = Path(__file__).resolve().parents[1]

CHILD = (sys.executable, "-m", "lib_pladis.check")

MINUTES = 8.0

PATIENCE = 120.0
"""Maximum number of seconds for one case, including compilation."""

START = 300.0
"""Maximum number of seconds for a child to start: a busy machine loads torch slowly."""

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}

LAYERS = {40: (2, 8, 4096), 64: (2, 10, 4096), 80: (2, 8, 1024), 128: (1, 24, 4096), 160: (2, 8, 256)}
"""Batch, heads and queries of layers of SD1.5, SDXL and FLUX, by head dimension."""

KEYS = (77, 154, 231, 512)

ROWS = 64
"""Number of queries that are compared with fp64."""

MARK = "PLADIS-ROW "


@dataclass(frozen=True)
class Case:
    """One kernel on one problem. mask: none, keys, bool or float. joint: with change and log-sum-exp, as in joint
    attention."""

    kernel: str
    dim: int = 64
    keys: int = 77
    dtype: str = "fp16"
    alpha: float = 1.5
    mask: str = "none"
    rescale: float = 0.0
    joint: bool = False

    def __str__(self) -> str:
        extra = [f"mask {self.mask}"] * (self.mask != "none") + [f"φ {self.rescale:g}"] * (self.rescale > 0)
        return ", ".join(
            [f"D {self.dim}, {self.keys} keys, {self.dtype}, α {self.alpha:g}", *extra] + ["joint"] * self.joint
        )


@dataclass(frozen=True)
class Row:
    """The result of a case. left_out: why the kernel does not take it. wrong: what is wrong with its result. If both
    are "", it is right. What was not measured is NaN."""

    case: Case
    left_out: str = ""
    wrong: str = ""
    error: float = math.nan
    microseconds: float = math.nan
    against_sdpa: float = math.nan
    of_copy: float = math.nan
    mebibytes: float = math.nan


def cases() -> list[Case]:
    """All cases: every head dimension with every number of keys, and each option by itself, for every kernel."""
    usual = Case("")
    problems = [replace(usual, dim=dim, keys=keys) for dim in LAYERS for keys in KEYS]
    problems += [replace(usual, dtype=dtype, keys=keys) for dtype in ("bf16", "fp32") for keys in (77, 231)]
    problems += [replace(usual, alpha=alpha) for alpha in (1.25, 1.75, 2.0)]
    problems += [replace(usual, mask=mask) for mask in ("keys", "bool", "float")]
    problems += [replace(usual, rescale=0.5)]
    problems += [Case("", dim, keys, joint=True) for dim, keys in ((64, 154), (128, 77), (128, 512))]
    return [replace(problem, kernel=kernel) for problem in problems for kernel in KERNELS]


def inputs(case: Case, device: torch.device) -> AttentionInputs:
    """The inputs of a case, the same for every kernel, in the hosts' layout (B, L, H D); fewer queries on a CPU."""
    batch, heads, queries = LAYERS[case.dim]
    queries = queries if device.type != "cpu" else max(ROWS, queries // 16)
    generator = torch.Generator().manual_seed(case.keys + case.dim)

    def one(length: int, deviation: float = 1.0) -> Tensor:
        flat = torch.randn(batch, length, heads * case.dim, generator=generator) * deviation
        return flat.to(device, DTYPES[case.dtype]).view(batch, length, heads, case.dim).transpose(1, 2)

    query, key, value = one(queries, 1.5), one(case.keys), one(case.keys)
    noise = torch.randn(batch, 1, 1 if case.mask == "keys" else queries, case.keys, generator=generator).to(device)
    mask = {"none": None, "float": noise.to(query.dtype)}.get(case.mask, noise > -1.0)
    mix = Mix(2.0, case.alpha, rescale=case.rescale, change=case.joint)
    return AttentionInputs(query, key, value, mask, mix, case.dim**-0.5)


def exact(given: AttentionInputs, rows: slice, dtype: torch.dtype) -> Result:
    """The result for the first entry of the batch and some of its queries, computed in fp64 on the CPU."""
    query, key, value = (tensor[:1].cpu().double() for tensor in given[:3])
    mask, mix, scale = given[3:]
    if mask is not None:
        mask = mask[:1, :, rows if mask.shape[2] > 1 else slice(None)].cpu()
    out, lse = by_equation(AttentionInputs(query[:, :, rows], key, value, mask, mix, scale), entmax)
    return Result(out.to(dtype), "exact", lse=lse.float() if mix.change else None)


def measure(case: Case, device: torch.device, bandwidth: float) -> Row:
    """Run a case in this process."""
    kernel, given = KERNELS[case.kernel], inputs(case, device)
    query, key, value, mask, _, scale = given
    problem = Problem.of(given, case.joint)
    why_not = kernel.why_not(problem)
    if why_not:
        return Row(case, left_out=why_not)
    launch = kernel.plan(problem)
    memory = 0
    kernel.attend(launch, given)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        memory = torch.cuda.memory_allocated(device)
    found = kernel.attend(launch, given)
    peak = (torch.cuda.max_memory_allocated(device) - memory) / 2**20 if device.type == "cuda" else math.nan
    wrong = ""
    if kernel is not FALLBACK:
        wrong = why_wrong(found, FALLBACK.attend(FALLBACK.plan(problem), given), given)
    rows = slice(None, None, max(1, query.shape[2] // ROWS))
    some = Result(found.out[:1, :, rows].cpu(), "", lse=None if found.lse is None else found.lse[:1, :, rows].cpu())
    wanted = exact(given, rows, query.dtype)
    wrong = wrong or why_wrong(some, wanted, given._replace(value=value[:1].cpu()))
    taken = min(seconds(lambda: kernel.attend(launch, given), device) for _ in range(5))
    plain(query, key, value, mask, scale)
    plainly = min(seconds(lambda: plain(query, key, value, mask, scale), device) for _ in range(5))
    moved = sum(tensor.numel() * tensor.element_size() for tensor in (query, key, value, found.out))
    error = float((some.out.double() - wanted.out.double()).abs().max())
    return Row(case, "", wrong, error, taken * 1e6, taken / plainly, moved / taken / bandwidth, peak)


def copy_bandwidth(device: torch.device) -> float:
    """Bandwidth of copying memory: bytes read and written per second."""
    source = torch.zeros(2**28 if device.type == "cuda" else 2**25, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * source.numel() / min(seconds(lambda: target.copy_(source), device) for _ in range(6))


def run_here(device: torch.device, first: int) -> None:
    """The child process: prints all cases from number `first` on, a line of JSON each. Ends when the device fails."""
    bandwidth = copy_bandwidth(device)
    print("ready", flush=True)
    for case in cases()[first:]:
        try:
            row = measure(case, device, bandwidth)
        except Exception as error:  # noqa: BLE001 (what a compiler or driver raises is not known beforehand)
            row = Row(case, wrong=first_line(error))
            if device.type == "cuda":
                torch.cuda.synchronize(device)  # raises if the context is broken, for example by an illegal access
        print(MARK + json.dumps(asdict(row)), flush=True)


def run(device: str, minutes: float = MINUTES, command: Sequence[str] = CHILD) -> Iterator[Row]:
    """The rows of all cases, from child processes. One that crashes or hangs costs only its current case."""
    todo, end, at = cases(), time.monotonic() + 60.0 * minutes, 0
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    while at < len(todo) and time.monotonic() < end:
        child = subprocess.Popen(
            [*command, "--device", device, "--from", str(at)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            env={**os.environ, "PYTHONPATH": path, "PYTHONIOENCODING": "utf-8"},
        )
        said = ""
        try:
            for line in _lines(child, end):
                if line.startswith(MARK):
                    fields = json.loads(line.removeprefix(MARK))
                    yield Row(Case(**fields.pop("case")), **fields)
                    at += 1
                elif line.strip() not in ("", "ready"):
                    said = line.strip()[:200]
        finally:
            child.kill()
            code = child.wait()
            assert child.stdout is not None
            child.stdout.close()
        if at < len(todo) and time.monotonic() < end:
            how = signal.Signals(-code).name if code < 0 else f"status {code}"
            yield Row(todo[at], wrong=f"the process ended ({how}{f': {said}' if said else ''})")
            at += 1


def _lines(child: subprocess.Popen[str], end: float) -> Iterator[str]:
    assert child.stdout is not None
    patience = START
    while True:
        watch = threading.Timer(max(0.0, min(patience, end - time.monotonic())), child.kill)
        watch.start()
        try:
            line = child.stdout.readline()
        finally:
            watch.cancel()
        if not line:
            return
        patience = PATIENCE
        yield line


def best_device() -> str:
    """The device that a web UI would use."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def text(device: str, rows: Sequence[Row]) -> str:
    """The table in Markdown."""
    lines = [
        f"{environment(torch.device(device))}, Python {platform.python_version()}, {platform.platform()}",
        "",
        "| problem | kernel | | error | µs | × sdpa | of copy | MiB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    left_out: dict[str, int] = {}
    for row in rows:
        if row.left_out:
            reason = f"{row.case.kernel}: {row.left_out}"
            left_out[reason] = left_out.get(reason, 0) + 1
            continue
        numbers = (
            f"{row.error:.1e}",
            f"{row.microseconds:.0f}",
            f"{row.against_sdpa:.2f}",
            f"{row.of_copy:.0%}",
            f"{row.mebibytes:.0f}",
        )
        cells = ["" if cell.startswith("nan") else cell for cell in numbers]
        lines.append(f"| {row.case} | {row.case.kernel} | {row.wrong or 'right'} | {' | '.join(cells)} |")
    lines += ["", *(f"Left out, {count} problems: {reason}" for reason, count in left_out.items())]
    missing = len(cases()) - len(rows)
    return "\n".join([*lines, *([f"{missing} cases were not reached in the time."] if missing else [])])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m lib_pladis.check", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--device", default=best_device())
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--from", type=int, default=None, dest="first", help=argparse.SUPPRESS)
    options: Any = parser.parse_args(arguments)
    if options.first is not None:
        with torch.no_grad():
            return run_here(torch.device(options.device), options.first)
    rows = []
    for row in run(options.device, options.minutes):
        rows.append(row)
        print(f"{len(rows)} of {len(cases())}: {row.case.kernel}, {row.case}", file=sys.stderr, flush=True)
    print(text(options.device, rows))
    if any(row.wrong for row in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
