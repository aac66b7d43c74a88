"""The study of docs/alignment.md, second part: a setting is chosen on some prompts and judged on others.

Its tables are `Comparison`s: settings down, models and guidance scales across, each against PLADIS off there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from .point import Point
from .study import EXPERIMENTS, FIRST_SEED, HELD_OUT, MODELS, WORTH, Experiment

MANY, FEW = "many-steps", "few-steps"


@dataclass(frozen=True)
class Column:
    """One way to draw: a model of `study.MODELS` at a guidance scale."""

    title: str
    model: str
    cfg: float


COLUMNS = (
    Column("CFG 1", MANY, 1.0),
    Column("CFG 3", MANY, 3.0),
    Column("CFG 5", MANY, 5.0),
    Column("CFG 7", MANY, 7.0),
    Column("4 steps", FEW, 1.0),
)


@dataclass(frozen=True)
class Comparison:
    """`settings` (points whose cfg counts for nothing), each in all `columns`.

    kinds, per_kind, words, first_seed, own_noise: as `Experiment`. `few_per_kind`: with the 4-step model, which
    draws quicker, where it is another number.
    """

    name: str
    settings: Sequence[Point]
    per_kind: int
    kinds: Sequence[str] = HELD_OUT
    words: int = 0
    first_seed: int = FIRST_SEED
    few_per_kind: int = 0
    own_noise: bool = False
    columns: Sequence[Column] = COLUMNS

    @property
    def models(self) -> list[str]:
        """Those that it draws with."""
        return [model for model in MODELS if any(column.model == model for column in self.columns)]

    def point(self, setting: Point, column: Column) -> Point:
        """A setting in a column."""
        return replace(setting, cfg=column.cfg)

    def experiment(self, model: str) -> Experiment:
        """What is to be drawn with a model: the settings at its guidance scales, and off."""
        columns = [column for column in self.columns if column.model == model]
        off = [Point(column.cfg, scale=0.0) for column in columns]
        points = [self.point(setting, column) for setting in self.settings for column in columns]
        per_kind = self.few_per_kind if model == FEW and self.few_per_kind else self.per_kind
        fresh = (self.words, self.first_seed, self.own_noise)
        return Experiment(self.name, model, [*off, *points], self.kinds, per_kind, *fresh)


def settings(**values: Sequence[float | str]) -> list[Point]:
    """All combinations of the values of some settings, the last named first to vary."""
    found = [Point(1.0)]
    for name, each in values.items():
        found = [Point(**{**vars(point), name: value}) for point in found for value in each]
    return found


PAPER = Point(1.0)
"""The paper's λ = 2, α = 1.5 in all layers, which is the extension's default."""

CHOSEN = Point(1.0, scale=1.0, rescale=1.0)
"""What the claims are made of."""

FAR_WORDS, FAR_SEED = 1, 900_000
"""Other prompts and other noise than anything was chosen on."""

OWN_SEED = 2_000_000
"""Where the noise begins that each prompt has for itself."""

NOISY = (Point(1.0, scale=0.5), Point(1.0, scale=1.0), PAPER, CHOSEN)
"""Whose gains without guidance are looked at once more with noise of each prompt's own."""

CHOICE_SEED, PROOF_SEED, PROOF_WORDS = 3_000_000, 5_000_000, 2
"""Noise of each prompt's own, to choose with and to judge with, and the words of the judged prompts."""

SCALES = (0.5, 1.0, 1.5, 2.0, 3.0)

VARIANTS = (
    Point(1.0, scale=1.0, rescale=1.0),
    Point(1.0, scale=1.0, rescale=1.0, end=0.5),
    Point(1.0, scale=1.0, rescale=1.0, start=0.3),
    Point(1.0, scale=1.0, rescale=1.0, target="positive"),
    Point(1.0, scale=1.0, rescale=1.0, target="negative"),
    Point(1.0, scale=2.0, rescale=1.0),
    Point(1.0, scale=2.0, rescale=1.0, end=0.5),
    Point(1.0, scale=2.0, rescale=1.0, end=0.3),
    Point(1.0, scale=2.0, rescale=1.0, alpha=1.25),
    Point(1.0, scale=2.0, rescale=1.0, layers="d0-d1,u0-u3"),
    Point(1.0, scale=2.0, rule="gag 0.5"),
    Point(1.0, scale=2.0, rule="cap 1"),
)
"""Around λ = 1 and 2 with φ = 1. The layers are those of the paper's code: down and up, without the middle."""

NEAR = (
    CHOSEN,
    replace(CHOSEN, end=0.5),
    replace(CHOSEN, scale=1.5, end=0.5),
    replace(CHOSEN, rescale=0.0),
)
"""What the choice was between, and the chosen one without φ."""

CANDIDATES = (
    *settings(scale=(0.5, 1.0, 2.0), rescale=(0.0, 0.5, 1.0)),
    Point(1.0, scale=1.0, rescale=0.7),
    Point(1.0, scale=1.5, rescale=1.0),
    Point(1.0, scale=0.5, rescale=1.0, end=0.5),
    Point(1.0, scale=1.0, rescale=1.0, end=0.5),
    Point(1.0, scale=2.0, rescale=1.0, end=0.3),
    Point(1.0, scale=2.0, end=0.3),
)
"""What the second choice is between."""

FINALISTS = (
    Point(1.0, scale=0.5),
    Point(1.0, scale=0.5, rescale=0.5),
    Point(1.0, scale=0.5, rescale=1.0),
    Point(1.0, scale=0.5, rescale=1.0, end=0.5),
    Point(1.0, scale=1.0, rescale=1.0, end=0.5),
)
"""Those of the candidates that are nowhere more than 4 points below off with a quarter of the pictures."""

STEADY = FINALISTS[2]
"""The one of them whose worst column is the best."""

GRID = settings(rescale=(0.0, 0.5, 0.7, 1.0), scale=SCALES)
"""Every λ with every φ."""

AROUND = (
    *(point for point in VARIANTS if point.target == "both" and point != CHOSEN),
    replace(STEADY, start=0.3),
    replace(STEADY, layers="d0-d1,u0-u3"),
)
"""The variants once more, and two of Steady's."""

TARGETS = settings(target=("positive", "negative"), rescale=(1.0,), scale=(0.5, 2.0))

NEGATIVE = settings(target=("negative",), rescale=(0.0, 1.0), scale=(0.5, 1.0, 2.0, 3.0))
"""The blend on the negative prompt only, which the table of `TARGETS` speaks for."""

AGAIN_WORDS, AGAIN_SEED = 3, 7_000_000
"""Words and noise that nothing was chosen or judged on, to say the proof over."""

COMPARISONS: tuple[Comparison, ...] = (
    Comparison("rescale", settings(rescale=(0.0, 1.0), scale=SCALES), 4),
    Comparison("variants", VARIANTS, 3),
    Comparison("near", NEAR, 8),
    Comparison("claims", [CHOSEN], 38, words=FAR_WORDS, first_seed=FAR_SEED, few_per_kind=96),
    Comparison("noise", NOISY, 25, words=FAR_WORDS, first_seed=OWN_SEED, own_noise=True, columns=COLUMNS[:1]),
    Comparison(
        "noise-guided",
        [replace(CHOSEN, scale=0.5), CHOSEN],
        14,
        words=FAR_WORDS,
        first_seed=OWN_SEED,
        own_noise=True,
        columns=COLUMNS[1:4],
    ),
    Comparison("choice", CANDIDATES, 8, first_seed=CHOICE_SEED, own_noise=True, few_per_kind=32),
    Comparison("finalists", FINALISTS, 32, first_seed=CHOICE_SEED, own_noise=True),
    Comparison("proof", [STEADY], 128, words=PROOF_WORDS, first_seed=PROOF_SEED, own_noise=True),
    Comparison(
        "proof-near",
        [STEADY, replace(STEADY, rescale=0.7)],
        32,
        words=PROOF_WORDS,
        first_seed=PROOF_SEED,
        own_noise=True,
    ),
    Comparison("proof-paper", [PAPER], 32, words=PROOF_WORDS, first_seed=PROOF_SEED, own_noise=True, few_per_kind=128),
    Comparison(
        "proof-unguided",
        [Point(1.0, scale=1.0), PAPER],
        128,
        words=PROOF_WORDS,
        first_seed=PROOF_SEED,
        own_noise=True,
        columns=COLUMNS[:1],
    ),
    Comparison(
        "again", [STEADY, Point(1.0, scale=1.0), PAPER], 32, words=AGAIN_WORDS, first_seed=AGAIN_SEED, own_noise=True
    ),
    Comparison("grid", GRID, 32, first_seed=CHOICE_SEED, own_noise=True),
    Comparison("around", AROUND, 32, first_seed=CHOICE_SEED, own_noise=True, columns=(COLUMNS[0], COLUMNS[2])),
    Comparison("targets", TARGETS, 16, first_seed=CHOICE_SEED, own_noise=True, columns=COLUMNS[1:4]),
    Comparison("negative", NEGATIVE, 16, first_seed=CHOICE_SEED, own_noise=True, columns=COLUMNS[1:4]),
    Comparison(
        "proof-negative",
        [replace(PAPER, target="negative", rescale=1.0)],
        128,
        words=PROOF_WORDS,
        first_seed=PROOF_SEED,
        own_noise=True,
        columns=COLUMNS[1:4],
    ),
    Comparison(
        "proof-mild",
        [replace(STEADY, target="negative")],
        32,
        words=PROOF_WORDS,
        first_seed=PROOF_SEED,
        own_noise=True,
        columns=COLUMNS[1:4],
    ),
)

ALL, NORMS = "all", "norms"
"""Names for `experiments`: of everything, and of what `norms.py` measures, which has no pictures."""


def experiments(names: str = ALL) -> list[Experiment]:
    """What is to be drawn for the tables of these names, with commas between; `ALL` for both parts of the study.

    Raises ValueError for a name that there is not.
    """
    by_name = {one.name: [one] for one in (*EXPERIMENTS, WORTH)}
    for comparison in COMPARISONS:
        by_name[comparison.name] = [comparison.experiment(model) for model in comparison.models]
    by_name[NORMS] = []
    wanted = [name.strip() for name in names.split(",")] if names != ALL else list(by_name)
    unknown = [name for name in wanted if name not in by_name]
    if unknown:
        raise ValueError(f"--study: got {unknown[0]!r}, allowed: {', '.join(by_name)}")
    return [experiment for name in wanted for experiment in by_name[name]]
