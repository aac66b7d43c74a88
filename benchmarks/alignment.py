#!/usr/bin/env python3
"""How well do pictures follow their prompts, with PLADIS and without? Measured on any web UI.

    python benchmarks/alignment.py --quick                           the playground, a few minutes
    python benchmarks/alignment.py --scale 0,1,2 --alpha 1.5,2       a grid of one's own
    python benchmarks/alignment.py --webui http://127.0.0.1:7860     a real web UI that has this extension

Every prompt is drawn with every seed at every point of the grid, and with PLADIS off; differences are
paired by prompt and seed. Axes: --scale --alpha --layers --start --end --schedule --target --temperature
--rescale --cfg, each a list with commas (`--layers 'all,"d0-d1,m0"'`). Ctrl+C stops it, and the same command
goes on where it stopped. Results: FOLDER/results.jsonl (a picture a line), report.html (table, curves and the
pictures that changed most, one file to send around), report.md (the table) and pictures.

Several --webui URLs share the work. Without one, playgrounds are started, one for each core.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

NEEDED = ("numpy", "PIL", "scipy", "tqdm", "jinja2")


def use_playground_environment() -> None:
    """Run again in the playground's environment where this Python lacks a package."""
    if all(importlib.util.find_spec(name) for name in NEEDED):
        return
    from playground.run import ENVIRONMENT

    if ENVIRONMENT.is_ours:
        raise SystemExit(f"one of {', '.join(NEEDED)} is missing in {ENVIRONMENT.folder}; delete that folder")
    ENVIRONMENT.run(str(Path(__file__).resolve()), *sys.argv[1:])


if __name__ == "__main__":
    use_playground_environment()

from benchmarks.align import scores  # noqa: E402
from benchmarks.align.options import drawing_of, parse_args, points_of, prompts_of, scorers_of  # noqa: E402
from benchmarks.align.page import write as write_page  # noqa: E402
from benchmarks.align.report import NOTE, Report  # noqa: E402
from benchmarks.align.runner import Plan, rescore, run  # noqa: E402
from benchmarks.align.store import Store  # noqa: E402
from benchmarks.align.webui import Drawing, WebUI, WebUIError, playgrounds  # noqa: E402
from lib_pladis.settings import SettingsError  # noqa: E402

OUT = ROOT / "alignment-results"


def judged_by(scorers: list[str]) -> tuple[list[str], list[str]]:
    """The scores that points are judged by, and those that the table has besides."""
    more = list(scores.EXACT_MORE) if "exact" in scorers else []
    return [name for scorer in scorers for name in scores.MAIN[scorer]], more


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
    store = draw(plan, folder, drawing, scorers, uis, options)
    made = Report(store.of(chosen), points, *judged_by(scorers))
    made.write(folder / "report.md")
    write_page(made, store.folder, store.common, folder / "report.html")
    print(f"\n{made.table()}\n")
    print(NOTE)
    print(f"{folder / 'report.html'}: the same with curves and pictures, to look at and to send around")


def draw(
    plan: Plan,
    folder: Path,
    drawing: Drawing,
    scorers: list[str],
    uis: list[WebUI],
    options: argparse.Namespace,
) -> Store:
    """The store in `folder`, filled and scored; playgrounds are started where `uis` are lacking and needed."""
    folder.mkdir(parents=True, exist_ok=True)
    store = Store(folder, vars(drawing))
    if not options.report_only and plan.missing(store):
        with ExitStack() as stack:
            if not uis:
                print("starting the playground ...", flush=True)
                uis = stack.enter_context(playgrounds(max(1, options.instances), folder, options.checkpoint))
            models = sorted({ui.model() for ui in uis})
            if len(models) > 1:
                raise WebUIError(f"the web UIs have different checkpoints: {', '.join(models)}")
            store.require({"model": models[0]})
            run(plan, store, uis, drawing, scorers)
    main, more = judged_by(scorers)
    rescore(plan, store, scorers, [*main, *more])
    return store


def main(argv: list[str]) -> int:
    options = parse_args(argv, __doc__)
    try:
        measure(options)
    except (ValueError, SettingsError, WebUIError) as error:
        print(f"alignment: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
