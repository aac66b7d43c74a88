#!/usr/bin/env python3
"""Every picture of the documentation, made anew: `python -m tests.pictures [NAME ...]`, with --list for their names.

Those of the page are the playground's in Chromium, one grid is its X/Y/Z plot; the sheets are its model's pictures, the
charts are drawn from the committed results, which `benchmarks/` measures. Minutes on two cores.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

if __name__ == "__main__":  # again in the tests' environment, which has what is imported below
    from tests.run import GRADIO3

    if not GRADIO3.is_ours:
        GRADIO3.run(str(Path(__file__).resolve()), *sys.argv[1:])

from benchmarks.align import beside  # noqa: E402
from playground import server  # noqa: E402
from tests import preset_grid, screenshots  # noqa: E402

if TYPE_CHECKING:
    from benchmarks.align.point import Point
    from benchmarks.align.study import Experiment

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
    screenshots.sign(path, beside.draw(ROOT), beside.digest(ROOT))


def presets(path: Path) -> None:
    """The grid of docs/presets.md."""
    screenshots.sign(path, preset_grid.draw(), preset_grid.digest())


def bars(name: str, path: Path) -> None:
    """The chart of one of the committed measurements."""
    from benchmarks import attention, common, unet

    results = json.loads((common.RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    draw = {"attention-cpu": attention.draw, "unet-cpu": unet.draw}[name]
    draw(results["parts"], results["machine"], path.stem)


def curve(experiment: Experiment, score: str, path: Path) -> None:
    """A chart of the study's committed scores."""
    from benchmarks.align import pictures, publish

    pictures.curve(publish.report_of(experiment, publish.committed(experiment.model, ROOT)), score, path)


def sheet(experiment: Experiment, point: Point, path: Path) -> None:
    """The study's largest gains and losses, drawn again."""
    from benchmarks.align import pictures, publish

    made = publish.report_of(experiment, publish.committed(experiment.model, ROOT))
    pictures.redrawn(experiment, made, point, path)


DIGESTS: dict[str, Callable[[], str]] = {
    "panel.png": screenshots.panel_digest,
    "compare.png": screenshots.compare_digest,
    "look.png": screenshots.look_digest,
    "presets.png": preset_grid.digest,
    "difference.png": functools.partial(beside.digest, ROOT),
}
"""Pictures that carry a digest of what they show, and what gives that of now."""


def makers() -> dict[str, Callable[[Path], None]]:
    """By file name, what makes each picture."""
    from benchmarks.align import pictures, publish, study

    made: dict[str, Callable[[Path], None]] = {
        "panel.png": screenshots.panel,
        "compare.png": screenshots.compare,
        "look.png": screenshots.look,
        "presets.png": presets,
        "difference.png": difference,
        "off-on.png": off_on,
        "attention-cpu.png": functools.partial(bars, "attention-cpu"),
        "unet-cpu.png": functools.partial(bars, "unet-cpu"),
    }
    page = (ROOT / publish.PAGE).read_text(encoding="utf-8")
    for one in study.EXPERIMENTS:
        of_one = {name: functools.partial(curve, one, score) for name, score in pictures.curves(one).items()}
        of_one |= {name: functools.partial(sheet, one, point) for name, point in pictures.sheets(one).items()}
        made |= {name: make for name, make in of_one.items() if name in page}
    return made


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
