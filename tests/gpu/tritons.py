"""Tritons of many versions beside each other, and compiling with one of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.gpu import wheels
from tests.gpu.aot import Case, Result
from tests.gpu.matrix import NEWEST
from tests.gpu.wheels import FOLDER, ROOT

CACHE = FOLDER / "triton-cache"


def install(version: str) -> Path:
    """The folder of one version. Raises RuntimeError where it can't be had."""
    return wheels.install("triton", version)


def tools() -> Path:
    """cuobjdump and nvdisasm, which Triton's wheel brings."""
    return install(NEWEST) / "triton" / "backends" / "nvidia" / "bin"


def compile_all(version: str, cases: Iterable[Case]) -> list[Result]:
    """Compile with this version, in a process of its own."""
    return [Result(Case(**line.pop("case")), **line) for line in call("tests.gpu.aot", version, cases)]


def shares(version: str, cases: Iterable[Case]) -> list[float]:
    """Compile with this version and run what came out, see `numbers.share_of_bound`."""
    return [line["share"] for line in call("tests.gpu.numbers", version, cases)]


def call(module: str, version: str, cases: Iterable[Case]) -> list[dict[str, Any]]:
    """A line a case of what the module prints with this Triton. Raises RuntimeError where one is missing."""
    folder = install(version)
    cases = list(cases)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join((str(folder), str(ROOT))),
        "PLADIS_CUDA_TOOLS": str(tools()),
        "TRITON_CACHE_DIR": str(CACHE / version),
        "TRITON_DEFAULT_FP_FUSION": "1",
        "OMP_NUM_THREADS": "1",
    }
    environment.pop("TRITON_INTERPRET", None)
    done = subprocess.run(
        [sys.executable, "-m", module],
        input=json.dumps([asdict(case) for case in cases]),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
        check=False,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if len(lines) != len(cases):
        case = cases[len(lines)] if len(lines) < len(cases) else None
        raise RuntimeError(f"Triton {version} ended at {case} ({done.returncode}): {done.stderr[-1500:]}")
    return lines
