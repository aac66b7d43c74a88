"""The command line of benchmarks/alignment.py, and what its values mean."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from . import prompts, scores
from .point import AXES, Point, grid, parse_values
from .webui import Drawing


def parse_args(argv: list[str], description: str | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--webui", action="append", default=[], metavar="URL", help="a running web UI; may be repeated")
    parser.add_argument("--checkpoint", help="another checkpoint for the playground, by name or file")
    parser.add_argument("--instances", type=int, default=os.cpu_count() or 1, help="playgrounds to start (the cores)")
    parser.add_argument("--out", type=Path, help="where results are kept (alignment-results/...)")
    parser.add_argument("--prompts", default="", help="playground, geneval, or a file with a prompt a line")
    parser.add_argument("--kinds", default="", help="kinds of prompts, with commas (all of the list)")
    parser.add_argument("--per-kind", type=int, default=32, help="prompts of each kind (32)")
    parser.add_argument("--seeds", type=int, default=4, help="pictures of each prompt at each point (4)")
    parser.add_argument("--first-seed", type=int, default=1000, help="(1000)")
    parser.add_argument("--words", type=int, default=0, help="the seed that the prompts are made from (0)")
    parser.add_argument("--batch", type=int, default=4, help="pictures a request (4)")
    parser.add_argument("--steps", type=int, help="sampling steps (playground 10, others 25)")
    parser.add_argument("--sampler", default="DPM++ 2M")
    parser.add_argument("--scheduler", default="Karras")
    parser.add_argument("--size", help="WIDTHxHEIGHT (playground 128x128, others 512x512)")
    parser.add_argument("--negative", default="", help="negative prompt")
    parser.add_argument("--scores", default="", help=f"with commas, of {', '.join(scores.MAKERS)} (what can be had)")
    for axis in ("cfg", *AXES):
        parser.add_argument(f"--{axis}", help="values, with commas")
    parser.add_argument("--quick", action="store_true", help="4 scales, 16 prompts of each kind, 2 seeds")
    parser.add_argument("--report-only", action="store_true", help="make no pictures, report what is there")
    return parser.parse_args(argv)


def points_of(options: argparse.Namespace) -> list[Point]:
    values = {axis: parse_values(axis, getattr(options, axis)) for axis in ("cfg", *AXES) if getattr(options, axis)}
    values.setdefault("cfg", [5.0])
    if len(values) == 1:
        values["scale"] = [1.0, 2.0, 3.0] if options.quick else [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0]
    return grid(values)


def prompts_of(options: argparse.Namespace, playground: bool) -> list[prompts.Prompt]:
    source = options.prompts or ("playground" if playground else "geneval")
    if source not in ("playground", "geneval"):
        path = Path(source)
        if not path.is_file():
            raise ValueError(f"--prompts: got {source!r}, allowed: playground, geneval, or a file")
        return prompts.from_file(path)
    kinds: Sequence[str]
    if source == "playground":
        make, kinds = prompts.playground, prompts.PLAYGROUND_KINDS
    else:
        make, kinds = prompts.geneval, prompts.GENEVAL_KINDS
    named = [kind.strip() for kind in options.kinds.split(",")] if options.kinds else kinds
    return prompts.mixed(named, make, options.per_kind, options.words)


def scorers_of(options: argparse.Namespace, wanted: Sequence[prompts.Prompt]) -> list[str]:
    """The scorers that the prompts and this machine allow; SystemExit where none is left."""
    scenes = all(prompt.scene is not None for prompt in wanted)
    names = tuple(name.strip() for name in options.scores.split(",")) if options.scores else ()
    unknown = [name for name in names if name not in scores.MAKERS]
    if unknown:
        raise ValueError(f"--scores: got {unknown[0]!r}, allowed: {', '.join(scores.MAKERS)}")
    if "exact" in names and not scenes:
        allowed = ", ".join(scores.REAL)
        raise ValueError(f"--scores: got 'exact', allowed: {allowed} (exact reads the playground's scenes)")
    usable, reasons = scores.available(names or (("exact",) if scenes else scores.REAL))
    for reason in reasons:
        print(f"left out: {reason}")
    if not usable or (names and reasons):
        raise SystemExit("no score can be had; install one of the packages named above")
    return usable


def drawing_of(options: argparse.Namespace, playground: bool) -> Drawing:
    size = options.size or ("128x128" if playground else "512x512")
    try:
        width, height = (int(part) for part in size.lower().split("x"))
    except ValueError:
        raise ValueError(f"--size: got {size!r}, allowed: WIDTHxHEIGHT, such as 512x768") from None
    steps = options.steps or (10 if playground else 25)
    return Drawing(steps, options.sampler, options.scheduler, width, height, options.negative)
