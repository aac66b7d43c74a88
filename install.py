"""Run by the web UI before it loads the extension: has `entmax` installed, beside the start and once a version.

Only the kernel named "entmax" on the settings page needs it, so nobody waits for it: pip runs by itself, gives up
after a few seconds without a network, and isn't tried again before the next version. `entmax` needs nothing but torch,
which the web UI has: it is installed without dependencies, so that torch, gradio and numpy stay as they are.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import launch

REQUIREMENT = "entmax==1.3"

TRIED = Path(__file__).resolve().with_name(".entmax-tried")
"""Holds the requirement that was tried last."""


def main() -> None:
    if getattr(launch.args, "skip_install", False) or launch.is_installed("entmax"):
        return
    with contextlib.suppress(OSError):  # a folder that can't be written: tried at every start, which waits for nothing
        if TRIED.exists() and TRIED.read_text() == REQUIREMENT:
            return
        TRIED.write_text(REQUIREMENT)
    index = os.environ.get("INDEX_URL")  # as the web UIs do
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--timeout", "5", "--retries", "0", REQUIREMENT]
    subprocess.Popen(
        [*command, *(["--index-url", index] if index else [])],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


main()
