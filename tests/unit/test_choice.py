"""Which kernel is chosen, and what happens where it cannot run, or fails."""

from __future__ import annotations

import dataclasses
import logging
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lib_pladis.attention import attend, pladis_attention
from lib_pladis.kernels import choice, triton_fused
from lib_pladis.kernels.base import Problem, Result
from lib_pladis.kernels.choice import KERNELS, Kernels
from lib_pladis.math.rule import Mix
from tests.inputs import assert_matches, chosen, ran, tensors
from tests.oracle import reference

MIX = Mix()


def test_names_of_kernels() -> None:
    q, k, v = tensors()
    assert chosen(q, k, v) == ran(q, k, v).kernel == "torch"
    assert chosen(q, k, v, "torch") == "torch"
    assert chosen(q, k, v, "entmax") == ran(q, k, v, "entmax").kernel == "entmax"
    assert choice.NAMES == ("auto", "triton", "torch", "entmax")


class PretendTriton:
    """A fused kernel that can take anything, and does what it is told to when it is run."""

    name = "triton"

    def __init__(self, run: Callable[[Problem], None]) -> None:
        self.run = run
        self.calls: list[Problem] = []

    def why_not(self, problem: Problem) -> str:
        return ""

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mix: Mix,
        mask: Tensor | None,
        scale: float,
        lse: bool = False,
    ) -> Result:
        problem = Problem.of(query, key, value, mix, mask, lse)
        self.calls.append(problem)
        self.run(problem)
        return Result(torch.zeros_like(query), self.name)


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Problem], None]], PretendTriton]:
    def pretend(run: Callable[[Problem], None]) -> PretendTriton:
        kernel = PretendTriton(run)
        monkeypatch.setitem(choice.KERNELS, "triton", kernel)
        monkeypatch.setattr(choice, "AUTO", {"cpu": (kernel,)})
        return kernel

    return pretend


def raising(error: Exception) -> Callable[[Problem], None]:
    def run(problem: Problem) -> None:
        raise error

    return run


def test_failing_kernel_falls_back_and_is_not_tried_again_on_such_a_problem(
    pretend: Any, caplog: pytest.LogCaptureFixture
) -> None:
    kernel = pretend(raising(RuntimeError("no C compiler\nmore")))
    q, k, v = tensors()
    expected = reference(q, k, v)
    kernels = Kernels("triton")
    with caplog.at_level(logging.INFO, "pladis"):
        for _ in range(3):
            result = attend(kernels, q, k, v, MIX)
            assert result.kernel == "torch"
            assert_matches(result.out, expected)
    assert len(kernel.calls) == 1
    lines = [record.getMessage() for record in caplog.records]
    assert "kernel triton failed (RuntimeError: no C compiler)" in lines[0] and "13 keys" in lines[0]
    assert len(lines) == 2 and "cannot be used (RuntimeError: no C compiler)" in lines[1]
    attend(Kernels("triton"), q, k, v, MIX)
    assert len(kernel.calls) == 2, "the next generation tries again"


def test_auto_says_why_a_quicker_kernel_was_not_taken(pretend: Any) -> None:
    kernel = pretend(lambda problem: None)
    kernel.why_not = lambda problem: "fp32 has no tensor cores"
    result = attend(Kernels(), *tensors(), MIX)
    assert (result.kernel, result.note) == ("torch", "not triton: fp32 has no tensor cores")
    kernel.why_not = lambda problem: ""
    assert attend(Kernels(), *tensors(), MIX).note == ""
    assert ran(*tensors(), "torch").note == ""


def test_one_failing_build_says_nothing_of_other_shapes_and_alphas(pretend: Any) -> None:
    def run(problem: Problem) -> None:
        if problem.mix.alpha == 1.75:
            raise RuntimeError("out of resource: registers")

    pretend(run)
    kernels = Kernels("auto", lambda line: None)
    q, k, v = tensors()
    odd = Mix(alpha=1.75)
    assert [attend(kernels, q, k, v, mix).kernel for mix in (odd, MIX, odd, MIX)] == ["torch", "triton"] * 2
    longer = tensors(keys=14)
    assert attend(kernels, *longer, MIX).kernel == "triton"


def test_one_moment_without_memory_is_no_failure(pretend: Any) -> None:
    full = [True]

    def run(problem: Problem) -> None:
        if full.pop() if full else False:
            raise RuntimeError("Triton Error [CUDA]: out of memory")

    kernel = pretend(run)
    kernels = Kernels("auto", lambda line: None)
    q, k, v = tensors()
    assert [attend(kernels, q, k, v, MIX).kernel for _ in range(3)] == ["torch", "triton", "triton"]
    assert len(kernel.calls) == 3


def test_torchs_out_of_memory_is_raised_and_is_no_failure(pretend: Any) -> None:
    kernel = pretend(raising(torch.cuda.OutOfMemoryError("full")))
    kernels = Kernels("triton")
    q, k, v = tensors()
    for _ in range(2):
        with pytest.raises(torch.cuda.OutOfMemoryError):
            attend(kernels, q, k, v, MIX)
    assert len(kernel.calls) == 2


def test_the_name_in_a_result_is_of_the_kernel_that_ran_whatever_other_threads_do(pretend: Any) -> None:
    pretend(lambda problem: None)
    q, k, v = tensors()
    kernels = {name: Kernels(name, lambda line: None) for name in ("triton", "torch", "entmax")}
    with ThreadPoolExecutor(4) as pool:
        wanted = list(kernels) * 100
        found = list(pool.map(lambda name: attend(kernels[name], q, k, v, MIX).kernel, wanted))
    assert found == wanted


def test_kernel_that_cannot_run_here_is_replaced_with_one_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(type(KERNELS["entmax"]), "why_not", lambda self, problem: "not installed")
    q, k, v = tensors()
    expected = reference(q, k, v)
    with caplog.at_level(logging.INFO, "pladis"):
        for backend in ("triton", "entmax", "triton", "entmax", "auto", "torch"):
            assert_matches(pladis_attention(q, k, v, backend=backend), expected)
            assert chosen(q, k, v, backend) == "torch"
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert "kernel triton cannot be used" in lines[0]
    assert "kernel entmax cannot be used (not installed); using torch" in lines[1]


ON_CUDA = Problem("cuda", (8, 6), torch.float16, 2, 8, 64, 77, 40, 40, "none", MIX)


@pytest.mark.parametrize(
    ("installed", "keys", "backend", "expected"),
    [
        (True, 77, "auto", "triton"),
        (True, 512, "auto", "triton"),
        (True, 513, "auto", "torch"),
        (False, 77, "auto", "torch"),
        (False, 77, "triton", "torch"),
        (True, 77, "torch", "torch"),
    ],
)
def test_choice_on_a_gpu(
    monkeypatch: pytest.MonkeyPatch, installed: bool, keys: int, backend: str, expected: str
) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(triton_fused, "installed", lambda: installed)
    assert Kernels(backend).choose(dataclasses.replace(ON_CUDA, keys=keys)).name == expected


def test_library_imports_neither_triton_nor_a_host() -> None:
    code = (
        "import sys, torch, lib_pladis.attention\n"
        "names = ('triton', 'gradio', 'modules', 'entmax')\n"
        "loaded = [name for name in names if name in sys.modules]\n"
        "assert not loaded, loaded"
    )
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True)


def test_public_names_come_from_the_top_and_cost_nothing_until_then() -> None:
    code = (
        "import sys, lib_pladis\n"
        "assert 'torch' not in sys.modules, 'importing the package loads nothing'\n"
        "from lib_pladis import pladis_attention, entmax, __version__\n"
        "assert pladis_attention.__module__ == 'lib_pladis.attention'\n"
        "assert entmax.__module__ == 'lib_pladis.math.sparse' and __version__[0].isdigit()\n"
        "try:\n"
        "    lib_pladis.nonsense\n"
        "except AttributeError as error:\n"
        "    assert 'nonsense' in str(error)\n"
        "else:\n"
        "    raise SystemExit('no error')\n"
        "assert set(lib_pladis.__all__) <= set(dir(lib_pladis))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=True)
