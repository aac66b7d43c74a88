#!/usr/bin/env python3
"""Compiles kernels ahead of time for GPUs that are not here, with the Triton that is on the path.

    python -m tests.gpu.aot < cases.json > results.jsonl

The real launcher runs, over a stand-in for the driver that only says which target to compile for. Reads a list
of `Case` as JSON, writes one `Result` a line; the machine code's counts are `tests.gpu.sass`'s, made by the
tools folder named in PLADIS_CUDA_TOOLS.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from lib_pladis.math.rule import Mix

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}


PRODUCTS = ("HMMA", "HGMMA", "UTCHMMA")
"""Instructions of NVIDIA's tensor cores: from Ampere on, of Hopper (wgmma), of Blackwell's sm_100 (tcgen05), where one
elected thread gives them."""


@dataclass(frozen=True)
class Case:
    """One kernel to compile. target: sm_XX or gfxXXX. mask: none, bool, float or keys."""

    target: str
    dim: int = 64
    keys: int = 77
    dtype: str = "fp16"
    alpha: float = 1.5
    mask: str = "none"
    rescale: float = 0.0
    change: bool = False
    lse: bool = False

    @property
    def mix(self) -> Mix:
        return Mix(alpha=self.alpha, rescale=self.rescale, change=self.change)


@dataclass
class Result:
    """What came of it. error: "" if it compiled. way: instructions on a tile's way, total: all there are."""

    case: Case
    triton: str
    error: str = ""
    seconds: float = 0.0
    registers: int = 0
    stack: int = 0
    shared: int = 0
    products: int = 0
    narrow: int = 0
    way: int = 0
    total: int = 0
    opcodes: dict[str, int] = field(default_factory=dict)


class Compiled(Exception):
    """Thrown by the stand-in launcher with what was compiled, the kernel's arguments, and its grid."""


def target_of(name: str) -> tuple[str, Any, int]:
    """Backend, architecture and threads a warp."""
    if name.startswith("gfx"):
        return "hip", name, 64 if name.startswith("gfx9") else 32
    return "cuda", int(name.removeprefix("sm_")), 32


def stand_in(case: Case) -> None:
    """Let Triton compile for the case's target; a launch ends in `Compiled`."""
    from triton.runtime.jit import JITFunction

    backend, arch, warp = target_of(case.target)
    torch.version.hip = "6.0" if backend == "hip" else None  # type: ignore[assignment]
    from triton.backends.compiler import GPUTarget
    from triton.runtime import driver

    class Driver:
        def get_current_target(self) -> Any:
            return GPUTarget(backend, arch, warp)

        def get_current_device(self) -> Any:
            return f"{backend} {arch}"

        def get_current_stream(self, device: Any = None) -> int:
            return 0

    driver.set_active(Driver())
    if backend == "hip":
        from triton.backends import backends

        # the assembly is all that is looked at; older wheels need ROCm's linker for more
        backends["amd"].compiler.make_hsaco = staticmethod(lambda *_: b"")
        os.environ.setdefault("TRITON_HIP_LLD_PATH", sys.executable)  # has to be there, is not called

    def compiling(self: Any, grid: Any) -> Any:
        def launch(*arguments: Any, **constants: Any) -> None:
            raise Compiled(self.run(*arguments, grid=grid, warmup=True, **constants), arguments, grid)

        return launch

    JITFunction.__getitem__ = compiling
    return None


def compile_case(case: Case, heads: int = 8, queries: int = 4096) -> Any:
    """The compiled kernel: `asm` by name, `metadata`. Its tensors are of the (B, L, H D) layout of the hosts."""
    stand_in(case)

    def tensor(length: int) -> torch.Tensor:
        flat = torch.empty(2, length, heads * case.dim, dtype=DTYPES[case.dtype])
        return flat.view(2, length, heads, case.dim).transpose(1, 2)

    mask = {
        "none": None,
        "bool": torch.ones(2, 1, queries, case.keys, dtype=torch.bool),
        "float": torch.zeros(2, 1, queries, case.keys, dtype=DTYPES[case.dtype]),
        "keys": torch.ones(2, 1, 1, case.keys, dtype=torch.bool),
    }[case.mask]
    try:
        fused(tensor(queries), tensor(case.keys), tensor(case.keys), case, mask)
    except Compiled as compiled:
        return compiled.args[0]
    raise AssertionError("the launcher launched nothing")


def fused(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, case: Case, mask: torch.Tensor | None) -> Any:
    """The kernel's own entry, planned and run."""
    from lib_pladis.kernels.base import AttentionInputs, Problem
    from lib_pladis.kernels.triton_fused import Fused

    kernel = Fused()
    inputs = AttentionInputs(query, key, value, mask, case.mix, case.dim**-0.5)
    return kernel.attend(kernel.plan(Problem.of(inputs, case.lse)), inputs)


def measure(case: Case) -> Result:
    """Compile the case and count; what a compiler throws is the result's error."""
    import triton

    result = Result(case, triton.__version__)
    start = time.perf_counter()
    try:
        kernel = compile_case(case)
    except Exception as error:  # noqa: BLE001
        result.error = f"{type(error).__name__}: {error}".strip().splitlines()[0][:160]
        return result
    finally:
        result.seconds = round(time.perf_counter() - start, 1)
    result.shared = kernel.metadata.shared
    if "amdgcn" in kernel.asm:
        _count_amd(kernel.asm["amdgcn"], result)
    else:
        _count_nvidia(kernel.asm, result)
    return result


def _count_amd(assembly: str, result: Result) -> None:
    def number(name: str) -> int:
        found = re.search(rf"\.{name}:\s*(\d+)", assembly)
        assert found, name
        return int(found[1])

    result.registers, result.stack = number("vgpr_count"), 4 * number("vgpr_spill_count")
    result.products = len(re.findall(r"\bv_(?:mfma|wmma|smfmac)", assembly))
    result.narrow = len(re.findall(r"\b(?:global|buffer)_load_(?:u?short|d16|u16|i16)", assembly))
    result.total = len(re.findall(r"^\s+(?:[vs]|ds|global|buffer|flat)_\w+", assembly, re.MULTILINE))


def _count_nvidia(asm: dict[str, Any], result: Result) -> None:
    from tests.gpu import sass

    tools = Path(os.environ["PLADIS_CUDA_TOOLS"])
    with tempfile.TemporaryDirectory() as folder:
        cubin = Path(folder) / "kernel.cubin"
        cubin.write_bytes(asm["cubin"])
        usage, way = sass.usage(tools, cubin), sass.way(tools, cubin)
    result.registers, result.stack = usage.registers, usage.stack
    result.way, result.total = way.instructions, way.everywhere.total()
    result.opcodes = dict(way.by_opcode)
    result.products = sum(way.everywhere[name] for name in PRODUCTS)
    result.narrow = len(re.findall(r"ld\.global\S*\.b16", asm["ptx"]))


def main() -> None:
    for fields in json.load(sys.stdin):
        print(json.dumps(asdict(measure(Case(**fields)))), flush=True)


if __name__ == "__main__":
    main()
