"""The study of docs/alignment.md, first part: which points, prompts and seeds each of its experiments has.

The second part, in which settings are chosen and then judged on other prompts and seeds, is in `second.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from . import prompts
from .point import Point, grid
from .runner import Plan
from .webui import Drawing

SCALES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
ALPHAS = (1.25, 1.5, 1.75, 2.0)
GROUPS = ("d0-d1", "m0", "u0-u3", "all")
"""Down, middle and up blocks of the playground's U-Net, and all of them."""

FEW_SCALES = (0.0, 0.5, 1.0, 2.0)
"""Where more pictures a point are drawn."""

WORTH_PLAIN, WORTH_BESIDE = (1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0), (1.0, 1.25, 1.5, 2.0)
"""Guidance scales with PLADIS off, and those at which PLADIS is drawn beside them."""

PER_KIND, SEEDS, FIRST_SEED = 32, 4, 1000
"""Prompts of each kind, and pictures of each prompt: 512 pictures a point with four kinds."""

BATCH = 16
"""Pictures drawn at once."""

SPARE = 8
"""Prompts made too many, for those that are left out."""

MANY_PER_KIND = 128
"""512 pictures a point with one kind, 2,048 with four."""

HELD_OUT, KNOWN = prompts.PLAYGROUND_KINDS, "train"
"""Kinds that training does not show or shows rarely, and the training's own."""

MODELS = {
    "many-steps": Drawing(10, "DPM++ 2M", "Karras", 128, 128, ""),
    "few-steps": Drawing(4, "Euler", "SGM Uniform", 128, 128, ""),
}
"""How the playground's checkpoint and the one distilled from it draw."""

CHECKPOINTS = {"many-steps": "pladis-playground", "few-steps": "pladis-playground-4step"}


@dataclass(frozen=True)
class Experiment:
    """`points` with the prompts of `kinds` and the study's seeds on one of `MODELS`.

    `words` is the seed that the prompts are made from; with another than 0 those that 0 gives are left out.
    With `own_noise` no two prompts share a seed.
    """

    name: str
    model: str
    points: Sequence[Point]
    kinds: Sequence[str] = HELD_OUT
    per_kind: int = PER_KIND
    words: int = 0
    first_seed: int = FIRST_SEED
    own_noise: bool = False

    @property
    def prompts(self) -> list[prompts.Prompt]:
        make = _unknown if self.words else prompts.playground
        return prompts.mixed(self.kinds, make, self.per_kind, self.words)

    @property
    def seeds(self) -> range:
        count = SEEDS * len(self.kinds) * self.per_kind if self.own_noise else SEEDS
        return range(self.first_seed, self.first_seed + count)

    @property
    def plan(self) -> Plan:
        """What is to be drawn."""
        return Plan(self.points, self.prompts, self.seeds, BATCH, SEEDS if self.own_noise else 0)


def _unknown(kind: str, count: int, seed: int) -> list[prompts.Prompt]:
    """`prompts.playground` without the prompts that smaller seeds give."""
    known = {prompt.text for words in range(seed) for prompt in prompts.playground(kind, MANY_PER_KIND, words)}
    found = [prompt for prompt in prompts.playground(kind, count + SPARE, seed) if prompt.text not in known]
    return found[:count]


def _experiments() -> list[Experiment]:
    many, few = MODELS
    square = {"alpha": ALPHAS, "scale": SCALES}
    line, short = {"scale": SCALES}, {"scale": FEW_SCALES}
    sharp, soft = {"alpha": [1.0], "temperature": [0.5, 0.75]}, {"temperature": [0.5, 1.0, 1.5]}
    both = grid({"cfg": [5.0, 1.0], **short})
    found = [
        Experiment("line", many, both, per_kind=MANY_PER_KIND),
        Experiment("line-few-step", few, grid({"cfg": [1.0], **short}), per_kind=MANY_PER_KIND),
        Experiment("guided", many, grid({"cfg": [5.0], **square})),
        Experiment("unguided", many, grid({"cfg": [1.0], **square})),
        Experiment("guidance", many, grid({"cfg": [1.0, 2.0, 3.0, 5.0], **short})),
        Experiment("few-step", few, grid({"cfg": [1.0], **line})),
        Experiment("layers", many, grid({"cfg": [5.0, 1.0], "layers": GROUPS})),
        Experiment("temperature", many, unique([*grid({"cfg": [1.0], **soft}), *grid({"cfg": [1.0], **sharp})])),
    ]
    for kind in (*HELD_OUT, KNOWN):
        found.append(Experiment(f"kind-{kind.replace('_', '-')}", many, both, (kind,), MANY_PER_KIND))
    return found


def unique(points: Sequence[Point]) -> list[Point]:
    return list(dict.fromkeys(points))


EXPERIMENTS: tuple[Experiment, ...] = tuple(_experiments())
"""Pictures that several experiments have are drawn once: `line` is the kinds' together without `KNOWN`."""

WORTH = Experiment(
    "guidance-worth",
    "many-steps",
    unique([*grid({"cfg": WORTH_PLAIN, "scale": [0.0]}), *grid({"cfg": WORTH_BESIDE, "scale": [0.5, 1.0, 2.0]})]),
    words=4,
    first_seed=9_000_000,
    own_noise=True,
)
"""What PLADIS is worth in guidance, on words and noise that no other part of the study has."""
