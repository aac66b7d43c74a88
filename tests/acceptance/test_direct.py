"""What the study draws in a process of its own is what the playground's API gives."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.align import direct, prompts, scores, study
from benchmarks.align.point import Point
from benchmarks.align.runner import Plan
from benchmarks.align.store import Store
from benchmarks.align.webui import WebUI

DRAWING = study.MODELS["many-steps"]
POINTS = (
    Point(5, scale=0.0),
    Point(5),
    Point(1, scale=1.0, rescale=1.0),
    Point(3, scale=3.0, alpha=1.25, end=0.5, layers="u0-u3", target="negative"),
)
SEEDS = (1000, 1001, 987654)


@pytest.fixture(scope="module")
def pool() -> Any:
    with direct.workers(1, study.CHECKPOINTS["many-steps"], DRAWING) as made:
        yield made


@pytest.fixture(autouse=True)
def only_the_playground(ui: Any) -> None:
    if ui.kind != "playground":
        pytest.skip("the study draws with the playground's model")


@pytest.mark.parametrize("point", POINTS, ids=str)
def test_the_pictures_are_the_apis(ui: Any, pool: Any, point: Point) -> None:
    chosen = prompts.mixed(prompts.PLAYGROUND_KINDS, prompts.playground, 1)
    pairs = [(prompt, seed) for prompt in chosen for seed in SEEDS]
    drawn = pool.submit(direct.draw, point, pairs).result()
    web = WebUI(ui.url)
    for (prompt, seed), picture in zip(pairs, drawn):
        (png,) = web.txt2img(prompt.text, seed, 1, point, DRAWING)
        with Image.open(io.BytesIO(png)) as other:
            difference = np.abs(np.asarray(picture, int) - np.asarray(other.convert("RGB"), int))
            assert difference.max() <= 2, (prompt.text, seed)
            assert scores.exact(picture, prompt) == scores.exact(other, prompt)


def test_a_plan_is_filled_once_and_scored(pool: Any, tmp_path: Path) -> None:
    chosen = prompts.mixed(("one", "three"), prompts.playground, 2)
    plan = Plan([Point(1, scale=0.0), Point(1, rule="cap 1")], chosen, range(1000, 1002), 3)
    store = Store(tmp_path, vars(DRAWING))
    direct.fill(plan, store, pool, ["exact"])
    assert len(store.records) == 2 * 4 * 2 and not plan.batches(store)
    assert all("all right" in record.scores for record in store.records.values())
    whole = (tmp_path / "results.jsonl").read_bytes()
    direct.fill(plan, Store(tmp_path, vars(DRAWING)), pool, ["exact"])
    assert (tmp_path / "results.jsonl").read_bytes() == whole
