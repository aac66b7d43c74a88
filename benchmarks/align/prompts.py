"""What is to be drawn: scenes that the playground's model knows, GenEval-style prompts, or a file of one's own.

Prompt i of a kind depends on the kind, i and the seed only, so a longer list begins with the shorter one.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from playground.model import scenes

PLAYGROUND_KINDS = ("unseen_combo", "unseen_pair", "three", "distractors")
GENEVAL_KINDS = ("single", "counting", "colours", "two objects", "position", "binding")

THINGS = (
    "apple, backpack, banana, bear, bed, bench, bicycle, bird, boat, book, bottle, bowl, bus, cake, car, carrot, cat, "
    "chair, clock, couch, cow, cup, dog, donut, elephant, fork, giraffe, handbag, horse, kite, knife, laptop, "
    "motorcycle, mouse, orange, oven, pizza, sandwich, scissors, sheep, skateboard, sink, spoon, stop sign, "
    "suitcase, surfboard, teddy bear, toaster, toothbrush, train, truck, umbrella, vase, zebra"
).split(", ")
PAINTS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white")
SIDES = ("left of", "right of", "above", "below")
COUNTS = {"two": 2, "three": 3, "four": 4}
PLURALS = {"knife": "knives", "sheep": "sheep", "scissors": "pairs of scissors", "mouse": "mice"}
UNCOUNTED = {"scissors": "a pair of scissors"}


@dataclass(frozen=True)
class Prompt:
    """`scene` is what the exact scorer compares with; None where there is no such thing."""

    text: str
    kind: str
    scene: scenes.Scene | None = None


def playground(kind: str, count: int, seed: int) -> list[Prompt]:
    """`count` prompts of a kind of `scenes.KINDS`. Raises ValueError for another kind."""
    if kind not in scenes.KINDS:
        raise ValueError(f"--kinds: got {kind!r}, allowed: {', '.join(scenes.KINDS)}")
    found: dict[str, Prompt] = {}
    for rng in _generators(kind, seed):
        if len(found) == count:
            break
        scene = scenes.sample(rng, kind)
        text = scenes.caption(scene, rng)
        found.setdefault(text, Prompt(text, kind, scene))
    return list(found.values())


def geneval(kind: str, count: int, seed: int) -> list[Prompt]:
    """`count` prompts in the manner of GenEval (Ghosh et al., arXiv 2310.11513): its six tasks, our words.

    Raises ValueError for a kind that is not one of `GENEVAL_KINDS`, and for more prompts than the kind has.
    """
    if kind not in GENEVAL_KINDS:
        raise ValueError(f"--kinds: got {kind!r}, allowed: {', '.join(GENEVAL_KINDS)}")
    if kind == "single" and count > len(THINGS):
        raise ValueError(f"--per-kind: got {count}, allowed: at most {len(THINGS)} of kind single")
    found: dict[str, Prompt] = {}
    for rng in _generators(kind, seed):
        if len(found) == count:
            break
        text = f"a photo of {_words(kind, rng)}"
        found.setdefault(text, Prompt(text, kind))
    return list(found.values())


def from_file(path: Path) -> list[Prompt]:
    """A prompt a line; empty lines and lines that start with # are left out. Raises ValueError for an empty list."""
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    texts = list(dict.fromkeys(line for line in lines if line and not line.startswith("#")))
    if not texts:
        raise ValueError(f"--prompts: {path} has no prompts; expected one a line")
    return [Prompt(text, path.stem) for text in texts]


def mixed(
    kinds: Sequence[str], make: Callable[[str, int, int], list[Prompt]], count: int, seed: int = 0
) -> list[Prompt]:
    """`count` prompts of each kind, in turns: wherever a run stops, all kinds have been drawn alike."""
    by_kind = [make(kind, count, seed) for kind in kinds]
    return [prompt for turn in zip(*by_kind) for prompt in turn]


def _generators(kind: str, seed: int) -> Iterator[random.Random]:
    index = 0
    while True:
        yield random.Random(f"{seed}/{kind}/{index}")
        index += 1


def _words(kind: str, rng: random.Random) -> str:
    first, second = rng.sample(THINGS, 2)
    paint, other = rng.sample(PAINTS, 2)
    if kind == "single":
        return _a(first)
    if kind == "counting":
        return f"{rng.choice(tuple(COUNTS))} {_plural(first)}"
    if kind == "colours":
        return _a(first, paint)
    if kind == "two objects":
        return f"{_a(first)} and {_a(second)}"
    if kind == "position":
        return f"{_a(first)} {rng.choice(SIDES)} {_a(second)}"
    return f"{_a(first, paint)} and {_a(second, other)}"


def _a(thing: str, paint: str = "") -> str:
    words = f"{paint} {thing}".strip()
    if thing in UNCOUNTED:
        return f"a {paint} pair of {thing}" if paint else UNCOUNTED[thing]
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _plural(thing: str) -> str:
    if thing in PLURALS:
        return PLURALS[thing]
    return thing + ("es" if thing.endswith(("s", "ch", "sh", "x")) else "s")
