"""Reporting of exceptions that the host swallows, in the webui's form: `*** message`, then the traceback."""

from __future__ import annotations

import sys
import textwrap
import traceback


def report(message: str, *, exc_info: bool = False) -> None:
    for line in message.splitlines():
        print("***", line, file=sys.stderr)
    if exc_info:
        print(textwrap.indent(traceback.format_exc(), "    "), file=sys.stderr)
        print("---", file=sys.stderr, flush=True)
