"""Check my card: on this machine's CPU, with kernels that are right, wrong, raise, hang, and kill their process."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from lib_pladis import check
from lib_pladis.check import Case, Row
from lib_pladis.webui.card import Card

NAMES = ("good", "off", "boom", "dies", "hangs")

CHILD = """
import os, signal, time
from lib_pladis import check
from lib_pladis.kernels.choice import KERNELS
from tests.kernels import StandIn

def two_percent(result):
    result.out *= 1.02

def boom(result):
    raise RuntimeError("no C compiler")

def dies(result):
    print("an illegal memory access", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

KERNELS.clear()
for name, what in zip({NAMES}, (lambda result: None, two_percent, boom, dies, lambda result: time.sleep(600))):
    KERNELS[name] = StandIn(what)
    KERNELS[name].name = name
check.cases = lambda: [*(check.Case(name, 160) for name in KERNELS), check.Case("good", 160, joint=True)]
check.main()
""".replace("{NAMES}", repr(NAMES))


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The child's command; the parent knows of the same cases, and has little patience."""
    cases = [*(Case(name, 160) for name in NAMES), Case("good", 160, joint=True)]
    monkeypatch.setattr(check, "cases", lambda: cases)
    monkeypatch.setattr(check, "PATIENCE", 15.0)
    return [sys.executable, "-c", CHILD]


def test_what_ends_or_hangs_costs_its_case_and_nothing_else(few: list[str], capsys: Any) -> None:
    card = Card(few)
    card.device = "cpu"
    text = card.text()
    *rows, last = card._rows
    good, off, boom, dies, hangs = rows
    for row in (good, last):
        assert not row.wrong and row.error < 1e-2 and row.microseconds > 0 and row.against_sdpa > 0
    assert "off by" in off.wrong
    assert boom.wrong == "RuntimeError: no C compiler"
    assert dies.wrong == "the process ended (SIGKILL: an illegal memory access)"
    assert hangs.wrong == "the process ended (SIGKILL)"
    assert text.count("| right |") == 2 and "SIGKILL" in text
    answer = json.loads(json.dumps(card.as_dict(), allow_nan=False))
    assert (answer["running"], answer["done"], answer["cases"], len(answer["rows"])) == (False, 6, 6, 6)
    assert answer["text"] == text and "an illegal memory access" in capsys.readouterr().out


def test_the_matrix_holds_every_option() -> None:
    cases = check.cases()
    assert {case.dim for case in cases} == {40, 64, 80, 128, 160}
    assert {case.keys for case in cases} == {77, 154, 231, 512}
    assert {case.dtype for case in cases} == {"fp16", "bf16", "fp32"}
    assert {case.alpha for case in cases} == {1.25, 1.5, 1.75, 2.0}
    assert {case.mask for case in cases} == {"none", "keys", "bool", "float"}
    assert {case.kernel for case in cases} == set(check.KERNELS)
    assert any(case.joint for case in cases) and any(case.rescale for case in cases)


def test_the_text_says_what_was_left_out_and_not_reached() -> None:
    left = [Row(Case("triton", keys=keys), left_out="Triton is not installed") for keys in check.KEYS]
    text = check.text("cpu", left)
    assert "Left out, 4 problems: triton: Triton is not installed" in text
    assert f"{len(check.cases()) - 4} cases were not reached" in text


@pytest.mark.parametrize("changes", [{}, {"alpha": 1.25}, {"mask": "float"}, {"rescale": 0.5}, {"joint": True}])
def test_exact_is_the_oracles(changes: dict[str, Any]) -> None:
    import torch

    from tests.oracle import reference

    case = Case("torch", 40, 77, "fp32", **changes)
    arguments = check.inputs(case, torch.device("cpu"))
    rows = slice(None, None, 8)
    found = check.exact(arguments, rows, torch.float64)
    query, key, value, mask, mix, scale = arguments
    known: dict[str, Any] = {"alpha": case.alpha, "attn_mask": mask, "scale": scale}
    wanted, dense = reference(query, key, value, **known), reference(query, key, value, pladis_scale=0.0, **known)
    wanted = wanted * (
        1 - mix.rescale + mix.rescale * dense.norm(dim=-1, keepdim=True) / wanted.norm(dim=-1, keepdim=True)
    )
    wanted = wanted - dense if mix.change else wanted
    assert (found.out - wanted[:1, :, rows]).abs().max() < 1e-9


def test_module_runs_as_a_program(tmp_path: Path) -> None:
    import subprocess

    command = [sys.executable, "-m", "lib_pladis.check", "--device", "cpu", "--minutes", "0"]
    done = subprocess.run(command, cwd=check.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "cases were not reached" in done.stdout and "torch" in done.stdout, done.stderr
