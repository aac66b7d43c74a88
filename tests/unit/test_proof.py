"""A kernel is used once it has been right on this device, and where it is the quicker one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lib_pladis.attention import attend
from lib_pladis.json_file import JsonFile
from lib_pladis.kernels import proof
from lib_pladis.kernels.base import Result
from lib_pladis.kernels.choice import Kernels
from lib_pladis.kernels.proof import Proofs
from lib_pladis.math.rule import Mix
from tests.inputs import tensors
from tests.oracle import entmax_by_bisection

ROOT = Path(__file__).parents[2]


def clock(*times: float) -> Callable[..., float]:
    """Says these times, the candidate's and the chunked kernel's, instead of the time that a run takes."""
    left = [time for time in times for _ in range(3)]

    def seconds(run: Callable[[], object], device: torch.device) -> float:
        run()
        return left.pop(0)

    return seconds


def proofs(*times: float, file: JsonFile | None = None) -> Proofs:
    return Proofs(file, clock(*(times or (1e-3, 2e-3)) * 20))


def one_row(result: Result) -> None:
    result.out[-1, -1, 3] = result.out[-1, -1, 4]


def two_percent(result: Result) -> None:
    result.out *= 1.02


def nan(result: Result) -> None:
    result.out[0, 0, 0, 0] = float("nan")


def boom(result: Result) -> None:
    raise RuntimeError("no C compiler\nmore")


def other_shape(result: Result) -> Result:
    return replace(result, out=result.out[:, :1])


@pytest.mark.parametrize(
    ("dtype", "mix"),
    [
        (torch.float16, Mix()),
        (torch.bfloat16, Mix()),
        (torch.float32, Mix()),
        (torch.float16, Mix(5.0, 1.25)),
        (torch.bfloat16, Mix(-0.5, 2.0, 0.7, change=True)),
        (torch.float16, Mix(rescale=0.6)),
    ],
)
@pytest.mark.parametrize(
    ("what", "why"),
    [
        (lambda result: None, ""),
        (one_row, "off by"),
        (two_percent, "off by"),
        (nan, "not finite"),
        (boom, "RuntimeError: no C compiler"),
        (other_shape, "(2, 1, 90, 64)"),
    ],
)
def test_only_what_is_right_is_used(stand_in: Any, what: Any, why: str, mix: Mix, dtype: torch.dtype) -> None:
    kernel = stand_in(what)
    said: list[str] = []
    kernels = Kernels("auto", said.append, proofs())
    arguments = (*tensors(2, 2, 90, 77, 64, dtype, 1.0), mix)
    expected = attend(Kernels("torch"), *arguments).out
    results = [attend(kernels, *arguments) for _ in range(3)]
    assert [result.kernel for result in results] == ["torch", *["torch" if why else "triton"] * 2]
    assert all(torch.allclose(result.out, expected, 0.0, 1e-5) for result in results)
    assert "trying kernel triton" in said[0] and len(said) == 1 + bool(why)
    assert why in said[-1] and (why in results[2].note if why else "proved here: 1 ms, torch 2 ms" in results[2].note)
    assert kernel.calls == (1 if why else 1 + 3 + 2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("mix", [Mix(), Mix(5.0), Mix(1.0, change=True), Mix(2.0, 1.05, change=True)])
@pytest.mark.parametrize("sigma", [0.3, 1.0, 3.0])
def test_rounding_weights_is_right(stand_in: Any, dtype: torch.dtype, mix: Mix, sigma: float) -> None:
    """As fused kernels do for their second product."""
    query, key, value = tensors(2, 2, 90, 77, 64, dtype, sigma**0.5)
    logits = query.double() @ key.double().transpose(2, 3) * 64**-0.5
    sparse, dense = entmax_by_bisection(logits, mix.alpha), torch.softmax(logits, -1)
    weights = (mix.scale * sparse + mix.dense * dense).to(dtype).double()
    rounded = (weights @ value.double()).to(dtype)
    stand_in(lambda result: replace(result, out=rounded))
    kernels = Kernels("auto", lambda line: None, proofs())
    _, second = (attend(kernels, query, key, value, mix) for _ in range(2))
    assert second.kernel == "triton", second.note


def test_the_quicker_one_is_kept_and_one_asked_for_by_its_name_need_not_be(stand_in: Any) -> None:
    stand_in()
    found = proofs(2e-3, 1e-3)
    for name, kernel in (("auto", "torch"), ("triton", "triton")):
        kernels = Kernels(name, lambda line: None, found)
        results = [attend(kernels, *tensors(), Mix()) for _ in range(2)]
        assert results[1].kernel == kernel
    assert "slower here: 2 ms, torch 1 ms" in attend(Kernels("auto", proofs=found), *tensors(), Mix()).note


def test_numbers_make_no_new_kind_and_shapes_of_one_class_share_a_proof(stand_in: Any) -> None:
    kernel = stand_in()
    found = proofs()
    query, key, value = tensors(2, 2, 90, 77, 64)
    for scale in (0.3, 1.0, 2.0, 5.0):
        for number in (0.7, 1.3):
            attend(Kernels("auto", lambda line: None, found), query, key, value, Mix(scale, 1.5, number))
    proved = len(kernel.plans) - 7  # each generation plans once
    assert proved == 1
    before = kernel.calls
    attend(
        Kernels("auto", lambda line: None, found),
        query[:, :, :70],
        key[:, :, :70],
        value[:, :, :70],
        Mix(2.0, 1.5, 0.7),
    )
    assert kernel.calls == before + 1


def test_memory_that_is_short_for_a_moment_is_no_verdict(stand_in: Any, tmp_path: Path) -> None:
    full = [True]

    def memory(result: Result) -> None:
        if full.pop() if full else False:
            raise torch.cuda.OutOfMemoryError("full")

    stand_in(memory)
    file = JsonFile(lambda: tmp_path / "kernels.json")
    kernels = Kernels("auto", lambda line: None, proofs(file=file))
    assert [attend(kernels, *tensors(), Mix()).kernel for _ in range(3)] == ["torch", "torch", "triton"]

    def noted(result: Any) -> Any:
        full.append(True)
        return memory(result)

    always = stand_in(noted)
    kernels = Kernels("auto", lambda line: None, proofs())
    assert {attend(kernels, *tensors(), Mix()).kernel for _ in range(5)} == {"torch"}
    assert always.calls == proof.TRIES, "not tried for ever"


@pytest.mark.parametrize(
    ("error", "calls"), [(RuntimeError("launch failed"), 1), (RuntimeError("Triton Error [CUDA]: out of memory"), 3)]
)
def test_one_that_fails_later_is_replaced_and_only_memory_is_tried_again(
    stand_in: Any, error: Exception, calls: int
) -> None:
    def fails(result: Result) -> None:
        if kernel.calls > 4:  # those of the proof
            raise error

    kernel = stand_in(fails)
    said: list[str] = []
    kernels = Kernels("auto", said.append, proofs())
    assert [attend(kernels, *tensors(), Mix()).kernel for _ in range(4)] == ["torch"] * 4
    assert kernel.calls == 4 + calls and len(said) == 2 and str(error) in said[1]


def test_torchs_out_of_memory_is_raised(stand_in: Any, proved: None) -> None:
    def memory(result: Result) -> None:
        raise torch.cuda.OutOfMemoryError("full")

    stand_in(memory)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        attend(Kernels(), *tensors(), Mix())


def test_nothing_is_concluded_from_nothing(stand_in: Any) -> None:
    kernel = stand_in()
    query, key, value = tensors()
    kernels = Kernels("auto", lambda line: None, proofs())
    for odd in (torch.zeros_like(value), torch.full_like(value, float("nan"))):
        attend(kernels, query, key, odd, Mix())
    attend(kernels, query[:, :, :0], key, value, Mix())
    assert kernel.calls == 0
    attend(kernels, query, key, value, Mix())
    assert attend(kernels, query, key, value, Mix()).kernel == "triton"


def test_log_sum_exp_is_proved_as_well(stand_in: Any) -> None:
    def shifted(result: Result) -> None:
        if result.lse is not None:
            result.lse += 0.01

    stand_in(shifted)
    kernels = Kernels("auto", lambda line: None, proofs())
    arguments = (*tensors(), Mix(change=True), None, None, True)
    assert [attend(kernels, *arguments).kernel for _ in range(2)] == ["torch"] * 2


def test_verdicts_are_kept_for_the_next_start(stand_in: Any, tmp_path: Path) -> None:
    file = JsonFile(lambda: tmp_path / "kernels.json")
    kernel = stand_in()
    attend(Kernels("auto", lambda line: None, proofs(file=file)), *tensors(), Mix())
    calls = kernel.calls
    assert attend(Kernels("auto", proofs=proofs(file=file)), *tensors(), Mix()).kernel == "triton"
    assert kernel.calls == calls + 1, "not proved again"
    (place,) = json.loads((tmp_path / "kernels.json").read_text())
    assert "cpu" in place and torch.__version__ in place and "PLADIS 0" in place
    stand_in(boom)
    other = tensors(keys=40)
    attend(Kernels("auto", lambda line: None, proofs(file=file)), *other, Mix())
    result = attend(Kernels("auto", proofs=proofs(file=file)), *other, Mix())
    assert result.kernel == "torch" and "no C compiler" in result.note


@pytest.mark.parametrize("content", ["[1]", "{", '{"%s": {"triton": {"x": 3}}}', '{"%s": 7}', None])
def test_a_file_that_is_broken_or_cannot_be_written_costs_nothing(
    stand_in: Any, tmp_path: Path, content: str | None
) -> None:
    stand_in()
    path = tmp_path / "kernels.json"
    if content is None:
        path.mkdir()
    else:
        path.write_text(content.replace("%s", proof.environment(torch.device("cpu"))))
    kernels = Kernels("auto", lambda line: None, proofs(file=JsonFile(lambda: path)))
    assert [attend(kernels, *tensors(), Mix()).kernel for _ in range(2)] == ["torch", "triton"]


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from lib_pladis.attention import attend
from lib_pladis.json_file import JsonFile
from lib_pladis.kernels import choice
from lib_pladis.kernels.choice import Kernels
from lib_pladis.kernels.proof import Proofs
from lib_pladis.math.rule import Mix
from tests.inputs import tensors
from tests.oracle import entmax_by_bisection
from tests.kernels import StandIn
choice.AUTO["cpu"] = (StandIn(lambda result: os.kill(os.getpid(), signal.SIGKILL)),)
kernels = Kernels(proofs=Proofs(JsonFile(lambda: Path(sys.argv[1]))))
for _ in range(2):
    result = attend(kernels, *tensors(), Mix())
print(result.note)
"""


def test_a_kernel_that_takes_the_process_with_it_is_not_tried_for_ever(tmp_path: Path) -> None:
    def start() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", KILLED, str(tmp_path / "kernels.json")]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert [start().returncode for _ in range(proof.TRIES)] == [-9] * proof.TRIES
    third = start()
    assert third.returncode == 0 and "the process ended while it was being tried" in third.stdout, third.stderr
