"""The first part's changes by noise seed: all its pictures share four, and other noise could say something else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import t

from .point import Point
from .store import Record
from .study import EXPERIMENTS, FEW_SCALES

TABLE, SCORE = "seeds", "all right"
ROWS = (("line", 5.0, "CFG 5"), ("line", 1.0, "CFG 1"), ("line-few-step", 1.0, "4 steps"))


def interval(changes: Sequence[float]) -> tuple[float, float]:
    """95% interval of the mean, the numbers as a sample of all that there could be (Student's t)."""
    mean, spread = float(np.mean(changes)), float(np.std(changes, ddof=1))
    half = float(t.ppf(0.975, len(changes) - 1)) * spread / len(changes) ** 0.5
    return mean - half, mean + half


def table(scores: Mapping[str, Sequence[Record]]) -> str:
    """Markdown: pictures all right with PLADIS off by seed, and the changes with it, with an interval over seeds."""
    lines: list[str] = []
    for name, cfg, said in ROWS:
        experiment = next(one for one in EXPERIMENTS if one.name == name)
        texts = {prompt.text for prompt in experiment.prompts}
        means: dict[Point, list[float]] = {}
        for point in (Point(cfg, scale) for scale in FEW_SCALES):
            found = [one for one in scores[experiment.model] if one.point == point and one.prompt in texts]
            by_seed = [[one.scores[SCORE] for one in found if one.seed == seed] for seed in experiment.seeds]
            means[point] = [100 * float(np.mean(values)) for values in by_seed]
        if not lines:
            head = ["", *(f"seed {seed}" for seed in experiment.seeds), "mean", "95 % over seeds"]
            lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
        off = means[Point(cfg, 0.0)]
        cells = [f"{said}, off", *(f"{value:.1f} %" for value in off), f"{np.mean(off):.1f} %", ""]
        lines.append("| " + " | ".join(cells) + " |")
        for scale in FEW_SCALES[1:]:
            changes = [after - before for after, before in zip(means[Point(cfg, scale)], off)]
            low, high = interval(changes)
            text = f"{low:+.1f} … {high:+.1f}"
            shown = [f"{said}, λ={scale:g}", *(f"{change:+.1f}" for change in changes), f"{np.mean(changes):+.1f}"]
            lines.append("| " + " | ".join([*shown, f"**{text}**" if low > 0 or high < 0 else text]) + " |")
    return "\n".join(lines)
