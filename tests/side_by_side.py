"""Parts of the suite side by side: each one's output in a log of its own, a line now and then, a summary at the end.

Standard library only: it runs on the Python that a newcomer has.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

EVERY = 20
"""Seconds from one line of what is going on to the next."""
TAIL = 150
"""Lines of a failed part's log that are printed at most."""


@dataclass(frozen=True)
class Part:
    """Commands that run one after another, for as long as none fails to start.

    `run` takes where output goes (None: where ours goes) and the tests to run instead of all of the part's, and returns
    whether all passed. `seconds` is what it takes on one of two quiet cores, `whole` with the long matrices.
    """

    name: str
    run: Callable[[Path | None, Sequence[str]], bool]
    seconds: int
    whole: int

    def estimate(self, whole: bool) -> int:
        return self.whole if whole else self.seconds


@dataclass
class Result:
    """How a part ended: `failed` are pytest's names of tests, `skipped` counts them by reason."""

    name: str
    passed: bool
    seconds: float
    log: Path
    words: str = ""
    failed: list[str] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)


def cores() -> int:
    """Of this machine, for this process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def clock(seconds: float) -> str:
    """4:07 for 247."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def duration(parts: Sequence[Part], lanes: int, whole: bool) -> int:
    """Seconds that `parts`, longest first, take on `lanes` at once."""
    busy = [0] * lanes
    for part in parts:
        busy[busy.index(min(busy))] += part.estimate(whole)
    return max(busy)


@contextlib.contextmanager
def live(say: Callable[[str], None], now: Callable[[], str]) -> Iterator[None]:
    """While it lasts, `say(now())` every 20 s, unless there is nothing to say."""
    over = threading.Event()

    def tell() -> None:
        while not over.wait(EVERY):
            if text := now():
                say(text)

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        over.set()
        teller.join()


def last_line(log: Path) -> str:
    """What a log's last line says, without pytest's rulers; "" where there is none."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.strip(" =")[:100] for line in reversed(lines) if line.strip(" =.")), "")


def at(log: Path) -> str:
    """How far a part is: pytest's percentage and test where there is one, else the log's last line."""
    line = last_line(log)
    with contextlib.suppress(OSError):
        done = re.findall(r"\[ *(\d+)%\]", log.read_text(encoding="utf-8", errors="replace"))
        test = line.split(" ")[0].split("::")
        if done or len(test) > 1:
            return f"{done[-1] if done else 0}% {'::'.join((Path(test[0]).name, *test[1:])) if len(test) > 1 else ''}"
    return line


def read(result: Result) -> Result:
    """With what pytest's short summary in the log says of failures and skips."""
    text = result.log.read_text(encoding="utf-8", errors="replace")
    broken = re.findall(r"^ERROR (tests/\S+\.py)(?: - |$)", text, re.M)  # could not be collected
    result.failed = broken + re.findall(r"^(tests/\S+?::.+?) (?:FAILED|ERROR) +\[", text, re.M)
    for count, reason in re.findall(r"^SKIPPED \[(\d+)\] \S+?:(?:\d+:)? (.+)$", text, re.M):
        result.skipped[reason] += int(count)
    result.words = ", ".join(re.findall(r"^=+ (\d+ .+?) in [\d.]+s", text, re.M))
    return result


def tail(log: Path) -> str:
    """What a log says from its first failure on, at most its last lines."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    start = next((i for i, line in enumerate(lines) if re.match(r"=+ (FAILURES|ERRORS) =+", line)), 0)
    return "\n".join(lines[start:][-TAIL:])


def run(
    parts: Sequence[Part],
    lanes: int,
    whole: bool,
    logs: Path,
    say: Callable[[str], None],
    done: Callable[[str], None] = lambda name: None,
) -> list[Result]:
    """Run `parts`, `lanes` at once, longest first; `done` is told each one's name when it has ended."""
    waiting = sorted(parts, key=lambda part: -part.estimate(whole))
    running: dict[str, float] = {}
    results: list[Result] = []
    lock, start = threading.Lock(), time.monotonic()
    logs.mkdir(exist_ok=True)
    (logs / ".gitignore").write_text("*\n")

    def now() -> str:
        with lock:
            names, left = list(running), len(waiting)
        told = [f"{name} {at(logs / f'{name}.log')}".strip() for name in names]
        return f"{clock(time.monotonic() - start)}  " + " | ".join([*told, *([f"{left} waiting"] if left else [])])

    def lane() -> None:
        while True:
            with lock:
                if not waiting:
                    return
                part = waiting.pop(0)
                running[part.name] = began = time.monotonic()
            say(f"{part.name}: started, about {clock(part.estimate(whole))}")
            log = logs / f"{part.name}.log"
            log.write_text("")
            try:
                passed = part.run(log, ())
            except Exception as error:  # noqa: BLE001  one part's end must not end the others
                passed = False
                with log.open("a") as file:
                    file.write(f"{type(error).__name__}: {error}\n")
            result = read(Result(part.name, passed, time.monotonic() - began, log))
            with lock:
                running.pop(part.name)
                results.append(result)
            say(f"{part.name}: {'passed' if passed else 'FAILED'} in {clock(result.seconds)}  {result.words}")
            if not passed:
                print(f"----- {log} -----\n{tail(log)}\n-----", flush=True)
            done(part.name)

    threads = [threading.Thread(target=lane) for _ in range(lanes)]
    with live(say, now):
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        except KeyboardInterrupt:
            waiting.clear()
            for thread in threads:  # what runs was interrupted too
                thread.join()
            raise
    return sorted(results, key=lambda result: [part.name for part in parts].index(result.name))


def summarize(results: Sequence[Result], again: str, say: Callable[[str], None]) -> bool:
    """Print every skip's reason, and the command of each failure alone; whether all passed."""
    skipped = sum((result.skipped for result in results), Counter[str]())
    for reason, count in skipped.most_common():
        say(f"skipped {count}: {reason}")
    for result in results:
        say(f"{result.name}: {'passed' if result.passed else 'FAILED'} in {clock(result.seconds)}  {result.words}")
    for result in results:
        if not result.passed:
            for test in result.failed or [""]:
                command = ["--only", result.name, *([test] if test else [])]
                joined = subprocess.list2cmdline(command) if os.name == "nt" else shlex.join(command)
                say(f"to repeat: {again} {joined}")
    failed = sum(not result.passed for result in results)
    print(f"{len(results) - failed} passed, {failed} failed", flush=True)
    return failed == 0


def call(command: Sequence[str], log: Path | None, cwd: Path, variables: dict[str, str]) -> bool:
    """One command, its output appended to `log`; whether it succeeded."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", **variables}
    if log is None:
        return subprocess.run(command, cwd=cwd, env=environment, check=False).returncode == 0
    with log.open("ab") as output:
        output.write(f"$ {subprocess.list2cmdline(command[1:])}\n".encode())
        output.flush()
        return (
            subprocess.run(command, cwd=cwd, env=environment, check=False, stdout=output, stderr=output).returncode == 0
        )
