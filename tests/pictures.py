#!/usr/bin/env python3
"""Every picture of the documentation, made anew: `python -m tests.pictures [NAME ...]`, with --list for their names.

Those of the page are the playground's in Chromium, one grid is its X/Y/Z plot; the sheets are its model's pictures, the
charts are drawn from the committed scores. Minutes on two cores.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

if __name__ == "__main__":  # again in the tests' environment, which has what is imported below
    from tests.run import GRADIO3

    if not GRADIO3.is_ours:
        GRADIO3.run(str(Path(__file__).resolve()), *sys.argv[1:])

from benchmarks import study  # noqa: E402
from playground import server  # noqa: E402
from tests import first_picture, preset_grid, screenshots  # noqa: E402

FOLDER = ROOT / "docs" / "pictures"
GRID_PROMPT = "a green cross, a pink star and an orange triangle in a row"


def off_on(path: Path) -> None:
    """The X/Y/Z plot of λ against the seed."""
    from tests.acceptance.webui import WebUI, decode
    from tests.acceptance.xyz import grid

    with server.serving() as url:
        ui = WebUI(url, size=128, steps=20)
        fields = {"prompt": GRID_PROMPT, "negative_prompt": "", "sampler_name": "DPM++ 2M", "cfg_scale": 5}
        shown = grid(ui, ("[PLADIS] Scale", "0,1,2"), ("Seed", "1-4"), **fields)
    screenshots.small(decode(shown.images[0])).save(path, optimize=True)


def difference(path: Path) -> None:
    """The README's first picture."""
    screenshots.sign(path, first_picture.draw(), first_picture.digest())


def presets(path: Path) -> None:
    """The grid of docs/presets.md."""
    screenshots.sign(path, preset_grid.draw(), preset_grid.digest())


DIGESTS: dict[str, Callable[[], str]] = {
    "panel.png": screenshots.panel_digest,
    "compare.png": screenshots.compare_digest,
    "look.png": screenshots.look_digest,
    "presets.png": preset_grid.digest,
    "difference.png": first_picture.digest,
}
"""Pictures that carry a digest of what they show, and what gives that of now."""


def makers() -> dict[str, Callable[[Path], None]]:
    """By file name, what makes each picture."""
    return {
        "panel.png": screenshots.panel,
        "compare.png": screenshots.compare,
        "look.png": screenshots.look,
        "presets.png": presets,
        "difference.png": difference,
        "off-on.png": off_on,
        **study.CHARTS,
    }


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="of a picture; all without one")
    parser.add_argument("--list", action="store_true", help="print the names")
    options = parser.parse_args(argv)
    known = makers()
    if options.list:
        print("\n".join(known))
        return 0
    unknown = [name for name in options.names if name not in known]
    if unknown:
        parser.error(f"got {', '.join(unknown)}, allowed: {', '.join(known)}")
    for name in options.names or known:
        print(f"pictures: {name} ...", flush=True)
        start = time.perf_counter()
        known[name](FOLDER / name)
        print(f"pictures: {name}: {time.perf_counter() - start:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
