#!/usr/bin/env python3
"""How well do pictures follow their prompts, with PLADIS and without? Measured on any web UI.

    python benchmarks/alignment.py --quick                           the playground, a few minutes
    python benchmarks/alignment.py --scale 0,1,2 --alpha 1.5,2       a grid of one's own
    python benchmarks/alignment.py --webui http://127.0.0.1:7860     a real web UI that has this extension
    python benchmarks/alignment.py --study                           the study of docs/alignment.md, hours

Every prompt is drawn with every seed at every point of the grid, and with PLADIS off; differences are
paired by prompt and seed. Axes: --scale --alpha --layers --start --end --schedule --target --temperature
--cfg, each a list with commas (`--layers 'all,"d0-d1,m0"'`). Ctrl+C stops it, and the same command goes
on where it stopped. Results: FOLDER/results.jsonl (a picture a line), report.md and pictures.

Several --webui URLs share the work. Without one, playgrounds are started, one for each core.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "playground")]

NEEDED = ("numpy", "PIL", "matplotlib", "requests", "tqdm")


def use_playground_environment() -> None:
    """Run again in the playground's environment where this Python lacks a package."""
    if all(importlib.util.find_spec(name) for name in NEEDED):
        return
    from run import ENVIRONMENT

    ENVIRONMENT.ensure()
    if Path(sys.prefix).resolve() == ENVIRONMENT.folder.resolve():
        raise SystemExit(f"one of {', '.join(NEEDED)} is missing in {ENVIRONMENT.folder}; delete that folder")
    command = [str(ENVIRONMENT.python), str(Path(__file__).resolve()), *sys.argv[1:]]
    if os.name == "nt":
        import subprocess

        raise SystemExit(subprocess.run(command, check=False).returncode)
    os.execv(command[0], command)


if __name__ == "__main__":
    use_playground_environment()

from benchmarks.align import prompts, scores, study  # noqa: E402
from benchmarks.align.point import AXES, Point, grid, parse_values  # noqa: E402
from benchmarks.align.publish import publish  # noqa: E402
from benchmarks.align.report import Report  # noqa: E402
from benchmarks.align.runner import Plan, rescore, run  # noqa: E402
from benchmarks.align.store import Record, Store  # noqa: E402
from benchmarks.align.webui import Drawing, WebUI, WebUIError, playgrounds  # noqa: E402
from lib_pladis.settings import SettingsError  # noqa: E402

OUT = ROOT / "alignment-results"


def parse_args(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--webui", action="append", default=[], metavar="URL", help="a running web UI; may be repeated")
    parser.add_argument("--checkpoint", type=Path, help="another checkpoint for the playground")
    parser.add_argument("--instances", type=int, default=os.cpu_count() or 1, help="playgrounds to start (the cores)")
    parser.add_argument("--out", type=Path, help="where results are kept (alignment-results/...)")
    parser.add_argument("--prompts", default="", help="playground, geneval, or a file with a prompt a line")
    parser.add_argument("--kinds", default="", help="kinds of prompts, with commas (all of the list)")
    parser.add_argument("--per-kind", type=int, default=32, help="prompts of each kind (32)")
    parser.add_argument("--seeds", type=int, default=4, help="pictures of each prompt at each point (4)")
    parser.add_argument("--first-seed", type=int, default=study.FIRST_SEED, help=f"({study.FIRST_SEED})")
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
    parser.add_argument("--study", action="store_true", help="all of docs/alignment.md")
    parser.add_argument("--report-only", action="store_true", help="make no pictures, report what is there")
    return parser.parse_args(argv)


def points_of(options: argparse.Namespace) -> list[Point]:
    values = {axis: parse_values(axis, getattr(options, axis)) for axis in ("cfg", *AXES) if getattr(options, axis)}
    values.setdefault("cfg", [5.0])
    if len(values) == 1:
        values["scale"] = [1.0, 2.0, 3.0] if options.quick else list(study.SCALES)
    return grid(values)


def prompts_of(options: argparse.Namespace, playground: bool) -> list[prompts.Prompt]:
    source = options.prompts or ("playground" if playground else "geneval")
    if source not in ("playground", "geneval"):
        path = Path(source)
        if not path.is_file():
            raise ValueError(f"--prompts: got {source!r}, allowed: playground, geneval, or a file")
        return prompts.from_file(path)
    if source == "playground":
        make, kinds = prompts.playground, prompts.PLAYGROUND_KINDS
    else:
        make, kinds = prompts.geneval, prompts.GENEVAL_KINDS
    named = [kind.strip() for kind in options.kinds.split(",")] if options.kinds else kinds
    return prompts.mixed(named, make, options.per_kind)


def scorers_of(options: argparse.Namespace, wanted: Sequence[prompts.Prompt]) -> list[str]:
    """The scorers that the prompts and this machine allow; SystemExit where none is left."""
    scenes = all(prompt.scene is not None for prompt in wanted)
    names = tuple(name.strip() for name in options.scores.split(",")) if options.scores else ()
    unknown = [name for name in names if name not in scores.MAKERS]
    if unknown:
        raise ValueError(f"--scores: got {unknown[0]!r}, allowed: {', '.join(scores.MAKERS)}")
    if "exact" in names and not scenes:
        raise ValueError("--scores: got 'exact', allowed: clip, imagereward, hps (exact reads the playground's scenes)")
    usable, reasons = scores.available(names or (("exact",) if scenes else ("clip", "imagereward", "hps")))
    for reason in reasons:
        print(f"left out: {reason}")
    if not usable or (names and reasons):
        raise SystemExit("no score can be had; install one of the packages named above")
    return usable


def report(records: Iterable[Record], store: Store, points: Sequence[Point], scorers: list[str], folder: Path) -> str:
    """Write report.md, curves, differences and sheets into `folder`; the table."""
    main, more = judged_by(scorers)
    made = Report(list(records), points, main, more)
    for score in main:
        name = score.replace(" ", "-")
        made.curves(folder / f"curves-{name}.png", score)
        made.forest(folder / f"differences-{name}.png", score)
    for point in made.points:
        if not point.is_off:
            name = point.name(["cfg", *made.axes]).replace(" ", "_")
            made.sheet(folder / "sheets" / f"{name}.png", store.folder, point, main[0])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.md").write_text(made.table() + "\n", encoding="utf-8")
    return made.table()


def judged_by(scorers: list[str]) -> tuple[list[str], list[str]]:
    """The scores that points are judged by, and those that the table has besides."""
    return [name for scorer in scorers for name in scores.MAIN[scorer]], list(
        scores.EXACT_MORE
    ) if "exact" in scorers else []


def measure(options: argparse.Namespace) -> None:
    """One grid on one model."""
    if options.quick:
        options.per_kind, options.seeds = min(options.per_kind, 16), min(options.seeds, 2)
    points = points_of(options)
    uis = [WebUI(url) for url in options.webui]
    for ui in uis:
        ui.check()
    playground = all(ui.is_playground() for ui in uis)
    chosen, drawing = prompts_of(options, playground), drawing_of(options, playground)
    scorers = scorers_of(options, chosen)
    folder = options.out or OUT / ("playground" if playground else "webui")
    plan = Plan(points, chosen, range(options.first_seed, options.first_seed + options.seeds), options.batch)
    store = draw(plan, folder, drawing, scorers, uis, options.checkpoint, options)
    table = report(store.of(chosen), store, points, scorers, folder)
    print(
        f"\n{table}\n\nDifferences are in points, with 95% intervals (bootstrap over prompts); bold where 0 is outside."
    )
    print(f"{folder / 'report.md'}; curves, differences and sheets/ are beside it")


def run_study(options: argparse.Namespace) -> None:
    """All experiments of `benchmarks.align.study`, each on its checkpoint, always in the playground."""
    if options.webui:
        raise ValueError("--study starts playgrounds of its own: --webui is not allowed with it")
    for model, drawing in study.MODELS.items():
        folder = (options.out or OUT / "study") / model
        checkpoint = ROOT / "playground" / "model" / study.CHECKPOINTS[model]
        for experiment in (one for one in study.EXPERIMENTS if one.model == model):
            print(f"study: {experiment.name}", flush=True)
            plan = Plan(experiment.points, experiment.prompts, experiment.seeds, options.batch)
            store = draw(plan, folder, drawing, ["exact"], [], checkpoint, options)
            report(store.of(experiment.prompts), store, experiment.points, ["exact"], folder / experiment.name)
    publish(options.out or OUT / "study", ROOT)


def draw(
    plan: Plan,
    folder: Path,
    drawing: Drawing,
    scorers: list[str],
    uis: list[WebUI],
    checkpoint: Path | None,
    options: argparse.Namespace,
) -> Store:
    """The store in `folder`, filled and scored; playgrounds are started where `uis` are lacking and needed."""
    folder.mkdir(parents=True, exist_ok=True)
    store = Store(folder, vars(drawing))
    if not options.report_only and plan.missing(store):
        with ExitStack() as stack:
            if not uis:
                print("starting the playground ...", flush=True)
                uis = stack.enter_context(playgrounds(max(1, options.instances), folder, checkpoint))
            models = sorted({ui.model() for ui in uis})
            if len(models) > 1:
                raise WebUIError(f"the web UIs have different checkpoints: {', '.join(models)}")
            store.require({"model": models[0]})
            run(plan, store, uis, drawing, scorers)
    main, more = judged_by(scorers)
    rescore(plan, store, scorers, [*main, *more])
    return store


def drawing_of(options: argparse.Namespace, playground: bool) -> Drawing:
    size = options.size or ("128x128" if playground else "512x512")
    try:
        width, height = (int(part) for part in size.lower().split("x"))
    except ValueError:
        raise ValueError(f"--size: got {size!r}, allowed: WIDTHxHEIGHT, such as 512x768") from None
    steps = options.steps or (10 if playground else 25)
    return Drawing(steps, options.sampler, options.scheduler, width, height, options.negative)


def main(argv: list[str]) -> int:
    options = parse_args(argv)
    try:
        run_study(options) if options.study else measure(options)
    except (ValueError, SettingsError, WebUIError) as error:
        print(f"alignment: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
