"""Which kernel is chosen, and what happens where it cannot run, or fails."""

from __future__ import annotations

import dataclasses
import logging
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from lib_pladis.attention import attend, pladis_attention
from lib_pladis.kernels import choice, triton_fused
from lib_pladis.kernels.base import Problem
from lib_pladis.kernels.choice import KERNELS, Kernels
from lib_pladis.math.rule import Mix
from tests.inputs import assert_matches, chosen, ran, taken_by, tensors
from tests.kernels import without_launch
from tests.oracle import reference

MIX = Mix()


def test_names_of_kernels() -> None:
    q, k, v = tensors()
    assert chosen(q, k, v) == ran(q, k, v).kernel == "torch"
    assert chosen(q, k, v, "torch") == "torch"
    assert chosen(q, k, v, "entmax") == "entmax"
    assert choice.NAMES == ("auto", "triton", "cuda", "torch", "entmax")


def test_auto_says_why_a_quicker_kernel_was_not_taken(stand_in: Any) -> None:
    kernel = stand_in()
    kernel.why_not = lambda problem: "fp32 has no tensor cores"
    result = attend(Kernels(), *tensors(), MIX)
    assert (result.kernel, result.note) == ("torch", "not triton: fp32 has no tensor cores")
    assert ran(*tensors(), "torch").note == ""


def test_the_name_in_a_result_is_of_the_kernel_that_ran_whatever_other_threads_do(stand_in: Any, proved: None) -> None:
    stand_in()
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
    assert "kernel triton is not used" in lines[0]
    assert "kernel entmax is not used" in lines[1] and "(not installed); using torch" in lines[1]


ON_CUDA = Problem("cuda", (8, 6), torch.float16, 2, 8, 64, 77, 40, 40)


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
    assert taken_by(dataclasses.replace(ON_CUDA, keys=keys), backend) == expected


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


@pytest.mark.parametrize(("name", "most"), [("triton", 55), ("cuda", 75)])
def test_a_call_like_one_before_costs_few_function_calls(name: str, most: int) -> None:
    """Python's own and torch's, of a fused call without its launch; with its shapes asked anew they were hundreds."""
    if name == "triton":
        pytest.importorskip("triton")
    counted = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal counted
        counted += event in ("call", "c_call")

    q, k, v = tensors(dim=64, dtype=torch.float16)
    with without_launch(name) as kernels:
        assert attend(kernels, q, k, v, MIX).kernel == name
        sys.setprofile(count)
        try:
            attend(kernels, q, k, v, MIX)
        finally:
            sys.setprofile(None)
    assert 5 < counted <= most, counted
