"""From a finished study to what is committed: the scores, and the tables and pictures of docs/alignment.md."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from .point import Point
from .report import Report
from .scores import EXACT_MORE, MAIN
from .store import Record, Store
from .study import EXPERIMENTS, MODELS, Experiment

PAGE, SCORES, PICTURES = "docs/alignment.md", "benchmarks/results/alignment-{model}.csv.gz", "docs/pictures"


def publish(study: Path, root: Path) -> None:
    """Write the scores of all models' stores under `study`, then pictures and tables, into the repository `root`."""
    for model, drawing in MODELS.items():
        if (study / model / "results.jsonl").exists():
            store = Store(study / model, vars(drawing))
            write_scores(store.records.values(), root / SCORES.format(model=model))
            for experiment in (one for one in EXPERIMENTS if one.model == model):
                _pictures(experiment, store, root / PICTURES)
    page = root / PAGE
    page.write_text(with_tables(page.read_text(encoding="utf-8"), root), encoding="utf-8")


def committed(model: str, root: Path) -> list[Record]:
    """The scores that the repository has of a model's pictures."""
    path = root / SCORES.format(model=model)
    return read_scores(path) if path.exists() else []


def with_tables(page: str, root: Path) -> str:
    """The page with the table of every experiment that it has a place for, made anew from the committed scores."""
    for experiment in EXPERIMENTS:
        records = committed(experiment.model, root)
        begin, end = f"<!-- table: {experiment.name} -->", "<!-- end -->"
        if begin in page and records:
            before, _, rest = page.partition(begin)
            after = rest[rest.index(end) :]
            page = f"{before}{begin}\n{report_of(experiment, records).table()}\n{after}"
    return page


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
    words = ("layers", "schedule", "target")
    point = Point(**{name: row.pop(name) if name in words else float(row.pop(name)) for name in Point.__annotations__})
    kind, prompt, seed = row.pop("kind"), row.pop("prompt"), int(row.pop("seed"))
    return Record(point, prompt, kind, seed, {name: float(value) for name, value in row.items()}, "")


def _pictures(experiment: Experiment, store: Store, folder: Path) -> None:
    made = report_of(experiment, store.of(experiment.prompts))
    for score in MAIN["exact"]:
        name = f"alignment-{experiment.name}-{score.replace(' ', '-')}.png"
        if not made.curves(folder / name, score):
            made.forest(folder / name, score)
    for point in _sheets(experiment.points):
        made.sheet(folder / f"alignment-{experiment.name}-cfg{point.cfg:g}-sheet.png", store.folder, point, "right")


def _sheets(points: Sequence[Point]) -> list[Point]:
    """The paper's setting, λ = 2 and α = 1.5, at every guidance scale."""
    return [Point(cfg) for cfg in sorted({point.cfg for point in points}) if Point(cfg) in points]
