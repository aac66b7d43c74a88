"""The kernel that needs no Triton: what it takes, its libraries, and how it is launched.

Its numbers are in test_cuda_numbers.py, what is kept on disk in test_cubins.py.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lib_pladis.kernels.base import AttentionInputs, Problem
from lib_pladis.kernels.choice import AUTO
from lib_pladis.kernels.cuda import driver, kernel, nvrtc
from lib_pladis.kernels.cuda.cubins import Cubins
from lib_pladis.kernels.cuda.kernel import Arguments, Build, Cuda, why_not_here, why_not_of_problem
from lib_pladis.math.rule import Mix
from tests.inputs import taken_by, tensors

PROBLEM = Problem("cuda", (8, 6), torch.float16, 2, 8, 4096, 77, 64, 64, strides=((2097152, 64, 512, 1),) * 3)
KEYS_MASK = (77, 0, 0, 1)


@pytest.fixture(autouse=True)
def nothing_is_known() -> Iterator[None]:
    for known in (nvrtc.nvrtc, driver.driver, kernel._built):
        known.cache_clear()
    yield
    for known in (nvrtc.nvrtc, driver.driver, kernel._built):
        known.cache_clear()


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({}, ""),
        ({"device": "cpu"}, "no kernel for cpu"),
        ({"capability": "gfx1100"}, "no kernel for gfx1100"),
        ({"dtype": torch.float32}, "fp32"),
        ({"capability": (7, 5)}, ""),
        ({"capability": (7, 0)}, "Turing"),
        ({"capability": (7, 5), "dtype": torch.bfloat16}, "bf16"),
        ({"capability": (12, 0), "dtype": torch.bfloat16}, ""),
        ({"alpha": 2.0}, ""),
        ({"alpha": 1.0}, "alpha"),
        ({"alpha": 1.75}, "alpha"),
        ({"keys": 160}, ""),
        ({"keys": 161}, "160 keys"),
        ({"dim": 40, "value_dim": 40}, ""),
        ({"dim": 160, "value_dim": 160}, ""),
        ({"dim": 160, "value_dim": 160, "keys": 154}, "shared memory"),
        ({"dim": 160, "value_dim": 160, "keys": 154, "capability": (8, 0)}, ""),
        ({"dim": 128, "value_dim": 128, "keys": 154}, ""),
        ({"dim": 128, "value_dim": 128, "keys": 154, "capability": (7, 5)}, "shared memory"),
        ({"dim": 168, "value_dim": 168}, "dimensions"),
        ({"dim": 32, "value_dim": 32}, "dimensions"),
        ({"dim": 44, "value_dim": 44}, "dimensions"),
        ({"value_dim": 128}, "dimensions"),
        ({"mask": torch.bool, "mask_strides": KEYS_MASK}, ""),
        ({"mask": torch.bfloat16, "mask_strides": KEYS_MASK}, ""),
        ({"mask": torch.float64, "mask_strides": KEYS_MASK}, "mask"),
        ({"mask": torch.bool, "mask_strides": (77, 0, 77, 1)}, "mask"),
        ({"strides": ((2097152, 64, 512, 1), (2097152, 64, 516, 1), (2097152, 64, 512, 1))}, "16 bytes"),
        ({"strides": ((2097152, 64, 512, 2),) * 3}, "16 bytes"),
        ({"batch": 65536}, "65535"),
        ({"tempered": True, "rescaled": True, "change": True, "lse": True}, ""),
        ({"rescaled": True, "keys": 154, "dim": 80, "value_dim": 80}, ""),
        ({"rescaled": True, "keys": 154, "dim": 128, "value_dim": 128}, "registers"),
    ],
)
def test_which_problems_it_takes(changes: dict[str, Any], part: str) -> None:
    reason = why_not_of_problem(replace(PROBLEM, **changes))
    assert part in reason and bool(reason) == bool(part), reason


def test_stands_behind_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [each.name for each in AUTO["cuda"]] == ["triton", "cuda"]
    monkeypatch.setattr(kernel, "why_not_here", lambda capability: "")
    monkeypatch.setattr("lib_pladis.kernels.triton_fused.installed", lambda: False)
    assert taken_by(PROBLEM) == "cuda"
    assert taken_by(replace(PROBLEM, keys=231)) == "torch"


class Library:
    """NVRTC or the driver: functions by name, which note their calls. A number is what each of them returns."""

    def __init__(self, **functions: Any) -> None:
        self.functions = functions
        self.called: list[tuple[str, tuple[Any, ...]]] = []

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> Any:
            self.called.append((name, arguments))
            function = self.functions.get(name, 0)
            return function if isinstance(function, (int, bytes)) else function(*arguments)

        return call


def writes(*values: Any, at: int = 0) -> Any:
    """A function that writes to what its arguments point at."""

    def function(*arguments: Any) -> int:
        for target, value in zip(arguments[at:], values):
            if isinstance(value, bytes):
                target[: len(value)] = value
            elif isinstance(value, tuple):
                target[:] = value
            else:
                target._obj.value = value
        return 0

    return function


def nvrtc_library(**functions: Any) -> Library:
    usual = {
        "nvrtcVersion": writes(12, 1),
        "nvrtcGetNumSupportedArchs": writes(4),
        "nvrtcGetSupportedArchs": writes((75, 80, 86, 90)),
        "nvrtcGetCUBINSize": writes(5, at=1),
        "nvrtcGetCUBIN": writes(b"cubin", at=1),
        "nvrtcGetErrorString": b"NVRTC_ERROR_COMPILATION",
    }
    return Library(**{**usual, **functions})


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> dict[str, Library]:
    """Libraries by their names; what is not in it is not there."""
    libraries: dict[str, Library] = {}

    def load(path: str) -> Library:
        if Path(path).name not in libraries:
            raise OSError(f"{path}: cannot open shared object file")
        return libraries[Path(path).name]

    monkeypatch.setattr(ctypes, "CDLL", load)
    monkeypatch.setattr(torch.version, "cuda", "12.1")
    return libraries


def log_of(text: bytes) -> dict[str, Any]:
    """A compiler that fails with these lines."""
    return {
        "nvrtcCompileProgram": 6,
        "nvrtcGetProgramLogSize": writes(len(text), at=1),
        "nvrtcGetProgramLog": writes(text, at=1),
    }


MISSING = b"nvrtc: error: failed to open libnvrtc-builtins.so.12.1.\n  Make sure that it is installed correctly.\0"


@pytest.mark.parametrize(
    ("libraries", "capability", "reason"),
    [
        ({}, (8, 6), "NVIDIA's driver can't be called: libcuda.so.1: cannot open shared object file"),
        ({"libcuda.so.1": {}}, (8, 6), "NVRTC of CUDA 12 is not installed"),
        ({"libcuda.so.1": {}, "libnvrtc.so.12": {}}, (8, 6), ""),
        ({"libcuda.so.1": {}, "libnvrtc.so.12": {}}, (8, 9), ""),
        ({"libcuda.so.1": {}, "libnvrtc.so.12": {}}, (12, 0), "NVRTC 12.1 does not know sm_120"),
        (
            {"libcuda.so.1": {}, "libnvrtc.so.12": log_of(MISSING)},
            (8, 6),
            "NVRTC does not work: nvrtc: error: failed to open libnvrtc-builtins.so.12.1.",
        ),
        ({"libcuda.so.1": {"cuInit": 100}, "libnvrtc.so.12": {}}, (8, 6), "unknown error (100)"),
    ],
)
def test_what_is_missing_is_named(
    loaded: dict[str, Library], libraries: dict[str, Any], capability: tuple[int, int], reason: str
) -> None:
    for name, functions in libraries.items():
        loaded[name] = (Library if "cuda" in name else nvrtc_library)(**functions)
    assert reason in why_not_here(capability) and bool(why_not_here(capability)) == bool(reason)
    assert Cuda().why_not(replace(PROBLEM, capability=capability)) == why_not_here(capability)


def test_a_failure_that_passes_is_asked_for_anew(loaded: dict[str, Library]) -> None:
    loaded["libcuda.so.1"], loaded["libnvrtc.so.12"] = Library(cuInit=2), nvrtc_library()
    assert "(2)" in why_not_here((8, 6))
    loaded["libcuda.so.1"] = Library()
    assert why_not_here((8, 6)) == ""


def test_no_cuda_in_torch(loaded: dict[str, Library], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    loaded["libcuda.so.1"] = Library()
    assert "not built with CUDA" in why_not_here((8, 6))


@pytest.mark.parametrize(
    ("windows", "file", "found"),
    [
        (False, "torch/lib/libnvrtc-672ee683.so.12", True),
        (False, "torch/lib/libnvrtc-builtins-2dc4bf68.so.12.1", False),
        (False, "nvidia/cuda_nvrtc/lib/libnvrtc.so.12", True),
        (False, "nvidia/cu13/lib/libnvrtc.so.12", True),
        (False, "nvidia/cuda_nvrtc/lib/libnvrtc.alt.so.12", False),
        (True, "torch/lib/nvrtc64_120_0.dll", True),
        (True, "torch/lib/nvrtc64_120_0.alt.dll", False),
        (True, "nvidia/cu13/bin/x86_64/nvrtc64_120_0.dll", True),
    ],
)
def test_where_the_compiler_lies(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, windows: bool, file: str, found: bool
) -> None:
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).touch()
    monkeypatch.setattr(nvrtc, "WINDOWS", windows)
    monkeypatch.setattr(torch, "__file__", str(tmp_path / "torch" / "__init__.py"))
    monkeypatch.setattr(nvrtc.sys, "path", [])
    places = list(nvrtc.candidates(12))
    assert places == [*([str(tmp_path / file)] if found else []), "nvrtc64_120_0.dll" if windows else "libnvrtc.so.12"]


def test_builtins_beside_the_compiler_are_loaded_first(loaded: dict[str, Library], tmp_path: Path) -> None:
    for name in ("libnvrtc.so.12", "libnvrtc-builtins.so.12.1", "libnvrtc-builtins.alt.so.12.1"):
        (tmp_path / name).touch()
    order: list[str] = []
    load = ctypes.CDLL

    def noting(path: str) -> Any:
        order.append(Path(path).name)
        return load(path)

    loaded["libnvrtc.so.12"] = nvrtc_library()
    ctypes.CDLL = noting  # type: ignore[assignment,misc]
    compiler = nvrtc.Nvrtc(str(tmp_path / "libnvrtc.so.12"))
    assert order == ["libnvrtc-builtins.so.12.1", "libnvrtc.so.12"]
    assert compiler.compile("text", nvrtc.options_of(86, {"D": 64})) == b"cubin"
    options = next(arguments[2] for name, arguments in loaded["libnvrtc.so.12"].called if name == "nvrtcCompileProgram")
    assert list(options) == [b"--gpu-architecture=sm_86", b"--std=c++14", b"-DD=64"]


def test_compiled_once_for_all_layers_of_a_kind(
    loaded: dict[str, Library], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "CUBINS", Cubins(lambda: tmp_path))
    loaded["libnvrtc.so.12"] = nvrtc_library()
    plans = [Cuda().plan(replace(PROBLEM, queries=queries, keys=keys)) for queries in (4096, 1024) for keys in (77, 70)]
    compiled = [name for name, _ in loaded["libnvrtc.so.12"].called if name == "nvrtcCompileProgram"]
    assert len(compiled) == 2, "one of them an empty one, to see whether the compiler works"
    assert len({id(plan.build) for plan in plans}) == 1


class Recorded:
    """A kernel on a device of 84 blocks at once, which notes its calls."""

    blocks = 84

    def __init__(self) -> None:
        self.calls: list[tuple[Any, Arguments, int]] = []

    def launch(self, grid: Any, arguments: Arguments, stream: int) -> None:
        self.calls.append((grid, Arguments.from_buffer_copy(arguments), stream))


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    function = Recorded()
    monkeypatch.setattr(Build, "on", lambda self, device: function)
    monkeypatch.setattr(kernel, "_build", lambda *_: Build(b"", 0))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: SimpleNamespace(cuda_stream=7))
    return function


def test_tensors_and_numbers_are_passed_as_they_are(recorded: Recorded) -> None:
    q, k, v = tensors(2, 3, 200, 77, 40, torch.float16)
    mask = torch.zeros(77, dtype=torch.bool)
    mix = Mix(-3.0, 1.5, 2.0, 0.0, True)
    inputs = AttentionInputs(q, k, v, mask, mix, 0.1)
    result = Cuda().attend(Cuda().plan(Problem.of(inputs, True)), inputs)
    ((grid, given, stream),) = recorded.calls
    assert (grid, stream) == ((4, 3, 2), 7)
    assert (given.q, given.k, given.v, given.mask) == tuple(each.data_ptr() for each in (q, k, v, mask))
    assert result.lse is not None and result.lse.shape == (2, 3, 200)
    assert (given.o, given.lse) == (result.out.data_ptr(), result.lse.data_ptr())
    assert [getattr(given, f"stride_q{axis}") for axis in "bhm"] == [2 * stride for stride in q.stride()[:3]]
    assert [getattr(given, f"stride_o{axis}") for axis in "bhm"] == [2 * stride for stride in result.out.stride()[:3]]
    assert [getattr(given, f"stride_m{axis}") for axis in "bhn"] == [0, 0, 1]
    assert (given.queries, given.keys, given.zero) == (200, 77, 0)
    numbers = [given.to_bits, given.unscale, given.sparse, given.dense, given.result, given.inverse_temperature]
    assert numbers == pytest.approx([0.1 / 0.6931472, 10.0, 1.0, -1.0, -3.0, 0.5])
    assert given.slope == pytest.approx(0.25 * 0.6931472) and given.top == pytest.approx(-(77**-0.5))


@pytest.mark.parametrize("scale", [-5.0, 0.0, 0.3, 1.0, 2.0, 1e5])
@pytest.mark.parametrize("phi", [0.0, 0.5])
@pytest.mark.parametrize("change", [False, True])
def test_factors(scale: float, phi: float, change: bool) -> None:
    """Of both maps at most 1 in size, and times the result's what the equation says."""
    mix = Mix(scale, rescale=phi, change=change)
    sparse, dense, result = mix.factors
    assert 0.0 <= sparse <= 1.0 and abs(dense) <= 1.0 <= abs(result)
    wanted = -scale if change and not phi else 1.0 - scale
    assert (sparse * result, dense * result) == pytest.approx((scale, wanted))


def test_rows_that_start_elsewhere_are_copied(recorded: Recorded) -> None:
    q, k, v = (torch.zeros(2 * 3 * 40 * 64 + 4, dtype=torch.float16)[4:].view(2, 3, 40, 64) for _ in range(3))
    assert q.data_ptr() % 16 == 8
    inputs = AttentionInputs(q, k, v, None, Mix(), 0.1)
    Cuda().attend(Cuda().plan(Problem.of(inputs)), inputs)
    ((_, given, _),) = recorded.calls
    assert not any(pointer % 16 for pointer in (given.q, given.k, given.v))


@pytest.mark.parametrize(
    ("queries", "at_once", "blocks"), [(4096, 640, 32), (4096, 320, 16), (4096, 300, 13), (1, 320, 1), (64, 5, 1)]
)
def test_blocks_fill_the_device_once_and_have_as_many_tiles_each(queries: int, at_once: int, blocks: int) -> None:
    planned = kernel.plan(replace(PROBLEM, heads=10, queries=queries))
    assert planned.grid(at_once) == (blocks, 10, 2)


def test_nothing_is_launched_for_nothing(recorded: Recorded) -> None:
    q, k, v = tensors(1, 2, 0, 77, 64, torch.float16)
    inputs = AttentionInputs(q, k, v, None, Mix(), 0.1)
    assert Cuda().attend(Cuda().plan(Problem.of(inputs)), inputs).out.shape == (1, 2, 0, 64)
    assert not recorded.calls


@pytest.mark.parametrize("shared", [20_000, 60_000])
def test_the_driver_is_called_in_the_context_of_torch(loaded: dict[str, Library], shared: int) -> None:
    loaded["libcuda.so.1"] = library = Library(
        cuDevicePrimaryCtxRetain=writes(11),
        cuDeviceGetAttribute=writes(28),
        cuOccupancyMaxActiveBlocksPerMultiprocessor=writes(3),
    )
    function = driver.Function(b"image", "pladis", 1, shared, 128)
    assert function.blocks == 84
    arguments = Arguments(queries=5)
    function.launch((3, 2, 1), arguments, 7)
    names = [name for name, _ in library.called]
    assert names[:3] == ["cuInit", "cuDeviceGet", "cuDevicePrimaryCtxRetain"]
    assert ("cuFuncSetAttribute" in names) == (shared > 48 * 1024)
    assert names[-3:] == ["cuCtxPushCurrent_v2", "cuLaunchKernel", "cuCtxPopCurrent_v2"]
    assert library.called[-2][1][1:9] == (3, 2, 1, 128, 1, 1, shared, 7)
    assert library.called[-3][1][0].value == 11
    pointer = ctypes.cast(library.called[-2][1][9][0], ctypes.POINTER(Arguments))
    assert pointer.contents.queries == 5


def test_a_failed_launch_says_what_the_driver_says(loaded: dict[str, Library]) -> None:
    def text(status: int, target: Any) -> int:
        target._obj.value = b"invalid argument"
        return 0

    loaded["libcuda.so.1"] = library = Library(cuGetErrorString=text)
    function = driver.Function(b"image", "pladis", 0, 0, 128)
    library.functions["cuLaunchKernel"] = 1
    with pytest.raises(RuntimeError, match=r"cuLaunchKernel: invalid argument \(1\)"):
        function.launch((1, 1, 1), Arguments(), 0)
    assert library.called[-1][0] == "cuCtxPopCurrent_v2", "the thread's own context is back"
