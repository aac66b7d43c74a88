"""Makes and scores the pictures that a store still lacks."""

from __future__ import annotations

import io
import queue
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace

from PIL import Image
from tqdm import tqdm

from playground.client import NoAnswer

from .point import Point
from .prompts import Prompt
from .scores import judge
from .store import Record, Store
from .webui import Drawing, WebUI, WebUIError


@dataclass(frozen=True)
class Task:
    """One request: `count` seeds in a row of one prompt at one point."""

    point: Point
    prompt: Prompt
    seed: int
    count: int


@dataclass(frozen=True)
class Plan:
    """All pictures that are wanted: every prompt with every seed at every point."""

    points: Sequence[Point]
    prompts: Sequence[Prompt]
    seeds: Sequence[int]
    batch: int

    def missing(self, store: Store) -> list[Task]:
        """What the store lacks, prompt by prompt: wherever it stops, all points have had the same prompts."""
        tasks = []
        for prompt in self.prompts:
            for point in self.points:
                wanted = [seed for seed in self.seeds if (point, prompt.text, seed) not in store.records]
                tasks += [Task(point, prompt, begin, count) for begin, count in _runs(wanted, self.batch)]
        return tasks


def run(plan: Plan, store: Store, uis: Sequence[WebUI], drawing: Drawing, scorers: list[str]) -> None:
    """Fill the store, one thread for each web UI, with a progress bar.

    A web UI that stops answering is left out, and its request goes to the others. Raises WebUIError with
    none left, and where a web UI refuses a request. Whatever was made is kept, after Ctrl+C too.
    """
    tasks = plan.missing(store)
    waiting: queue.SimpleQueue[Task] = queue.SimpleQueue()
    for task in tasks:
        waiting.put(task)
    stop = threading.Event()
    answering, problems = list(uis), []
    left = sum(task.count for task in tasks)
    total = len(plan.points) * len(plan.prompts) * len(plan.seeds)
    bar = tqdm(total=total, initial=total - left, unit="picture", smoothing=0.05, mininterval=1.0)

    def work(ui: WebUI) -> None:
        while not stop.is_set():
            try:
                task = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                pictures = ui.txt2img(task.prompt.text, task.seed, task.count, task.point, drawing)
            except NoAnswer as error:
                waiting.put(task)
                answering.remove(ui)
                problems.append(f"{ui.url}: {error}")
                return
            for offset, png in enumerate(pictures):
                _keep(store, task, task.seed + offset, png, scorers)
            bar.update(task.count)

    with bar, ThreadPoolExecutor(max_workers=len(uis)) as pool:
        try:
            while not waiting.empty():
                if not answering:
                    raise WebUIError("no web UI is left that answers: " + "; ".join(problems))
                for future in as_completed([pool.submit(work, ui) for ui in list(answering)]):
                    future.result()
        finally:
            stop.set()  # the pool waits for the requests that are under way


def rescore(plan: Plan, store: Store, scorers: list[str], names: Sequence[str]) -> int:
    """Score kept pictures that lack one of the scores `names`; how many there were."""
    prompts = {prompt.text: prompt for prompt in plan.prompts}
    lacking = [
        record
        for record in list(store.records.values())
        if record.prompt in prompts and any(name not in record.scores for name in names)
    ]
    for record in tqdm(lacking, desc="scoring", unit="picture", disable=not lacking):
        with Image.open(store.folder / record.picture) as picture:
            numbers = judge(scorers, picture, prompts[record.prompt])
        store.add(replace(record, scores=record.scores | numbers))
    return len(lacking)


def _keep(store: Store, task: Task, seed: int, png: bytes, scorers: list[str]) -> None:
    with Image.open(io.BytesIO(png)) as picture:
        numbers = judge(scorers, picture, task.prompt)
    name = Store.picture_name((task.point, task.prompt.text, seed))
    store.add(Record(task.point, task.prompt.text, task.prompt.kind, seed, numbers, name), png)


def _runs(seeds: Sequence[int], longest: int) -> list[tuple[int, int]]:
    """Seeds in rising order -> (first, count) of stretches without a gap, none longer than `longest`."""
    found: list[tuple[int, int]] = []
    for seed in seeds:
        if found and seed == sum(found[-1]) and found[-1][1] < longest:
            found[-1] = (found[-1][0], found[-1][1] + 1)
        else:
            found.append((seed, 1))
    return found
