"""How much longer the blend makes attention outputs, by layer and step: measured, kept as JSON, and as tables."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from . import direct, prompts
from .point import Point
from .rules import MeasuringKernels
from .study import FIRST_SEED, HELD_OUT, SEEDS

FILE = "benchmarks/results/alignment-norms.json"
TABLE_BY_LAYER, TABLE_BY_SCALE = "norms-layers", "norms-scales"

LONG = 2.5
"""The ratio from which NAG (arXiv 2505.21179) shortens an output."""

PER_KIND = 2
SCALES = (0.5, 1.0, 2.0, 3.0)
CFG = {"many-steps": 5.0, "few-steps": 1.0}


def measure(model: str, pool: ProcessPoolExecutor) -> list[dict[str, Any]]:
    """A row for each λ of `SCALES`, layer and step of a model: mean ratio of norms, and the share above `LONG`."""
    chosen = prompts.mixed(HELD_OUT, prompts.playground, PER_KIND)
    pairs = [(prompt, seed) for prompt in chosen for seed in range(FIRST_SEED, FIRST_SEED + SEEDS)]
    rows = []
    for scale in SCALES:
        layers, found = pool.submit(in_worker, Point(CFG[model], scale=scale), pairs).result()
        for index, (mean, share) in enumerate(found):
            place = {"layer": layers[index % len(layers)], "step": index // len(layers)}
            rows.append({"model": model, "scale": scale, **place, "mean": mean, "share": share})
    return rows


def in_worker(point: Point, pairs: direct.Pairs) -> tuple[list[str], list[tuple[float, float]]]:
    """The layers in the order in which they are called, and (mean, share above `LONG`) of each call."""
    kernels, drawing = MeasuringKernels(), direct.here()
    drawing.draw(point, pairs, kernels)
    if len(kernels.ratios) != len(drawing.layers) * drawing.drawing.steps:
        raise RuntimeError(f"{len(kernels.ratios)} calls of {len(drawing.layers)} layers")
    found = [(float(r.mean()), float((r > LONG).float().mean())) for r in kernels.ratios]
    return drawing.layers, [(round(mean, 4), round(share, 5)) for mean, share in found]


def write(rows: Sequence[Mapping[str, Any]], root: Path) -> None:
    """A row a line."""
    lines = ",\n".join(json.dumps(row) for row in rows)
    (root / FILE).write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def read(root: Path) -> list[dict[str, Any]]:
    """What `write` wrote; empty where there is nothing."""
    path = root / FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


def by_layer(rows: Sequence[Mapping[str, Any]], scale: float = 2.0) -> str:
    """Markdown: of the model with many steps, the mean ratio in each layer at some of the steps, and over all."""
    mine = [row for row in rows if row["model"] == "many-steps" and row["scale"] == scale]
    steps = sorted({row["step"] for row in mine})
    shown = [steps[0], steps[len(steps) // 3], steps[2 * len(steps) // 3], steps[-1]]
    head = ["layer", *(f"step {step + 1}" for step in shown), "all steps", f"longer than {LONG:g} ×"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for layer in dict.fromkeys(row["layer"] for row in mine):
        at = {row["step"]: row for row in mine if row["layer"] == layer}
        cells = [f"{at[step]['mean']:.2f}" for step in shown]
        lines.append("| " + " | ".join([layer, *cells, *_over(list(at.values()))]) + " |")
    return "\n".join(lines)


def by_scale(rows: Sequence[Mapping[str, Any]], changes: Mapping[tuple[str, float], str]) -> str:
    """Markdown: by model and λ, the mean ratio over layers and steps, the share of long outputs, and `changes`."""
    head = ["model", "λ", "mean ratio", f"longer than {LONG:g} ×", "all right against off"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for model, said in (("many-steps", "CFG 5"), ("few-steps", "4 steps")):
        for scale in SCALES:
            mine = [row for row in rows if row["model"] == model and row["scale"] == scale]
            lines.append("| " + " | ".join([said, f"{scale:g}", *_over(mine), changes[model, scale]]) + " |")
    return "\n".join(lines)


def _over(rows: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    return f"{np.mean([row['mean'] for row in rows]):.2f}", f"{100 * np.mean([row['share'] for row in rows]):.1f} %"
