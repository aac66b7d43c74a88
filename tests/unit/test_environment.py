"""playground/environment.py: what pip is asked for, and what is said of it."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from playground import environment
from playground.environment import TORCH, Environment, download, find_python

PLAIN, CPU = f"torch=={TORCH}", f"torch=={TORCH}+cpu"


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """An environment whose pip calls are kept, not made; those with a word of `failing` fail."""
    made = Environment(tmp_path, [], [], lambda text: made_said.append(text))
    made_said: list[str] = []
    calls: list[tuple[str, ...]] = []
    failing: set[str] = set()

    def call(self: Any, what: Any, *arguments: Any) -> Any:
        calls.append(arguments)
        return "pip's words" if failing & set(arguments) else None

    monkeypatch.setattr(Environment, "_try_pip", call)
    monkeypatch.setattr(environment, "brings_cuda", lambda: True)
    monkeypatch.setattr(environment, "has_nvidia", lambda: False)
    with_free(monkeypatch, 100)
    return made, calls, failing, made_said


def with_free(monkeypatch: pytest.MonkeyPatch, gigabytes: float) -> None:
    usage = SimpleNamespace(free=gigabytes * 1e9)
    monkeypatch.setattr(environment.shutil, "disk_usage", lambda folder: usage)


def test_linux_without_a_card_gets_the_cpu_build(pip: Any) -> None:
    made, calls, _, _ = pip
    made._torch()
    assert calls[0][-1] == CPU and environment.CPU_BUILDS in calls[0]
    assert calls[1] == (PLAIN,), "which the CPU build satisfies: only what it needs is left"


def test_without_the_cpu_builds_pypis_is_taken_and_its_size_said(pip: Any) -> None:
    made, calls, failing, said = pip
    failing.add(CPU)
    made._torch()
    assert calls[-1] == (PLAIN,)
    assert environment.CUDA_SIZE in said[-1]


def test_pypis_is_not_begun_where_the_disk_cant_hold_it(
    pip: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made, calls, failing, _ = pip
    failing.add(CPU)
    with_free(monkeypatch, 3.2)
    with pytest.raises(SystemExit, match=r"needs 7\.5 GB; .* has 3\.2 GB free"):
        made._torch()
    assert [call[-1] for call in calls] == [CPU]
    assert "pip's words" in capsys.readouterr().out


@pytest.mark.parametrize("name, value", [("brings_cuda", False), ("has_nvidia", True)])
def test_other_systems_and_cards_get_pypis(pip: Any, monkeypatch: pytest.MonkeyPatch, name: str, value: Any) -> None:
    made, calls, _, _ = pip
    monkeypatch.setattr(environment, name, lambda: value)
    made._torch()
    assert calls == [(PLAIN,)]


def test_failure_ends_with_pips_words(pip: Any, capsys: pytest.CaptureFixture[str]) -> None:
    made, _, failing, _ = pip
    failing.update((CPU, PLAIN))
    with pytest.raises(SystemExit, match="could not install torch"):
        made._torch()
    assert "pip's words" in capsys.readouterr().out


@pytest.mark.parametrize(
    "line, said",
    [
        (
            "  Downloading torch-2.13.0-cp313-cp313-manylinux_2_28_x86_64.whl (526.6 MB)\n",
            ("torch", 526.6),
        ),
        (
            "  Downloading https://host/whl/nvidia_nccl_cu13-2.29.7-py3.whl (1.2 GB)",
            ("nvidia_nccl_cu13", 1200),
        ),
        ("Downloading six-1.16.0-py2.py3-none-any.whl (11 kB)", ("six", 0.011)),
        ("  Downloading six-1.16.0-py2.py3-none-any.whl.metadata (2 kB)", ("six", 0.002)),
        ("Collecting torch", None),
    ],
)
def test_downloads_are_read(line: str, said: tuple[str, float] | None) -> None:
    assert download(line) == said


def test_another_python_makes_the_tests_environment_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stays, anew = (Environment(tmp_path, [], [], print, same_python=same) for same in (False, True))
    before = stays._wanted(), anew._wanted()
    monkeypatch.setattr(sys, "version_info", (3, 12, 1))
    assert stays._wanted() == before[0]
    assert anew._wanted() != before[1]


def test_the_python_that_runs_is_taken_where_it_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_python() == sys.executable
    monkeypatch.setattr(sys, "version_info", (3, 9, 0))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit, match=r"needs Python 3\.10 to 3\.13"):
        find_python()
