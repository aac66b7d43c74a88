"""tests/side_by_side.py: what a part's log says, how long parts take, and the command that repeats a failure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests import side_by_side
from tests.side_by_side import Part, Result

LOG = """\
tests/unit/test_a.py::test_one PASSED                [ 25%]
tests/unit/test_a.py::test_two[a b - c] FAILED       [ 50%]
tests/unit/test_a.py::test_three ERROR               [ 75%]
=================================== FAILURES ===================================
the reason
=========================== short test summary info ============================
SKIPPED [2] tests/unit/test_a.py:6: no card: here
ERROR tests/unit/test_b.py - ImportError: no module
============== 1 failed, 1 passed, 2 skipped in 36.95s (0:00:36) ===============
"""


def part(name: str, seconds: int, passes: bool = True, says: str = "") -> Part:
    def run(log: Path | None, tests: Sequence[str]) -> bool:
        assert log is not None and not tests
        log.write_text(says)
        if not says:
            raise OSError("no such tool")
        return passes

    return Part(name, run, seconds, 10 * seconds)


def test_the_longest_come_first_and_share_the_lanes() -> None:
    parts = [part("a", 50), part("b", 30), part("c", 30)]
    assert [side_by_side.duration(parts, lanes, False) for lanes in (1, 2, 3)] == [110, 60, 50]
    assert side_by_side.duration(parts, 2, True) == 600


def test_each_failure_has_its_command_and_each_skip_its_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []
    parts = [part("a", 1, False, LOG), part("b", 2, True, "= 3 passed in 1.0s =\n"), part("c", 3)]
    ended: list[str] = []
    results = side_by_side.run(parts, 1, False, tmp_path, said.append, ended.append)
    assert ended == ["c", "b", "a"], "longest first"
    assert [(each.name, each.passed, each.words) for each in results] == [
        ("a", False, "1 failed, 1 passed, 2 skipped"),
        ("b", True, "3 passed"),
        ("c", False, ""),
    ]
    shown = capsys.readouterr().out
    assert "the reason" in shown and "test_one" not in shown and "OSError: no such tool" in shown
    said.clear()
    assert not side_by_side.summarize(results, "python tests/run.py", said.append)
    assert said[0] == "skipped 2: no card: here"
    assert [line for line in said if line.startswith("to repeat")] == [
        "to repeat: python tests/run.py --only a tests/unit/test_b.py",
        "to repeat: python tests/run.py --only a 'tests/unit/test_a.py::test_two[a b - c]'",
        "to repeat: python tests/run.py --only a tests/unit/test_a.py::test_three",
        "to repeat: python tests/run.py --only c",
    ]


def test_how_far_a_part_is(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    assert side_by_side.at(log) == ""
    log.write_text("$ -m mypy\n")
    assert side_by_side.at(log) == "$ -m mypy"
    log.write_text(LOG.split("FAILED")[0])
    assert side_by_side.at(log) == "25% test_a.py::test_two[a"
    assert Result("a", True, 1.0, log).skipped == {}
