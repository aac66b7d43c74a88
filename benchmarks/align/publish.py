"""From a finished study to what is committed: the scores, and the tables and pictures of docs/alignment.md."""

from __future__ import annotations

import csv
import functools
import gzip
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from . import norms, pictures, repeated, seeds
from .compared import Compared
from .point import Point
from .report import Report
from .scores import EXACT_MORE, MAIN
from .second import COMPARISONS
from .store import Record, Store
from .study import EXPERIMENTS, FEW_SCALES, MODELS, Experiment

README, SUMMARY = "README.md", "summary"
PAGE, SCORES, PICTURES = "docs/alignment.md", "benchmarks/results/alignment-{model}.csv.gz", "docs/pictures"


def publish(study: Path, root: Path) -> None:
    """Write the scores of all models' stores under `study` into the repository `root`, then the page's tables and the
    pictures that it shows."""
    page = root / PAGE
    for model, drawing in MODELS.items():
        if (study / model / "results.jsonl").exists():
            store = Store(study / model, vars(drawing))
            write_scores(store.records.values(), root / SCORES.format(model=model))
            for experiment in (one for one in EXPERIMENTS if one.model == model):
                made = report_of(experiment, store.of(experiment.prompts))
                pictures.make(experiment, made, root / PICTURES, page.read_text(encoding="utf-8"))
    for path in (page, root / README):
        path.write_text(with_tables(path.read_text(encoding="utf-8"), root), encoding="utf-8")


def committed(model: str, root: Path) -> list[Record]:
    """The scores that the repository has of a model's pictures."""
    path = root / SCORES.format(model=model)
    return read_scores(path) if path.exists() else []


def with_tables(text: str, root: Path) -> str:
    """The text with every table that it has a place for made anew from the committed scores."""
    scores = {model: committed(model, root) for model in MODELS}
    for experiment in EXPERIMENTS:
        if scores[experiment.model]:
            make = functools.partial(_table, experiment, scores[experiment.model])
            text = _filled(text, experiment.name, make)
    if not all(scores.values()):
        return text
    text = _filled(text, SUMMARY, lambda: summary(scores))
    text = _filled(text, seeds.TABLE, lambda: seeds.table(scores))
    text = _filled(text, repeated.TABLE, lambda: repeated.table(scores))
    rows = norms.read(root)
    if rows:
        text = _filled(text, norms.TABLE_BY_LAYER, lambda: norms.by_layer(rows))
        text = _filled(text, norms.TABLE_BY_SCALE, lambda: norms.by_scale(rows, _changes(scores)))
    for comparison in COMPARISONS:
        made = Compared(comparison, scores)
        for name, table in made.tables().items():
            text = _filled(text, name, table)
    return text


def summary(scores: Mapping[str, Sequence[Record]]) -> str:
    """Markdown: pictures all right with PLADIS off, and the differences at some λ, α = 1.5."""
    scales = FEW_SCALES[1:]
    head = ["pictures all right", "off", *(f"λ={scale:g}" for scale in scales)]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    rows = ("line", 5.0, "CFG 5"), ("line", 1.0, "CFG 1"), ("line-few-step", 1.0, "distilled, 4 steps, CFG 1")
    for name, cfg, said in rows:
        experiment = next(one for one in EXPERIMENTS if one.name == name)
        made = report_of(experiment, scores[experiment.model])
        cells = [made.cell(Point(cfg, scale), "all right") for scale in scales]
        lines.append("| " + " | ".join([said, made.mean(Point(cfg, 0.0), "all right") + " %", *cells]) + " |")
    return "\n".join(lines)


def _changes(scores: Mapping[str, Sequence[Record]]) -> dict[tuple[str, float], str]:
    """By model and λ, what the first part found of `all right` where `norms` measured."""
    found = {}
    for name in ("guided", "few-step"):
        experiment = next(one for one in EXPERIMENTS if one.name == name)
        made = report_of(experiment, scores[experiment.model])
        for scale in norms.SCALES:
            point = Point(norms.CFG[experiment.model], scale)
            found[experiment.model, scale] = made.cell(point, "all right")
    return found


def _filled(text: str, name: str, make: Callable[[], str]) -> str:
    """The text with `make`'s table between the marks of that name, if it has them."""
    begin, end = f"<!-- table: {name} -->", "<!-- end -->"
    if begin not in text:
        return text
    before, _, rest = text.partition(begin)
    return f"{before}{begin}\n{make()}\n{rest[rest.index(end) :]}"


def _table(experiment: Experiment, records: Sequence[Record]) -> str:
    return report_of(experiment, records).table()


def report_of(experiment: Experiment, records: Iterable[Record]) -> Report:
    """What an experiment says."""
    texts = {prompt.text for prompt in experiment.prompts}
    chosen = [record for record in records if record.prompt in texts and record.seed in experiment.seeds]
    return Report(chosen, experiment.points, MAIN["exact"], EXACT_MORE)


def write_scores(records: Iterable[Record], path: Path) -> None:
    """Points, prompts, seeds and scores as a compressed CSV, always the same bytes for the same records."""
    rows = [
        {**asdict(one.point), "kind": one.kind, "prompt": one.prompt, "seed": one.seed, **one.scores} for one in records
    ]
    rows.sort(key=lambda row: [str(value) for value in row.values()])
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.getvalue().encode(), 9, mtime=0))


def read_scores(path: Path) -> list[Record]:
    """What `write_scores` wrote; the pictures are not kept."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return [_record(row) for row in csv.DictReader(file)]


def _record(row: dict[str, str]) -> Record:
    words = ("layers", "schedule", "target", "rule")
    found = {name: row.pop(name) for name in Point.__annotations__ if name in row}
    values: dict[str, Any] = {name: text if name in words else float(text) for name, text in found.items()}
    point = Point(**values)
    kind, prompt, seed = row.pop("kind"), row.pop("prompt"), int(row.pop("seed"))
    return Record(point, prompt, kind, seed, {name: float(value) for name, value in row.items()}, "")
