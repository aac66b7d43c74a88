"""The CUDA kernel (`kernel.cu`) as a `base.Kernel`: which problems it takes, its constants, its launch.

Needs a card from Turing on, its driver, and the NVRTC that torch brings on Linux and Windows.
"""

from __future__ import annotations

import ctypes
import dataclasses
import functools
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lib_pladis.kernels.base import AttentionInputs, Problem, Result
from lib_pladis.kernels.cuda.cubins import CUBINS
from lib_pladis.kernels.cuda.driver import Function, driver
from lib_pladis.kernels.cuda.nvrtc import Unusable, nvrtc, options_of
from lib_pladis.kernels.triton_fused import LOG2E, guess_of, largest_tau, step_enough

ALPHAS = (1.5, 2.0)

MOST_KEYS = 160
"""Maximum number of keys: the registers of one warp hold the scores of 16 queries with all of them."""

DIMS = range(40, 161, 8)

WARPS = 4

ROWS = 16
"""Queries in a warp's tile."""

MASKS = {torch.bool: 1, torch.float16: 2, torch.bfloat16: 3, torch.float32: 4}

SHARED = {(7, 5): 64, (8, 0): 163, (8, 7): 163, (9, 0): 227, (10, 0): 227, (10, 3): 227}
"""KiB of shared memory that a block may have, by compute capability."""

USUAL_SHARED = 99
"""The same for all other capabilities."""


STRIDES = ("qb", "qh", "qm", "kb", "kh", "kn", "vb", "vh", "vn", "ob", "oh", "om", "mb", "mh", "mn")
"""Strides of query, key, value, output and mask along batch, head and row (of the mask: key)."""


class Arguments(ctypes.Structure):
    """`Arguments` in problem.cuh."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("q", "k", "v", "mask", "o", "lse")),
        *((f"stride_{name}", ctypes.c_longlong) for name in STRIDES),
        *((name, ctypes.c_int) for name in ("queries", "keys")),
        *((name, ctypes.c_float) for name in ("to_bits", "unscale", "sparse", "dense", "result")),
        *((name, ctypes.c_float) for name in ("rescale", "inverse_temperature", "slope")),
        ("guess", ctypes.c_float * 5),
        *((name, ctypes.c_float) for name in ("top", "enough")),
        ("zero", ctypes.c_uint),
    )


@dataclass(frozen=True)
class Launch:
    """Everything that depends on the problem alone.

    constants: the compiler's macros. shared: bytes of shared memory of a block. slope: (alpha - 1) / log2(e), for
    temperature 1. arguments: an `Arguments` without the call's own values. tiles: blocks' tiles of queries of a head.
    """

    constants: dict[str, int]
    shared: int
    slope: float
    arguments: bytes
    heads: int
    batch: int
    tiles: int
    out_shape: tuple[int, ...]
    out_strides: tuple[int, ...]
    lse_shape: tuple[int, ...] | None
    build: Build | None = None

    def fill(self, inputs: AttentionInputs, out: Tensor, lse: Tensor | None) -> Arguments:
        """The kernel's argument for one call."""
        query, key, value, mask, mix, scale = inputs
        arguments = Arguments.from_buffer_copy(self.arguments)
        arguments.q, arguments.k, arguments.v = (tensor.data_ptr() for tensor in (query, key, value))
        arguments.mask = None if mask is None else mask.data_ptr()
        arguments.o = out.data_ptr()
        arguments.lse = None if lse is None else lse.data_ptr()
        arguments.to_bits, arguments.unscale = scale * LOG2E, 1.0 / scale
        arguments.sparse, arguments.dense, arguments.result = mix.factors
        arguments.rescale = mix.rescale
        arguments.inverse_temperature = 1.0 / mix.temperature
        arguments.slope = self.slope / mix.temperature
        return arguments

    def grid(self, at_once: int) -> tuple[int, int, int]:
        """The grid: as many blocks as run at once, with equally many tiles of queries each."""
        wanted = max(1, at_once // (self.heads * self.batch))
        each = -(-self.tiles // wanted)
        return -(-self.tiles // each), self.heads, self.batch


class Build:
    """A compiled kernel, loaded on each device at its first use there."""

    def __init__(self, image: bytes, shared: int) -> None:
        self._image, self._shared = image, shared
        self._functions: dict[int, Function] = {}

    def on(self, device: torch.device) -> Function:
        """The kernel, loaded on this device."""
        index = torch.cuda.current_device() if device.index is None else device.index
        if index not in self._functions:
            self._functions[index] = Function(self._image, "pladis", index, self._shared, 32 * WARPS)
        return self._functions[index]


class Cuda:
    """The fused CUDA kernel.

    Scores, tau and both maps are fp32. The blended weights are rounded to the dtype of value for P V. The result is
    laid out (B, Lq, H, Dv) in memory. Entries of a float mask below -1e30 scale count as -inf.
    """

    name = "cuda"

    def why_not(self, problem: Problem) -> str:
        """As `base.Kernel`."""
        return why_not_of_problem(problem) or why_not_here(problem.capability)

    def plan(self, problem: Problem) -> Launch:
        """As `base.Kernel`."""
        planned = plan(problem)
        return dataclasses.replace(planned, build=_build(problem, planned))

    def attend(self, launch: Launch, inputs: AttentionInputs) -> Result:
        """As `base.Kernel`."""
        query = inputs.query
        if any(tensor.data_ptr() % 16 for tensor in inputs[:3]):
            return self._attend_copies(inputs, launch.lse_shape is not None)
        out = query.new_empty_strided(launch.out_shape, launch.out_strides)
        lse = None if launch.lse_shape is None else query.new_empty(launch.lse_shape, dtype=torch.float32)
        if launch.build is not None and out.numel():
            function = launch.build.on(query.device)
            arguments = launch.fill(inputs, out, lse)
            stream = torch.cuda.current_stream(query.device).cuda_stream
            function.launch(launch.grid(function.blocks), arguments, stream)
        return Result(out, self.name, "", lse)

    def _attend_copies(self, inputs: AttentionInputs, lse: bool) -> Result:
        """Copies tensors that are not aligned to 16 bytes, and computes with the copies."""
        query, key, value = (tensor.clone(memory_format=torch.contiguous_format) for tensor in inputs[:3])
        copies = inputs._replace(query=query, key=key, value=value)
        return self.attend(self.plan(Problem.of(copies, lse)), copies)


def why_not_of_problem(problem: Problem) -> str:
    """Why the kernel can't compute such a problem on any machine; "" if it can."""
    capability = problem.capability
    if problem.device != "cuda" or not isinstance(capability, tuple):
        return f"no kernel for {capability if isinstance(capability, str) else problem.device}"
    if problem.dtype == torch.float32:
        return "fp32 has no tensor cores without TF32"
    if capability < (7, 5):
        return "cards before Turing"
    if problem.dtype == torch.bfloat16 and capability < (8, 0):
        return "cards before Ampere have no tensor cores for bf16"
    if problem.alpha not in ALPHAS:
        return "an alpha other than 1.5 and 2"
    if problem.keys > MOST_KEYS:
        return f"more than {MOST_KEYS} keys"
    if problem.dim not in DIMS or problem.value_dim != problem.dim:
        return "heads other than of 40 to 160 dimensions, a multiple of 8, of query, key and value alike"
    if problem.rescaled and problem.keys > 80 and problem.dim > 80:
        return "no registers to rescale rows of more than 80 keys with heads of more than 80 dimensions"
    if problem.mask is not None and (problem.mask not in MASKS or not problem.key_mask):
        return "a mask that is not one of keys alone, or of another type than bool, fp16, bf16, fp32"
    if not problem.whole_rows:
        return "rows that don't lie together from multiples of 16 bytes on"
    if max(problem.batch, problem.heads) > 65535:
        return "a batch or heads of more than 65535"
    if shared_bytes(problem.dim, _key_tiles(problem.keys)) > 1024 * SHARED.get(capability, USUAL_SHARED):
        return f"{problem.keys} keys of {problem.dim} dimensions don't fit this card's shared memory"
    return ""


def why_not_here(capability: tuple[int, int] | str | None) -> str:
    """Why nothing can be compiled for, or launched on, such a card; "" if it can. Not cached: the reason may go
    away."""
    assert isinstance(capability, tuple), "why_not_of_problem says so"
    try:
        driver()
        compiler = nvrtc()
    except (OSError, RuntimeError) as error:
        return str(error) if isinstance(error, Unusable) else f"NVIDIA's driver can't be called: {error}"
    if compiler.target(capability) is None:
        major, minor = compiler.version
        return f"NVRTC {major}.{minor} does not know sm_{capability[0]}{capability[1]}"
    return ""


def plan(problem: Problem) -> Launch:
    """The launch for a problem, without the build. Compiles nothing."""
    tiles = _key_tiles(problem.keys)
    out_shape = (problem.batch, problem.heads, problem.queries, problem.dim)
    row = problem.heads * problem.dim
    out_strides = (problem.queries * row, problem.dim, row, 1)
    size = 2  # bytes of fp16 and bf16
    mask_size = 0 if problem.mask is None else torch.empty(0, dtype=problem.mask).element_size()
    tensors = [stride * size for strides in (*problem.strides, out_strides) for stride in strides[:3]]
    masks = [problem.mask_strides[axis] * mask_size for axis in (0, 1, 3)]
    fields = {f"stride_{name}": stride for name, stride in zip(STRIDES, (*tensors, *masks))}
    arguments = Arguments(queries=problem.queries, keys=problem.keys, **fields)
    arguments.guess[:] = guess_of(problem.alpha)
    arguments.top = largest_tau(problem.alpha, problem.keys)
    arguments.enough = step_enough(problem.alpha, problem.keys, problem.dtype)
    return Launch(
        constants(problem),
        shared_bytes(problem.dim, tiles),
        (problem.alpha - 1.0) / LOG2E,
        bytes(arguments),
        problem.heads,
        problem.batch,
        -(-problem.queries // (WARPS * ROWS)),
        out_shape,
        out_strides,
        (problem.batch, problem.heads, problem.queries) if problem.lse else None,
    )


def constants(problem: Problem) -> dict[str, int]:
    """The macros that kernel.cu is compiled with; problem.cuh describes them."""
    tiles = _key_tiles(problem.keys)
    return {
        "D": problem.dim,
        "KEY_TILES": tiles,
        "BF16": int(problem.dtype == torch.bfloat16),
        "SPARSEMAX": int(problem.alpha == 2.0),
        "MASK": 0 if problem.mask is None else MASKS[problem.mask],
        "TEMPERED": int(problem.tempered),
        "RESCALE": int(problem.rescaled),
        "CHANGE": int(problem.change and problem.rescaled),
        "LSE": int(problem.lse),
        "WARPS": WARPS,
        "MIN_BLOCKS": 3 if problem.dim <= 80 and tiles <= 10 else 2,
    }


def shared_bytes(dim: int, key_tiles: int) -> int:
    """Bytes of shared memory for K, V and the mask of all keys, with rows padded as in problem.cuh."""
    k_row = (2 * dim + 63) // 128 * 128 + 64
    v_row = 2 * dim + 16 * (1 - dim // 8 % 2)
    return 8 * key_tiles * (k_row + v_row + 4)


def source() -> str:
    """The kernel's source with its includes, in one text."""
    texts = {path.name: path.read_text("utf-8") for path in Path(__file__).parent.glob("*.cu*")}
    return re.sub(r'#include "(.*)"', lambda found: texts[found[1]], texts["kernel.cu"])


def _key_tiles(keys: int) -> int:
    """Number of tiles of 8 keys, rounded up to an even number: P V takes two at a time."""
    return 2 * -(-keys // 16)


def _build(problem: Problem, planned: Launch) -> Build:
    assert isinstance(problem.capability, tuple)
    target = nvrtc().target(problem.capability)
    assert target is not None, "why_not says so"
    return _built(target, tuple(planned.constants.items()), planned.shared)


@functools.cache
def _built(target: int, constants: tuple[tuple[str, int], ...], shared: int) -> Build:
    compiler, text, options = nvrtc(), source(), options_of(target, dict(constants))
    image = CUBINS.get(text, options, compiler.version, lambda: compiler.compile(text, options))
    return Build(image, shared)
