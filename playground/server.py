"""Starting the playground as a process of its own, waiting for it and ending it. Standard library only."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from playground.client import Client

RUN = Path(__file__).resolve().parent / "run.py"
PYTHON = "PLADIS_PLAYGROUND_PYTHON"
"""The variable that names a Python with the playground's requirements; without it run.py makes its own."""


class ServerError(RuntimeError):
    """It ended, or did not begin to answer."""


def start(*arguments: str, output: IO[bytes] | None = None, **variables: str) -> tuple[subprocess.Popen[bytes], str]:
    """The process, which stops with `stop`, and its address; the first start takes minutes until that answers.

    `arguments` are run.py's, `variables` are added to the environment; output goes to `output`, else where ours goes.
    Its page begins with the extension's own defaults, as a web UI's does.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    python = os.environ.get(PYTHON)
    command = [python, str(RUN.parent / "host" / "main.py")] if python else [sys.executable, str(RUN)]
    server = subprocess.Popen(
        [*command, "--port", str(port), "--ui-config-file", "", *arguments],
        stdout=output,
        stderr=subprocess.STDOUT if output else None,
        start_new_session=True,
        env={**os.environ, **variables},
    )
    return server, f"http://127.0.0.1:{port}"


def wait(server: subprocess.Popen[bytes], url: str, path: str = "/sdapi/v1/options", seconds: float = 900) -> None:
    """Until `url` answers at `path`. Raises ServerError where the process ends first, or takes longer."""
    client, deadline = Client(url), time.monotonic() + seconds
    while not client.answers(path):
        if server.poll() is not None:
            raise ServerError(f"{url}: the server ended with status {server.poll()}")
        if time.monotonic() > deadline:
            raise ServerError(f"{url}: no answer after {seconds:g} s")
        time.sleep(0.5)


@contextlib.contextmanager
def serving(*arguments: str, output: IO[bytes] | None = None) -> Iterator[str]:
    """The address of a playground that answers, started here and stopped afterwards; arguments as of `start`."""
    process, url = start(*arguments, output=output)
    try:
        wait(process, url)
        yield url
    finally:
        stop(process)


def stop(server: subprocess.Popen[bytes]) -> None:
    """End the playground and whatever it started; nothing happens if it has ended."""
    if server.poll() is not None:
        return
    if os.name == "nt":
        subprocess.run(["taskkill", "/F", "/T", "/PID", str(server.pid)], check=False, capture_output=True)
    else:
        os.killpg(server.pid, signal.SIGTERM)
    try:
        server.wait(60)
    except subprocess.TimeoutExpired:
        server.kill()
