#!/usr/bin/env python3
"""The playground: a small text-to-image model and a small host for the PLADIS extension.

    python playground/run.py                                 serves a page at http://127.0.0.1:7860
    python playground/run.py --prompt "a red circle left of a blue square" --out pair.png
                                                             makes one off/on pair and exits

The first start makes a virtual environment, `playground/.venv`, and installs what is needed into it
(Python 3.10 to 3.13). Nothing else on the machine is changed. `--help` lists the other options.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE / "host")]

from main import parse_args  # noqa: E402

from playground.environment import Environment  # noqa: E402


def say(text: str) -> None:
    print(f"playground: {text}", flush=True)


ENVIRONMENT = Environment(HERE / ".venv", [HERE / "requirements.txt"], [HERE / "requirements-nodeps.txt"], say)


def main() -> None:
    parse_args(sys.argv[1:])  # --help and mistakes, before anything is installed
    ENVIRONMENT.run(str(HERE / "host" / "main.py"), *sys.argv[1:])


if __name__ == "__main__":
    main()
