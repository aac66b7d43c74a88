"""Which kernel is chosen, and what happens where it cannot run."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lib_pladis import attention
from lib_pladis.attention import choose_backend, last_backend, pladis_attention
from tests.inputs import assert_matches, tensors
from tests.oracle import reference


def test_backend_names() -> None:
    q, k, v = tensors()
    assert choose_backend(q, k, v) == "torch"
    assert choose_backend(q, k, v, backend="torch") == "torch"
    assert choose_backend(q, k, v, backend="entmax") == "entmax"
    pladis_attention(q, k, v)
    assert last_backend() == "torch"
    pladis_attention(q, k, v, backend="entmax")
    assert last_backend() == "entmax"


def pretend_triton(monkeypatch: pytest.MonkeyPatch, error: Exception, calls: list[int]) -> None:
    """A machine where the fused kernel is chosen, and raises when it is run."""

    def attend(*args: object, **arguments: object) -> Tensor:
        calls.append(1)
        raise error

    monkeypatch.setattr(attention, "_triton_attend", lambda: attend)
    monkeypatch.setattr(attention, "_installed", lambda package: True)
    monkeypatch.setenv("TRITON_INTERPRET", "1")


def test_failing_kernel_falls_back_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    calls: list[int] = []
    pretend_triton(monkeypatch, RuntimeError("no C compiler\nmore"), calls)
    q, k, v = tensors()
    expected = reference(q, k, v)
    with caplog.at_level(logging.INFO, "pladis"):
        for _ in range(3):
            assert_matches(pladis_attention(q, k, v, backend="triton"), expected)
            assert last_backend() == "torch"
    assert calls == [1]
    (line,) = [record.getMessage() for record in caplog.records]
    assert "kernel triton failed (RuntimeError: no C compiler); using torch" in line
    attention.reset_backends()
    pladis_attention(q, k, v, backend="triton")
    assert calls == [1, 1]


def test_out_of_memory_is_raised_and_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    pretend_triton(monkeypatch, torch.cuda.OutOfMemoryError("full"), calls)
    q, k, v = tensors()
    for _ in range(2):
        with pytest.raises(torch.cuda.OutOfMemoryError):
            pladis_attention(q, k, v, backend="triton")
    assert calls == [1, 1]


def test_kernel_that_cannot_run_here_is_replaced_with_one_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(attention.entmax_package, "available", lambda: False)
    q, k, v = tensors()
    expected = reference(q, k, v)
    with caplog.at_level(logging.INFO, "pladis"):
        for backend in ("triton", "entmax", "triton", "entmax", "auto", "torch"):
            assert_matches(pladis_attention(q, k, v, backend=backend), expected)
            assert last_backend() == "torch"
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert "kernel triton cannot be used" in lines[0]
    assert "kernel entmax cannot be used (not installed); using torch" in lines[1]


class OnCuda:
    """What `choose_backend` looks at of a tensor on a GPU."""

    def __init__(self, *shape: int) -> None:
        self.shape = torch.Size(shape)
        self.device = torch.device("cuda")


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
    monkeypatch.setattr(attention, "_installed", lambda package: installed)
    query, key = OnCuda(2, 8, 64, 40), OnCuda(2, 8, keys, 40)
    assert choose_backend(query, key, key, backend=backend) == expected  # type: ignore[arg-type]


def test_library_imports_neither_triton_nor_a_host() -> None:
    code = (
        "import sys, torch, lib_pladis.attention\n"
        "names = ('triton', 'gradio', 'modules', 'entmax')\n"
        "loaded = [name for name in names if name in sys.modules]\n"
        "assert not loaded, loaded"
    )
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True)
