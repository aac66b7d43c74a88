"""Which kernels the gate compiles, with which Tritons, and what is asked of each."""

from __future__ import annotations

import os
from collections.abc import Iterator

from lib_pladis.kernels.base import Problem
from lib_pladis.kernels.triton_fused import why_not
from tests.gpu.aot import DTYPES, Case

VERSIONS = {
    "3.0.0": "torch 2.4",
    "3.2.0": "torch 2.6",
    "3.3.1": "torch 2.7",
    "3.4.0": "torch 2.8",
    "3.5.1": "torch 2.9",
    "3.6.0": "torch 2.10, 2.11",
    "3.7.0": "torch 2.12",
    "3.7.1": "torch 2.13",
    "3.8.0": "torch 2.14",
    "3.9.0": "torch 2.15",
}
"""Tritons and the torch that brings each. Triton 2, of torch before 2.4, is refused by `why_not`."""

NEWEST = "3.9.0"

NVIDIA = ("sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120")
AMD = ("gfx90a", "gfx942", "gfx1100", "gfx1201")
FROM = {"sm_100": (3, 3), "sm_120": (3, 3), "gfx1201": (3, 3), "gfx942": (3, 2), "gfx1100": (3, 2), "gfx90a": (3, 2)}
"""The first Triton that compiles for a target; for AMD's the first whose wheel on PyPI has the backend whole."""

ALPHAS = (1.5, 2.0, 1.25, 1.75)
MASKS = ("none", "bool", "float", "keys")

WHOLE = os.environ.get("PLADIS_TESTS_WHOLE") == "1"

FIRST, _STEP = map(int, os.environ.get("PLADIS_TESTS_PART", "1/1").split("/"))

CHECKED = tuple(VERSIONS)[FIRST - 1 :: _STEP] if WHOLE else ("3.6.0", NEWEST)
"""Of the whole matrix all, or part K of N (PLADIS_TESTS_PART=K/N); else Forge Neo's, and the newest."""


def targets(version: str) -> list[str]:
    known = tuple(int(part) for part in version.split(".")[:2])
    return [target for target in NVIDIA + AMD if FROM.get(target, (3, 0)) <= known]


def cases(version: str) -> list[Case]:
    """Those that this version has to compile: of the whole matrix, or of its first minute."""
    return [case for case in (whole if WHOLE else short)(version) if not refused(case, version)]


def short(version: str) -> Iterator[Case]:
    """The layers of SDXL and SD1.5, and with the newest one each thing that is more."""
    yield Case("sm_80")
    yield Case("sm_90", 40)
    if version == NEWEST:
        yield Case("sm_80", mask="keys")
        yield Case("sm_80", rescale=0.5)
        yield Case("sm_80", change=True, lse=True)


def whole(version: str) -> Iterator[Case]:
    """Minutes for all versions: the layers of SD1.5 and SDXL everywhere, more with the newest."""
    if version != NEWEST:
        for target in targets(version):
            yield Case(target, 40)
            yield Case(target, 64)
        return
    for target in targets(version):
        yield from (Case(target, dim) for dim in (40, 64, 80, 128, 160))
    yield from (Case("sm_80", dim, keys) for keys in (154, 231, 512) for dim in (40, 64, 80, 128))
    yield from (Case("sm_80", dim, keys) for dim, keys in ((160, 154), (256, 77), (256, 154)))
    yield from (Case("sm_90", dim, keys) for keys in (154, 512) for dim in (64, 128))
    yield Case("sm_90", 128, 256, change=True, lse=True)
    yield Case("sm_80", dtype="bf16")
    yield Case("sm_80", rescale=0.5)
    yield Case("sm_80", change=True, lse=True)
    yield from (Case("sm_80", 128, keys, change=True, lse=True) for keys in (77, 256, 512))
    yield from (Case("sm_80", alpha=alpha) for alpha in ALPHAS[1:])
    yield from (Case("sm_80", mask=mask) for mask in MASKS[1:])


def refused(case: Case, version: str) -> str:
    """Why the product does not take this kernel, "" if it does."""
    if case.target.startswith("sm_"):
        number = int(case.target.removeprefix("sm_"))
        capability: tuple[int, int] | str = divmod(number, 10)
    else:
        capability = case.target
    problem = Problem(
        device="cuda",
        capability=capability,
        dtype=DTYPES[case.dtype],
        batch=2,
        heads=8,
        queries=4096,
        keys=case.keys,
        dim=case.dim,
        value_dim=case.dim,
        alpha=case.alpha,
    )
    return why_not(problem, tuple(int(part) for part in version.split(".")[:2]))
