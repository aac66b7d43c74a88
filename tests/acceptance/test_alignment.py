"""benchmarks/alignment.py against the web UI, as a user runs it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks import alignment

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "alignment.py"


@pytest.fixture
def command(ui: Any, tmp_path: Path) -> Any:
    """Two prompts × two seeds, off and λ = 2, in a folder of its own; `count` prompts instead of two."""

    def make(count: int = 2, *more: Any) -> Any:
        size = f"{ui.size}x{ui.size}"
        return [
            sys.executable, str(SCRIPT), "--webui", ui.url, "--prompts", "playground", "--kinds", "one",
            "--per-kind", str(count), "--seeds", "2", "--batch", "2", "--scale", "2", "--size", size,
            "--sampler", "Euler", "--scheduler", "Karras", "--steps", "4", "--out", str(tmp_path / "out"), *more,
        ]  # fmt: skip

    return make


def lines(folder: Any) -> Any:
    return [json.loads(line) for line in (folder / "out" / "results.jsonl").read_text(encoding="utf-8").splitlines()]


def pair(one: Any, other: Any) -> bool:
    """Whether two results are of the same prompt and seed."""
    return (one["prompt"], one["seed"]) == (other["prompt"], other["seed"])


def refusal(command: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What a command that is refused says, run in this process: another takes seconds to import all it needs."""
    try:
        status: Any = alignment.main(command[2:])
    except SystemExit as ended:
        status = ended.code
    assert status == 2
    return capsys.readouterr().err


def test_a_run_and_the_same_run_again(command: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = subprocess.run(command(), capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    made = lines(tmp_path)
    assert len(made) == 8 and sum(one["point"]["scale"] == 0 for one in made) == 4
    for one in made:
        assert (tmp_path / "out" / one["picture"]).stat().st_size > 500
        assert set(one["scores"]) >= {"right", "all right", "binding", "position"}
    page = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    table = [line for line in page.splitlines() if line.startswith("|")]
    assert table[2].startswith("| off | 4 |") and table[3].startswith("| λ=2 α=1.5 | 4 |")
    assert "\n".join(table) in done.stdout
    whole = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    changed = any(on["scores"]["right"] != off["scores"]["right"] for off in made for on in made if pair(off, on))
    assert "λ=2 α=1.5" in whole and ("data:image/jpeg;base64," in whole) == changed
    again = subprocess.run(command(), capture_output=True, text=True, timeout=600)
    assert again.returncode == 0 and len(lines(tmp_path)) == 8, "nothing is drawn twice"
    assert "steps was 4, is 5" in refusal([*command(), "--steps", "5"], capsys)


def test_rescale_is_an_axis(command: Any, tmp_path: Path) -> None:
    done = subprocess.run(command(1, "--rescale", "0,1"), capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    made = lines(tmp_path)
    assert [one["point"]["rescale"] for one in made] == [0, 0, 0, 0, 1, 1]
    plain, steady = ((tmp_path / "out" / made[index]["picture"]).read_bytes() for index in (2, 4))
    assert plain != steady, "φ reaches the picture"
    assert "| φ=0 | 2 |" in done.stdout and "| φ=1 | 2 |" in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_ctrl_c_loses_nothing(command: Any, tmp_path: Path) -> None:
    running = subprocess.Popen(
        command(30),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.default_int_handler
        ),  # a job in the background ignores it
    )
    deadline = time.monotonic() + 300
    results = tmp_path / "out" / "results.jsonl"
    while not results.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=300)
    assert running.returncode == 130 and "goes on from here" in said
    kept = lines(tmp_path)
    assert 0 < len(kept) < 120
    assert subprocess.run(command(len(kept) // 4 + 1), timeout=600, capture_output=True).returncode == 0
    assert lines(tmp_path)[: len(kept)] == kept


@pytest.mark.parametrize(
    "more, said",
    [
        (["--webui", "http://127.0.0.1:9"], "no answer"),
        (["--scale", "7"], "Scale (λ) (scale): got 7.0, allowed: a number from 0 to 5"),
        (["--cfg", "abc"], "--cfg: got 'abc', allowed: numbers above 0"),
        (["--kinds", "nonsense"], "--kinds: got 'nonsense', allowed:"),
        (["--prompts", "nowhere.txt"], "--prompts: got 'nowhere.txt', allowed: playground, geneval, or a file"),
        (["--size", "big"], "--size: got 'big', allowed: WIDTHxHEIGHT"),
    ],
)
def test_mistakes_are_named(command: Any, capsys: pytest.CaptureFixture[str], more: list[str], said: str) -> None:
    assert said in refusal(command(1, *more), capsys)


def test_an_unknown_sampler_draws_nothing(
    ui: Any, command: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The playground refuses it; A1111, Forge and reForge would draw with their first one."""
    said = "status 4" if ui.kind == "playground" else "sampler 'Nonsense' was asked"
    assert said in refusal(command(1, "--sampler", "Nonsense"), capsys)
    results = tmp_path / "out" / "results.jsonl"
    assert not results.exists() or results.read_text(encoding="utf-8") == ""
