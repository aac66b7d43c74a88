"""kernel.cu, compiled for GPUs that are not here, by the NVRTC of every CUDA that torch brings.

pytest tests/gpu/test_cuda.py                                                 half a minute
PLADIS_TESTS_WHOLE=1 pytest tests/gpu/test_cuda.py                            one kernel of 61, minutes
PLADIS_TESTS_WHOLE=1 PLADIS_TESTS_PART=K/61 pytest tests/gpu/test_cuda.py     the others for K from 2 to 61, hours
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import pytest
import torch

from lib_pladis.kernels.base import Problem
from lib_pladis.kernels.cuda.kernel import DIMS, constants, source, why_not_of_problem
from lib_pladis.kernels.cuda.nvrtc import Nvrtc, options_of
from tests.gpu.cubin import usage
from tests.gpu.matrix import FIRST, WHOLE
from tests.gpu.wheels import install

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the wheels that are looked for are Linux's")

PACKAGES = {
    "11.8.89": "nvidia-cuda-nvrtc-cu11",
    "12.1.105": "nvidia-cuda-nvrtc-cu12",
    "12.9.86": "nvidia-cuda-nvrtc-cu12",
    "13.0.88": "nvidia-cuda-nvrtc",
}
"""NVRTC by its version: the oldest and the newest of torch 2.1 to 2.15."""

CAPABILITIES = ((7, 5), (8, 0), (8, 6), (8, 9), (9, 0), (12, 0))

THREE_BLOCKS = 168
"""Registers a thread that let three blocks of 128 threads share a multiprocessor."""

USUAL = Problem("cuda", (8, 6), torch.float16, 2, 8, 4096, 77, 64, 64, strides=((64 * 4096 * 8, 64, 512, 1),) * 3)
KEY_MASK = {"mask": torch.bool, "mask_strides": (77, 0, 0, 1)}
JOINT = {"change": True, "lse": True}


def short() -> Iterator[tuple[str, Problem]]:
    """Each compiler for its oldest and its newest card, each card once, and each option once."""
    for version, of_version in {
        "11.8.89": ((7, 5), (9, 0)),
        "12.1.105": ((8, 0), (8, 9)),
        "12.9.86": ((8, 6), (12, 0)),
        "13.0.88": ((7, 5), (12, 0)),
    }.items():
        yield from ((version, replace(USUAL, capability=capability)) for capability in of_version)
    options: tuple[dict[str, Any], ...] = (
        {"dim": 40, "value_dim": 40},
        {"dim": 160, "value_dim": 160, "capability": (8, 0), "keys": 154},
        {"alpha": 2.0, "keys": 154},
        {"dtype": torch.bfloat16, "tempered": True, **KEY_MASK},
        {"rescaled": True, "keys": 160, "dim": 80, "value_dim": 80, "capability": (12, 0), **JOINT, **KEY_MASK},
    )
    yield from (("12.9.86", replace(USUAL, **option)) for option in options)


ONE_OF = 61
"""How many parts the whole matrix has. A prime, so that each part has every head, option, card and compiler."""


def part() -> Iterator[tuple[str, Problem]]:
    return islice(whole(), (FIRST - 1) % ONE_OF, None, ONE_OF)


def whole() -> Iterator[tuple[str, Problem]]:
    """All heads with all options, short rows and long ones, for all cards by all compilers."""
    of_rows: tuple[dict[str, Any], ...] = (
        {},
        {"alpha": 2.0},
        KEY_MASK,
        {"dtype": torch.bfloat16},
        {"tempered": True},
        {"lse": True},
        {"rescaled": True},
        {"rescaled": True, **JOINT},
        {"rescaled": True, "alpha": 2.0, "tempered": True, **JOINT, **KEY_MASK, "mask": torch.float32},
    )
    for version in PACKAGES:
        for capability in CAPABILITIES:
            for dim in DIMS:
                for keys in (77, 160):
                    for option in of_rows:
                        shape = {"capability": capability, "dim": dim, "value_dim": dim, "keys": keys}
                        yield version, replace(USUAL, **{**shape, **option})


def compilers() -> dict[str, Nvrtc | str]:
    """Each version's, or why there is none."""
    made: dict[str, Nvrtc | str] = {}
    for version, package in PACKAGES.items():
        try:
            folder = install(package, version)
        except RuntimeError as error:
            made[version] = str(error)
            continue
        (path,) = (file for file in folder.glob("nvidia/*/lib/libnvrtc.so.*") if ".alt." not in file.name)
        made[version] = Nvrtc(str(path))
    return made


@pytest.mark.parametrize("version", PACKAGES)
def test_compiles_and_fits(version: str) -> None:
    """No stack, no spills, no local memory; registers of three blocks where the kernel asks for them."""
    compiler = compilers()[version]
    if isinstance(compiler, str):
        pytest.skip(f"NVRTC {version}: {compiler}")
    assert ".".join(map(str, compiler.version)) == version.rpartition(".")[0]
    strides = {dim: ((dim * 4096 * 8, dim, dim * 8, 1),) * 3 for dim in DIMS}
    wrong, compiled = [], 0
    for of_version, given in part() if WHOLE else short():
        problem = replace(given, strides=strides[given.dim])
        assert isinstance(problem.capability, tuple)
        target = compiler.target(problem.capability)
        if of_version != version or target is None or why_not_of_problem(problem):
            continue
        of_kernel = constants(problem)
        needs = usage(compiler.compile(source(), options_of(target, of_kernel)))
        compiled += 1
        most = THREE_BLOCKS if of_kernel["MIN_BLOCKS"] == 3 else 255
        if needs.stack or needs.local or not 32 < needs.registers <= most:
            wrong.append(f"sm_{target} {of_kernel}: {needs}")
        elif WHOLE:
            print(f"NVRTC {version} sm_{target} {problem.kind}: {needs.registers} registers", flush=True)
    assert not wrong, "\n".join(wrong)
    assert compiled >= 2


def test_a_mistake_in_the_source_is_named() -> None:
    compiler = compilers()["12.9.86"]
    if isinstance(compiler, str):
        pytest.skip(compiler)
    with pytest.raises(RuntimeError, match=r"kernel.cu\(1\): error: .*nonsense"):
        compiler.compile("nonsense x;", options_of(80, {}))
