"""The Triton kernel (`triton_kernel`) as a `base.Kernel`: which problems it takes, its block sizes, its launch.

Needs Triton 3.0 or later and a CUDA or ROCm device, or TRITON_INTERPRET=1 for Triton's interpreter. `triton_kernel` and
`triton_entmax` import Triton; they are imported only when the kernel is used.
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

from lib_pladis.kernels.base import AttentionInputs, Problem, Result
from lib_pladis.limits import FUSED_TOLERANCE, MAX_STEPS, ROW_SUM_TOLERANCE

MOST_KEYS = 512
"""Maximum number of keys: registers hold a query's scores with all of them."""

MOST_RDNA_KEYS = 80
"""The same on AMD's gfx10 to gfx12; with more the compiler spills."""

MOST_CDNA_KEYS = 256
"""The same on AMD's gfx9."""

MOST_COLUMNS_A_WARP = 160
"""Maximum number of scores of a row that one warp's registers hold beside the result."""

MOST_COLUMNS_WITH_EXPONENTIALS = 80
"""The same with their exponentials."""

MOST_DIMS_OF_LONG_ROWS = 128
"""Maximum head dimension with more than MOST_COLUMNS_A_WARP keys."""

MOST_DIMS = 256
"""Maximum head dimension of query, key and value."""

LARGEST_POWER = 10.0
"""beta = 1 / (alpha - 1) up to which x^beta of half and whole beta is computed by multiplications."""

LARGEST_STRIDE = 2**21
"""Offsets within a block, of at most 512 rows, are 32-bit numbers."""

LEAST_ALPHA = 1.01
"""x^beta is computed from log2 x, whose error is multiplied by beta = 1 / (alpha - 1)."""

BY_LOGARITHM = -1
"""Value of HALVES (`triton_entmax._power`) for powers that are computed by logarithms."""

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
"""Coefficients of the first guess of tau, by alpha: of 1, a, b, b^2 and a b, with a = (sum e^z)^(-1/4),
b = (sum e^2z)^(-1/4) and max z = 0.

Fitted by least squares to rows of 40 to 512 keys: normal, Laplace and uniform distributions of many widths, rows with
one dominant key, and rows of nearly equal keys. The guess affects the number of steps, never the result.
"""

NO_MASK, BOOL_MASK, FLOAT_MASK = 0, 1, 2


def interpreted() -> bool:
    """Whether Triton runs its kernels in its interpreter."""
    return os.environ.get("TRITON_INTERPRET") == "1"


@functools.cache
def _triton_version() -> tuple[int, ...]:
    """(major, minor), from whichever package contains Triton; () if unknown."""
    for package in ("triton", "triton-rocm", "pytorch-triton", "pytorch-triton-rocm", "triton-windows"):
        try:
            return tuple(int(part) for part in metadata.version(package).split(".")[:2])
        except (metadata.PackageNotFoundError, ValueError):
            continue
    return ()


@dataclass(frozen=True)
class Launch:
    """Everything that depends on the problem alone.

    integers: values of `triton_kernel.INTEGERS`. slope: (alpha - 1) / log2(e), for temperature 1. solver: beta, the
    coefficients of the guess, and `enough` of `triton_entmax.solve`. constants: the constexpr arguments and options.
    """

    grid: tuple[int, int, int]
    integers: tuple[int, ...]
    slope: float
    solver: tuple[float, ...]
    constants: dict[str, Any]
    out_shape: tuple[int, ...]
    out_strides: tuple[int, ...]
    lse_shape: tuple[int, ...] | None


class Fused:
    """The fused Triton kernel.

    Scores, tau and both maps are fp32. The blended weights are cast to the dtype of value for P V, as in fused softmax
    attention. The result is laid out (B, Lq, H, Dv) in memory. Entries of a float mask below about -1e37 count as -inf.
    """

    name = "triton"

    def why_not(self, problem: Problem) -> str:
        """As `base.Kernel`."""
        return why_not(problem)

    def plan(self, problem: Problem) -> Launch:
        """As `base.Kernel`."""
        return plan(problem)

    def attend(self, launch: Launch, inputs: AttentionInputs) -> Result:
        """As `base.Kernel`."""
        from .triton_kernel import pladis_kernel

        query, key, value, mask, mix, scale = inputs
        out = query.new_empty_strided(launch.out_shape, launch.out_strides)
        lse = None if launch.lse_shape is None else query.new_empty(launch.lse_shape, dtype=torch.float32)
        if launch.grid[0]:
            bias = query if mask is None else mask.view(torch.uint8) if mask.dtype is torch.bool else mask
            tensors = query, key, value, bias, out, out if lse is None else lse
            numbers = (
                scale * LOG2E,
                -math.inf,
                1.0,
                1.0 / scale,
                *((mix.scale, 1.0 - mix.scale, 1.0) if mix.rescale else mix.factors),
                float(mix.rescale),
                1.0 / mix.temperature,
                launch.slope / mix.temperature,
            )
            with torch.cuda.device_of(query):  # Triton launches on the current device
                pladis_kernel[launch.grid](*tensors, *launch.integers, *numbers, *launch.solver, **launch.constants)
        return Result(out, self.name, "", lse)


@functools.cache
def installed() -> bool:
    """Whether Triton is installed."""
    return importlib.util.find_spec("triton") is not None


def why_not(problem: Problem, version: tuple[int, ...] | None = None) -> str:
    """Why this kernel can't compute the problem, or would be slower than torch's operations; "" if it can.

    version: (major, minor) of Triton; by default the installed one's. Compiles nothing.
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
    if any(max(strides[2:]) > LARGEST_STRIDE for strides in (*problem.strides, problem.mask_strides)):
        return f"rows that lie more than {LARGEST_STRIDE} elements apart"
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
    """The launch for a problem."""
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
            "MASK": NO_MASK if problem.mask is None else BOOL_MASK if problem.mask is torch.bool else FLOAT_MASK,
            "KEY_MASK": problem.key_mask,
            "CONTIGUOUS_MASK": problem.contiguous_mask,
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
    """The number of parts, at most five, and their width, a power of two from 16: the choice with the least padding.

    Among equals, most parts: parts are added within a thread, without exchange between threads. On ROCm fewest parts,
    because many spill.
    """
    sign = -1 if torch.version.hip is None else 1
    choices = [(-(-keys // width), width) for width in (16, 32, 64, 128)]
    fitting = (choice for choice in choices if choice[0] <= 5)
    return min(fitting, key=lambda choice: (choice[0] * choice[1], sign * choice[0]))


def block_of(columns: int, dim: int) -> tuple[int, int, bool]:
    """BLOCK_M, the number of warps, and whether registers hold exp(z) beside z while solving for tau (KEEP).

    A warp has 16 queries if a row fits its registers. If exp(z) does not fit beside it, it is computed twice. Larger
    heads have fewer queries. The sizes are chosen so that nothing is spilled (`tests/gpu`).
    """
    if columns <= MOST_COLUMNS_WITH_EXPONENTIALS and dim <= 192:
        return 64, 4, True
    if columns <= MOST_COLUMNS_A_WARP and dim <= MOST_DIMS_OF_LONG_ROWS:
        return 64, 4, False
    return 32 if columns > MOST_COLUMNS_A_WARP and dim <= 64 else 16, 4 if columns <= 256 else 8, True


def tiles_of(dim: int, columns: int) -> tuple[int, int]:
    """A head dimension as two powers of two from 16, or as one (and 0) if two need as much padding.

    The tiles determine how Triton distributes a product over the warps. A tile of 128 with short rows, or a narrow one
    with rows that several warps share, would hold the scores twice.
    """
    powers = (16, 32, 64, 128, 256)
    if columns > MOST_COLUMNS_A_WARP:
        return min(power for power in powers if power >= dim), 0
    choices = [(power, 0) for power in powers[:3]] + [(a, b) for a in powers[:4] for b in powers[:4] if b <= a]
    return min((choice for choice in choices if sum(choice) >= dim), key=lambda choice: (sum(choice), choice[1] > 0))


def _units(strides: tuple[tuple[int, ...], ...]) -> tuple[int, bool]:
    """The unit of strides, 8 elements if all rows are contiguous and aligned to 16 bytes, otherwise 1; and whether rows
    are contiguous."""
    together = all(last == 1 for *_, last in strides)
    aligned = all(stride % 8 == 0 for each in strides for stride in each[:3])
    return (8, True) if together and aligned else (1, together)


def _solver(alpha: float, keys: int, dtype: torch.dtype) -> tuple[float, tuple[float, ...], dict[str, Any]]:
    """`Launch.slope`, `Launch.solver`, and the constexpr arguments of `triton_entmax.solve`."""
    beta = 1.0 / (alpha - 1.0)
    halves = round(2.0 * (beta - 1.0))
    if abs(2.0 * (beta - 1.0) - halves) > 1e-9 or beta > LARGEST_POWER:
        halves = BY_LOGARITHM
    return (
        (alpha - 1.0) / LOG2E,
        (beta, *guess_of(alpha), largest_tau(alpha, keys), step_enough(alpha, keys, dtype)),
        {
            "HALVES": halves,
            "FAST": 2 if alpha <= 1.5 else 3,
            "EXACT": dtype == torch.float32,
            "FAST_LOG": not interpreted() and torch.version.hip is None,
            "STEPS": MAX_STEPS,
        },
    )


def largest_tau(alpha: float, keys: int) -> float:
    """tau of a row of equal keys; that of any other row is smaller. The maximum of a row is 0."""
    return -(keys ** (1.0 - alpha))


def step_enough(alpha: float, keys: int, dtype: torch.dtype) -> float:
    """The size of a Newton step of tau after which the row's sum is as exact as weights of this dtype."""
    beta = 1.0 / (alpha - 1.0)
    tolerance = (ROW_SUM_TOLERANCE if dtype == torch.float32 else FUSED_TOLERANCE) / keys
    return math.sqrt(tolerance / max(1.0, 0.5 * beta * (beta - 1.0))) if beta >= 2 else tolerance ** (1.0 / beta)


def guess_of(alpha: float) -> tuple[float, ...]:
    """GUESSES, interpolated linearly in alpha."""
    right = min(known for known in GUESSES if known >= alpha - 1e-12)
    left = max(known for known in GUESSES if known <= alpha + 1e-12)
    part = 0.0 if right == left else (alpha - left) / (right - left)
    return tuple(a + part * (b - a) for a, b in zip(GUESSES[left], GUESSES[right]))
