"""PLADIS attention in one Triton kernel (`triton_kernel`): which problems it takes, and how it is launched.

Needs Triton 3.0 or later and a CUDA or ROCm device, or TRITON_INTERPRET=1 for Triton's interpreter.
Only the `triton_*` files import Triton, and they are imported only when the kernel is used.
"""

from __future__ import annotations

import functools
import importlib.util
import math
import os
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import torch
from torch import Tensor

from lib_pladis.kernels.base import Problem, Result
from lib_pladis.limits import FUSED_TOLERANCE, MAX_STEPS, ROW_SUM_TOLERANCE
from lib_pladis.math.rule import Mix

MOST_KEYS = 512
"""A query's scores with all keys are held in registers."""

MOST_RDNA_KEYS = 80
"""AMD's gfx10 to gfx12: from the next size on the compiler spills."""

MOST_CDNA_KEYS = 256
"""The same of AMD's gfx9."""

MOST_COLUMNS_A_WARP = 160
"""Scores of a row that the registers of one warp hold beside the result."""

MOST_COLUMNS_WITH_EXPONENTIALS = 80
"""And beside their exponentials."""

MOST_DIMS_OF_LONG_ROWS = 128

MOST_DIMS = 256
"""Of query and key, and of value."""

LARGEST_POWER = 10.0
"""1 / (alpha - 1) up to which half and whole powers are multiplied out."""

LEAST_ALPHA = 1.01
"""Half precision has x^beta from log2 x, whose error is multiplied by beta = 1 / (alpha - 1)."""

BY_LOGARITHM = -1

LOG2E = 1.0 / math.log(2.0)

GUESSES = {
    1.0: (-1.0, 0.0, 0.0, 0.0, 0.0),
    1.1: (-0.4323, -0.1960, -0.4916, 0.1459, -0.0281),
    1.2: (-0.2499, 0.8157, -1.2610, 0.7059, -1.0123),
    1.25: (-0.2255, 1.3883, -1.6008, 0.9849, -1.5477),
    4 / 3: (-0.2318, 2.2319, -2.0254, 1.3471, -2.3212),
    1.4: (-0.2577, 2.7865, -2.2562, 1.5472, -2.8178),
    1.5: (-0.3088, 3.4527, -2.4842, 1.7424, -3.3982),
    5 / 3: (-0.3943, 4.2724, -2.7103, 1.9244, -4.0853),
    1.75: (-0.4313, 4.5886, -2.7895, 1.9817, -4.3416),
    1.9: (-0.4855, 5.0536, -2.9117, 2.0625, -4.7092),
    2.0: (-0.5127, 5.3126, -2.9937, 2.1158, -4.9113),
}
"""Of alpha: tau about 1, a, b, b^2 and a b times these, a = (sum e^z)^(-1/4), b = (sum e^2z)^(-1/4), max z = 0.

Fitted by least squares to rows of 40 to 512 keys: normal, Laplace and uniform, of many widths, with one
leading key, and with keys nearly alike. A guess decides how many steps are taken, never the result.
"""

NO_MASK, BOOL_MASK, FLOAT_MASK = 0, 1, 2


def interpreted() -> bool:
    """Whether Triton runs its kernels in its interpreter."""
    return os.environ.get("TRITON_INTERPRET") == "1"


@functools.cache
def _triton_version() -> tuple[int, ...]:
    """Major and minor, of whatever package brings it; empty where none says."""
    for package in ("triton", "triton-rocm", "pytorch-triton", "pytorch-triton-rocm", "triton-windows"):
        try:
            return tuple(int(part) for part in metadata.version(package).split(".")[:2])
        except (metadata.PackageNotFoundError, ValueError):
            continue
    return ()


@dataclass(frozen=True)
class Launch:
    """What a problem alone decides. integers: `triton_kernel.INTEGERS`. slope: of alpha-entmax at temperature 1.
    solver: the other numbers of `triton_entmax.solve`."""

    grid: tuple[int, int, int]
    integers: tuple[int, ...]
    slope: float
    solver: tuple[float, ...]
    constants: dict[str, Any]
    out_shape: tuple[int, ...]
    out_strides: tuple[int, ...]
    lse_shape: tuple[int, ...] | None


class Fused:
    """The fused kernel, behind `base.Kernel`.

    Scores, tau and both maps are fp32; the blended weights are cast to the dtype of value for P V, as fused softmax
    attention does. The result is laid out (B, Lq, H, Dv) in memory. Entries of a float mask below about -1e37 count as
    -inf.
    """

    name = "triton"

    def why_not(self, problem: Problem) -> str:
        """As `base.Kernel`."""
        return why_not(problem)

    def plan(self, problem: Problem) -> Launch:
        """As `base.Kernel`."""
        return plan(problem)

    def attend(
        self, launch: Launch, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, mix: Mix, scale: float
    ) -> Result:
        """As `base.Kernel`."""
        from .triton_kernel import launch as run

        out = query.new_empty_strided(launch.out_shape, launch.out_strides)
        lse = None if launch.lse_shape is None else query.new_empty(launch.lse_shape, dtype=torch.float32)
        if launch.grid[0]:
            bias = query if mask is None else mask.view(torch.uint8) if mask.dtype is torch.bool else mask
            run(
                launch,
                (query, key, value, bias, out, out if lse is None else lse),
                (
                    scale * LOG2E,
                    -math.inf,
                    1.0,
                    1.0 / scale,
                    *((mix.scale, 1.0 - mix.scale, 1.0) if mix.rescale else mix.factors),
                    float(mix.rescale),
                    1.0 / mix.temperature,
                    launch.slope / mix.temperature,
                ),
            )
        return Result(out, self.name, "", lse)


@functools.cache
def installed() -> bool:
    """Whether this Python has Triton."""
    return importlib.util.find_spec("triton") is not None


def why_not(problem: Problem, version: tuple[int, ...] | None = None) -> str:
    """Why this kernel cannot take the problem, or runs it worse than torch's own operations do; "" if it can.

    version: of Triton, (major, minor); the installed one's if not given. Nothing is compiled to find out.
    """
    if not installed():
        return "Triton is not installed"
    if problem.alpha < LEAST_ALPHA:
        return f"an alpha below {LEAST_ALPHA}"
    if problem.keys > MOST_KEYS:
        return f"more than {MOST_KEYS} keys"
    if max(problem.dim, problem.value_dim) > MOST_DIMS:
        return f"heads of more than {MOST_DIMS} dimensions"
    if problem.keys > MOST_COLUMNS_A_WARP and max(problem.dim, problem.value_dim) > MOST_DIMS_OF_LONG_ROWS:
        return f"more than {MOST_COLUMNS_A_WARP} keys with heads of more than {MOST_DIMS_OF_LONG_ROWS} dimensions"
    if version is None and interpreted():
        return ""
    if problem.device != "cuda":
        return f"no kernel for {problem.device}"
    version = _triton_version() if version is None else version
    if () < version < (3, 0):
        return "Triton before 3.0"
    if problem.dtype == torch.float32:
        return "fp32 has no tensor cores without TF32"
    if isinstance(problem.capability, tuple) and problem.capability < (8, 0):
        return "Triton has no tensor-core products for cards before Ampere"
    if isinstance(problem.capability, tuple) and problem.capability[0] == 10 and (3, 6) <= version < (3, 8):
        return "Triton 3.6 and 3.7 do not compile it for sm_100"
    if isinstance(problem.capability, str):
        most = MOST_RDNA_KEYS if problem.capability.startswith("gfx1") else MOST_CDNA_KEYS
        if problem.keys > most:
            return f"{problem.capability} has no registers for more than {most} keys"
    if max(problem.batch, problem.heads) > 65535:
        return "a batch or heads of more than 65535"
    return ""


def plan(problem: Problem) -> Launch:
    """How the kernel is launched on such a problem."""
    parts, width = parts_of(problem.keys)
    block_m, warps, keep = block_of(parts * width, max(problem.dim, problem.value_dim))
    d0, d1 = tiles_of(problem.dim, parts * width)
    v0, v1 = tiles_of(problem.value_dim, parts * width)
    out_shape = (problem.batch, problem.heads, problem.queries, problem.value_dim)
    row = problem.heads * problem.value_dim
    out_strides = (problem.queries * row, problem.value_dim, row, 1)
    unit, rows = _units((*problem.strides, out_strides))
    tensors = [
        stride if axis == 3 else stride // unit
        for strides in (*problem.strides, out_strides)
        for axis, stride in enumerate(strides)
    ]
    slope, solver, solving = _solver(problem.alpha, problem.keys, problem.dtype)
    return Launch(
        (-(-problem.queries // block_m) if math.prod(out_shape) else 0, problem.heads, problem.batch),
        (*tensors[:12], *problem.mask_strides, *tensors[12:], problem.queries, problem.keys),
        slope,
        solver,
        {
            "UNIT": unit,
            "CONTIGUOUS_ROWS": rows,
            "FAR": problem.far,
            "MASK": NO_MASK if problem.mask is None else BOOL_MASK if problem.mask is torch.bool else FLOAT_MASK,
            "KEY_MASK": problem.key_mask,
            "CONTIGUOUS_MASK": problem.mask_strides[3] == 1,
            "PARTS": parts,
            "WIDTH": width,
            "BLOCK_M": block_m,
            "HEAD_DIM": problem.dim,
            "BLOCK_D0": d0,
            "BLOCK_D1": d1,
            "HEAD_DIM_V": problem.value_dim,
            "BLOCK_V0": v0,
            "BLOCK_V1": v1,
            "TEMPERED": problem.tempered,
            "KEEP": keep,
            "RESCALE": problem.rescaled,
            "CHANGE": problem.change,
            "LSE": problem.lse,
            "WIDEN": problem.dtype == torch.bfloat16 and interpreted(),
            **solving,
            "num_warps": warps,
            "num_stages": 1,
        },
        out_shape,
        out_strides,
        (problem.batch, problem.heads, problem.queries) if problem.lse else None,
    )


def parts_of(keys: int) -> tuple[int, int]:
    """How many parts of what width (a power of two from 16) hold the keys, of those that pad least.

    The most: what adds up part by part is not summed across threads. On ROCm the fewest, as more of them spill.
    """
    sign = -1 if torch.version.hip is None else 1
    choices = [(-(-keys // width), width) for width in (16, 32, 64, 128)]
    fitting = (choice for choice in choices if choice[0] <= 5)
    return min(fitting, key=lambda choice: (choice[0] * choice[1], sign * choice[0]))


def block_of(columns: int, dim: int) -> tuple[int, int, bool]:
    """Queries a program, warps, and whether registers hold exp(z) beside z while tau is solved for.

    16 queries a warp as long as a row fits the registers of one; where exp(z) doesn't fit beside it, it is computed
    twice. The larger a head, the fewer queries: nothing is to be spilled (`tests/gpu`).
    """
    if columns <= MOST_COLUMNS_WITH_EXPONENTIALS and dim <= 192:
        return 64, 4, True
    if columns <= MOST_COLUMNS_A_WARP and dim <= MOST_DIMS_OF_LONG_ROWS:
        return 64, 4, False
    return 32 if columns > MOST_COLUMNS_A_WARP and dim <= 64 else 16, 4 if columns <= 256 else 8, True


def tiles_of(dim: int, columns: int) -> tuple[int, int]:
    """A head dimension as two powers of two from 16, or one where two pad no less.

    Tiles decide how Triton lays warps over a product. One of 128 beside short rows, and a narrow one beside rows
    that several warps share, would have scores held twice.
    """
    powers = (16, 32, 64, 128, 256)
    if columns > MOST_COLUMNS_A_WARP:
        return min(power for power in powers if power >= dim), 0
    choices = [(power, 0) for power in powers[:3]] + [(a, b) for a in powers[:4] for b in powers[:4] if b <= a]
    return min((choice for choice in choices if sum(choice) >= dim), key=lambda choice: (sum(choice), choice[1] > 0))


def _units(strides: tuple[tuple[int, ...], ...]) -> tuple[int, bool]:
    """In what units strides are given, and whether each row lies together: 8 where all rows start at 16 bytes."""
    together = all(last == 1 for *_, last in strides)
    aligned = all(stride % 8 == 0 for each in strides for stride in each[:3])
    return (8, True) if together and aligned else (1, together)


def _solver(alpha: float, keys: int, dtype: torch.dtype) -> tuple[float, tuple[float, ...], dict[str, Any]]:
    """Slope at temperature 1, other numbers, and constants of `triton_entmax.solve`."""
    beta = 1.0 / (alpha - 1.0)
    halves = round(2.0 * (beta - 1.0))
    if abs(2.0 * (beta - 1.0) - halves) > 1e-9 or beta > LARGEST_POWER:
        halves = BY_LOGARITHM
    return (
        (alpha - 1.0) / LOG2E,
        (beta, *guess_of(alpha), step_enough(alpha, keys, dtype)),
        {
            "HALVES": halves,
            "FAST": 2 if alpha <= 1.5 else 3,
            "EXACT": dtype == torch.float32,
            "FAST_LOG": not interpreted() and torch.version.hip is None,
            "STEPS": MAX_STEPS,
        },
    )


def step_enough(alpha: float, keys: int, dtype: torch.dtype) -> float:
    """A step of tau that need not be followed by another: the row's sum is then as exact as the dtype's weights."""
    beta = 1.0 / (alpha - 1.0)
    tolerance = (ROW_SUM_TOLERANCE if dtype == torch.float32 else FUSED_TOLERANCE) / keys
    return math.sqrt(tolerance / max(1.0, 0.5 * beta * (beta - 1.0))) if beta >= 2 else tolerance ** (1.0 / beta)


def guess_of(alpha: float) -> tuple[float, ...]:
    """GUESSES between its alphas."""
    right = min(known for known in GUESSES if known >= alpha - 1e-12)
    left = max(known for known in GUESSES if known <= alpha + 1e-12)
    part = 0.0 if right == left else (alpha - left) / (right - left)
    return tuple(a + part * (b - a) for a, b in zip(GUESSES[left], GUESSES[right]))
