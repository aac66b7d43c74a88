#!/usr/bin/env python3
"""All tests, set-up included.

    python tests/run.py                                  everything, on the pins of both hosts
    python tests/run.py --only unit                      one part: lint, unit, gpu, networks, panel, playground
    python tests/run.py --webui http://127.0.0.1:7860    the acceptance and browser tests against a running web UI

The environments are made in `tests/` on the first run, with the Python that runs this (3.10 to 3.13). Chromium is
taken from the PATH; on Debian, as root, it is installed if it is missing. With CI set, a missing browser is a
failure, and what one part alone needs is removed after it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TESTS, PLAYGROUND = ROOT / "tests", ROOT / "playground"
sys.path.insert(0, str(ROOT))

from playground import server  # noqa: E402
from playground.environment import Environment  # noqa: E402


def say(text: str) -> None:
    print(f"tests: {text}", flush=True)


NO_DEPS = [PLAYGROUND / "requirements-nodeps.txt"]
GRADIO3 = Environment(
    TESTS / ".venv-gradio3",
    [PLAYGROUND / "requirements.txt", TESTS / "requirements.txt", TESTS / "requirements-gradio3.txt"],
    NO_DEPS,
    say,
    same_python=True,
)
GRADIO4 = Environment(
    TESTS / ".venv-gradio4",
    [TESTS / "requirements-gradio4.txt", TESTS / "requirements.txt"],
    [],
    say,
    same_python=True,
)


def run(what: str, environment: Environment, *arguments: str, **variables: str) -> bool:
    """One tool of an environment; True if it succeeded."""
    environment.ensure()
    say(f"{what} ...")
    start = time.perf_counter()
    done = subprocess.run(
        [str(environment.python), "-m", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        check=False,
    )
    say(f"{what}: {'passed' if done.returncode == 0 else 'FAILED'} in {time.perf_counter() - start:.0f} s")
    return done.returncode == 0


def lint() -> bool:
    results = [
        run("ruff check", GRADIO3, "ruff", "check", "."),
        run("ruff format", GRADIO3, "ruff", "format", "--check", "."),
        run("mypy", GRADIO3, "mypy"),
    ]
    return all(results)


def unit() -> bool:
    return run("unit and host tests", GRADIO3, "pytest", "tests/unit", "tests/host", TRITON_INTERPRET="1")


def networks() -> bool:
    """Transformers of diffusers' own, with our hooks on."""
    return run("transformers of diffusers", GRADIO4, "pytest", "tests/models")


def gpu() -> bool:
    """The fused kernel, compiled for GPUs that need not be here, by several Tritons."""
    return run("the fused kernel, compiled", GRADIO3, "pytest", "tests/gpu")


def panel() -> bool:
    if not chromium():
        return False
    parts = ("tests/panel", "tests/unit/test_settings.py")
    results = [
        run("panel and report on gradio 3", GRADIO3, "pytest", *parts, "tests/browser/test_report.py"),
        run("panel on gradio 4", GRADIO4, "pytest", *parts),
    ]
    return all(results)


def playground() -> bool:
    with server.serving() as url:
        return webui(url)


def webui(url: str) -> bool:
    """The acceptance suite over HTTP and in a browser, against any running web UI."""
    if not chromium():
        return False
    return run(
        f"acceptance tests on {url}",
        GRADIO3,
        "pytest",
        "tests/acceptance",
        "tests/browser/test_webui.py",
        "tests/browser/test_compare.py",
        "tests/browser/test_look.py",
        "tests/browser/test_newcomer.py",
        "--webui",
        url,
    )


def find_browser() -> str:
    """Chromium or Chrome: the one that CHROMIUM names, else one on the PATH; "" without any."""
    names = [os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome"]
    return next((path for path in map(shutil.which, filter(None, names)) if path), "")


def chromium() -> bool:
    """A browser, installed by apt where this may do so. Without one the browser tests are skipped by name.

    False where that is a failure: in CI.
    """
    if not find_browser() and shutil.which("apt-get") and os.geteuid() == 0:
        for command in (["update"], ["install", "-y", "--no-install-recommends", "chromium"]):
            say(f"apt-get {' '.join(command)} ...")
            done = subprocess.run(["apt-get", "-q", *command], check=False, capture_output=True, text=True)
            if done.returncode != 0:
                print(done.stdout + done.stderr)
    if find_browser():
        return True
    say("no Chromium, which can't be installed here: browser tests are skipped; install it, or name one in CHROMIUM")
    return not os.environ.get("CI")


PARTS: dict[str, Callable[[], bool]] = {
    "lint": lint,
    "unit": unit,
    "gpu": gpu,
    "networks": networks,
    "panel": panel,
    "playground": playground,
}

DONE_WITH = {"gpu": [TESTS / ".cache"], "panel": [GRADIO4.folder]}
"""What no later part needs, several GB: in CI, whose disk may be small, it is removed after the part."""


def part(name: str) -> bool:
    passed = PARTS[name]()
    if os.environ.get("CI"):
        for folder in DONE_WITH.get(name, ()):
            shutil.rmtree(folder, ignore_errors=True)
    return passed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS, help="one part of the suite")
    parser.add_argument("--webui", metavar="URL", help="test this running web UI instead")
    options = parser.parse_args()
    if options.webui:
        return 0 if webui(options.webui) else 1
    results = {name: part(name) for name in PARTS if options.only in (None, name)}
    for name, passed in results.items():
        say(f"{name}: {'passed' if passed else 'FAILED'}")
    print(f"{sum(results.values())} passed, {len(results) - sum(results.values())} failed")
    return 0 if all(results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
