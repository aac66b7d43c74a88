#!/usr/bin/env python3
"""All tests, set-up included.

    python tests/run.py                                  everything, on the pins of both hosts
    python tests/run.py --whole                          with the long matrices
    python tests/run.py --only gpu --whole --part 2/5    with the second fifth of the compilers
    python tests/run.py --only unit                      one part: --help lists them
    python tests/run.py --only unit tests/unit/test_sparse.py::test_dim       some of its tests, in the terminal
    python tests/run.py --webui http://127.0.0.1:7860    the acceptance and browser tests against a running web UI

Parts run side by side, one a core; each writes a log in `tests/.logs`. The environments are made in `tests/` on the
first run, with the Python that runs this (3.10 to 3.13). Chromium is taken from the PATH; on Debian, as root, it is
installed if it is missing. With CI set, a missing browser is a failure, and what no later part needs is removed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TESTS, PLAYGROUND = ROOT / "tests", ROOT / "playground"
sys.path.insert(0, str(ROOT))

from playground import server  # noqa: E402
from playground.environment import Environment, has_nvidia  # noqa: E402
from tests import side_by_side  # noqa: E402
from tests.side_by_side import Part, clock, cores  # noqa: E402

_printing = threading.Lock()
doing: dict[str, str] = {}
"""What is being set up, by name: the last line of each."""


def say(text: str) -> None:
    with _printing:
        print(f"tests: {text}", flush=True)


def telling(name: str) -> Callable[[str], None]:
    """`say` for an environment, whose last word is repeated while it is busy."""

    def tell(text: str) -> None:
        doing[name] = text
        say(f"{name}: {text}")

    return tell


NO_DEPS = [PLAYGROUND / "requirements-nodeps.txt"]
GRADIO3 = Environment(
    TESTS / ".venv-gradio3",
    [PLAYGROUND / "requirements.txt", TESTS / "requirements.txt", TESTS / "requirements-gradio3.txt"],
    NO_DEPS,
    telling("gradio 3"),
    same_python=True,
)
GRADIO4 = Environment(
    TESTS / ".venv-gradio4",
    [TESTS / "requirements-gradio4.txt", TESTS / "requirements.txt"],
    [],
    telling("gradio 4"),
    same_python=True,
)
PAGE = Environment(PLAYGROUND / ".venv", [PLAYGROUND / "requirements.txt"], NO_DEPS, telling("playground"))
COMPILERS = TESTS / ".cache" / "compilers"

SIZES = {GRADIO3.folder: (0.7, 2.4, 150), GRADIO4.folder: (0.4, 1.4, 100), PAGE.folder: (0.4, 1.3, 80)}
"""GB to download, GB on disk and seconds of each environment."""


def pytest(
    environment: Environment, targets: Sequence[str], log: Path | None, tests: Sequence[str], *options: str
) -> bool:
    """`tests`, or all of `targets`, in this environment; True if all passed. Without a log: to the terminal."""
    command = [str(environment.python), "-m", "pytest", *(["-v"] if log else []), *(tests or targets), *options]
    return side_by_side.call(command, log, ROOT, {"PYTHONPATH": str(ROOT), **variables()})


def variables() -> dict[str, str]:
    """For the tests: a thread each, as parts share the cores; Triton's interpreter where no card runs its kernels."""
    threads = {} if "OMP_NUM_THREADS" in os.environ else {"OMP_NUM_THREADS": "1"}
    return threads if has_nvidia() else {**threads, "TRITON_INTERPRET": "1"}


def lint(log: Path | None, tests: Sequence[str]) -> bool:
    results = [
        side_by_side.call([str(GRADIO3.python), "-m", *tool], log, ROOT, {"PYTHONPATH": str(ROOT)})
        for tool in (["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"])
    ]
    return all(results)


def on_playground(targets: Sequence[str], log: Path | None, tests: Sequence[str]) -> bool:
    """`targets` against a playground with a data folder of its own, whose output goes to a log of its own."""
    with ExitStack() as held:
        data = held.enter_context(tempfile.TemporaryDirectory())
        output = None if log is None else held.enter_context(log.with_suffix(".server.log").open("wb"))
        url = held.enter_context(server.serving("--data-dir", data, output=output))
        return pytest(GRADIO3, targets, log, tests, "--webui", url)


ACCEPTANCE = ["tests/acceptance"]
BROWSER = [f"tests/browser/test_{name}.py" for name in ("webui", "compare", "look", "blind", "newcomer")]
PANEL = ["tests/panel"]

PARTS = [
    Part("lint", lint, 45, 45),
    Part("unit", partial(pytest, GRADIO3, ["tests/unit"]), 250, 300),
    Part("host", partial(pytest, GRADIO3, ["tests/host"]), 30, 60),
    Part("gpu", partial(pytest, GRADIO3, ["tests/gpu"]), 45, 600),
    Part("networks", partial(pytest, GRADIO4, ["tests/models"]), 60, 60),
    Part("panel-gradio3", partial(pytest, GRADIO3, [*PANEL, "tests/browser/test_report.py"]), 330, 330),
    Part("panel-gradio4", partial(pytest, GRADIO4, [*PANEL, "tests/unit/test_settings.py"]), 330, 330),
    Part("playground-http", partial(on_playground, ACCEPTANCE), 145, 170),
    Part("playground-browser", partial(on_playground, BROWSER), 200, 200),
]
"""In seconds on one of two quiet cores: without and with the long matrices."""

ON_GRADIO4 = {"networks", "panel-gradio4"}
IN_BROWSER = {"panel-gradio3", "panel-gradio4", "playground-browser"}


def environments(parts: Sequence[Part], whole: bool) -> list[Environment]:
    """What `parts` run in. The playground takes gradio 3's, which has all that it needs; with `whole` its own."""
    names = {part.name for part in parts}
    own = whole and any(name.startswith("playground") for name in names)
    needs = [(GRADIO3, names - ON_GRADIO4), (GRADIO4, names & ON_GRADIO4), (PAGE, own)]
    return [environment for environment, needed in needs if needed]


def find_browser() -> str:
    """Chromium or Chrome: the one that CHROMIUM names, else one on the PATH; "" without any."""
    names = [os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome"]
    return next((path for path in map(shutil.which, filter(None, names)) if path), "")


def installs_browser() -> bool:
    """Whether a browser is missing that can be installed here."""
    return not find_browser() and shutil.which("apt-get") is not None and os.name == "posix" and os.geteuid() == 0


def chromium() -> bool:
    """A browser, installed by apt where this may do so. Without one the browser tests are skipped by name.

    False where that is a failure: in CI.
    """
    if installs_browser():
        for command in (["update"], ["install", "-y", "--no-install-recommends", "chromium"]):
            telling("Chromium")(f"apt-get {' '.join(command)} ...")
            done = subprocess.run(["apt-get", "-q", *command], check=False, capture_output=True, text=True)
            if done.returncode != 0:
                print(done.stdout + done.stderr)
        doing.pop("Chromium", None)
    if find_browser():
        return True
    say("no Chromium, which can't be installed here: browser tests are skipped; install it, or name one in CHROMIUM")
    return not os.environ.get("CI")


def announce(parts: Sequence[Part], lanes: int, whole: bool) -> None:
    """How long it takes, and what has to be downloaded first."""
    missing = [each for each in environments(parts, whole) if not each.is_ready]
    loads = [f"{each.folder.relative_to(ROOT)} ({SIZES[each.folder][0]} GB, {SIZES[each.folder][1]} on disk)"
             for each in missing]  # fmt: skip
    if any(part.name in IN_BROWSER for part in parts) and installs_browser():
        loads.append("Chromium (100 MB)")
    if any(part.name == "gpu" for part in parts) and not COMPILERS.exists():
        loads.append("compilers for GPUs (2.3 GB, 7 on disk)" if whole else "compilers for GPUs (0.6 GB, 2.2 on disk)")
    seconds = side_by_side.duration(sorted(parts, key=lambda part: -part.estimate(whole)), lanes, whole)
    setup = sum(SIZES[each.folder][2] for each in missing)
    names = ", ".join(part.name for part in parts)
    say(f"{names}: about {clock(seconds + setup)} on {lanes} quiet core{'s' * (lanes > 1)}")
    say(f"to download: {', '.join(loads) or 'nothing'}")


def set_up(parts: Sequence[Part], whole: bool) -> bool:
    """The environments and the browser that `parts` need, side by side. Raises SystemExit with pip's words."""

    def ensure(environment: Environment) -> None:
        environment.ensure()
        doing.clear()

    start = time.monotonic()
    tasks: list[Callable[[], object]] = [partial(ensure, each) for each in environments(parts, whole)]
    with side_by_side.live(say, lambda: " | ".join([clock(time.monotonic() - start), *doing.values()])):
        with ThreadPoolExecutor() as pool:
            waiting = [pool.submit(task) for task in tasks]
        browser = chromium() if any(part.name in IN_BROWSER for part in parts) else True
        for each in waiting:
            each.result()
    return browser


def removing(parts: Sequence[Part]) -> Callable[[str], None]:
    """For CI, whose disk may be small: removes what none of the parts needs any more, several GB, after each part."""
    left = {part.name for part in parts}

    def done(name: str) -> None:
        left.discard(name)
        if not os.environ.get("CI"):
            return
        if name == "gpu":
            shutil.rmtree(COMPILERS, ignore_errors=True)
        if name in ON_GRADIO4 and not left & ON_GRADIO4:
            shutil.rmtree(GRADIO4.folder, ignore_errors=True)

    return done


def a_part(text: str) -> str:
    """K/N with K from 1 to N."""
    first, _, step = text.partition("/")
    if first.isdecimal() and step.isdecimal() and 1 <= int(first) <= int(step):
        return text
    raise argparse.ArgumentTypeError(f"got {text!r}, allowed: K/N with K from 1 to N, such as 2/5")


def main() -> int:
    groups = {part.name.split("-")[0] for part in PARTS} | {part.name for part in PARTS}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tests", nargs="*", help="with --only or --webui: these instead of all of it")
    parser.add_argument("--only", choices=sorted(groups), metavar="PART", help=", ".join(sorted(groups)))
    parser.add_argument("--whole", action="store_true", help="with the long matrices")
    parser.add_argument(
        "--part", type=a_part, metavar="K/N", help="with --whole: part K of N of the compilers for GPUs"
    )
    parser.add_argument("--webui", metavar="URL", help="test this running web UI instead")
    options = parser.parse_args()
    if options.tests and not (options.only or options.webui):
        parser.error("tests are named with --only PART, whose environment they run in, or with --webui")
    if options.part and not options.whole:
        parser.error("--part goes with --whole")
    if options.whole:
        os.environ |= {"PLADIS_TESTS_WHOLE": "1", "PLADIS_TESTS_PART": options.part or "1/1"}
    else:
        os.environ[server.PYTHON] = str(GRADIO3.python)
    if options.webui:
        GRADIO3.ensure()
        targets = [*ACCEPTANCE, *BROWSER]
        return 0 if chromium() and pytest(GRADIO3, targets, None, options.tests, "--webui", options.webui) else 1
    parts = [part for part in PARTS if options.only in (None, part.name, part.name.split("-")[0])]
    lanes = min(len(parts), cores())
    announce(parts, lanes, options.whole)
    browser = set_up(parts, options.whole)
    if options.tests:
        return 0 if all([part.run(None, options.tests) for part in parts]) else 1
    results = side_by_side.run(parts, lanes, options.whole, TESTS / ".logs", say, removing(parts))
    if not browser:
        results = [replace(each, passed=each.passed and each.name not in IN_BROWSER) for each in results]
    again = f"{Path(sys.executable).name} tests/run.py{' --whole' if options.whole else ''}"
    return 0 if side_by_side.summarize(results, again, say) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
