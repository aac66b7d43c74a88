"""Which preset to suggest for the model in use and its CFG scale.

The panel shows the suggestion; only the user applies it. Evidence counts in this order: the user's own blind test of
this checkpoint; published figures for its family (arXiv 2503.07677); users' reports, for models trained on tags, which
the paper did not measure; otherwise nothing. Our study (docs/alignment.md) counts only for the model that it measured.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

UNETS = {"sd1": "SD1", "sd2": "SD2", "sdxl": "SDXL"}
JOINT = {"sd3": "SD3", "flux": "Flux"}
NOT_LOADED = ""
"""The family of a checkpoint that the web UI has not loaded yet."""

FEW_STEPS = re.compile(
    r"turbo|lightning|lcm|hyper(?![-_ ]?re[ae]l)|schnell|distil|dmd|tcd|(?<!\d)[1-8][-_ ]?steps?(?![a-z])", re.I
)
TAGS = re.compile(
    r"pony|illustrious|noob|animagine|anything|danbooru|novelai|(?<![a-z])nai(?![a-z])|wai-?(ns|il)", re.I
)
STUDIED = "pladis-playground"

GUIDED, UNGUIDED = "above 1", "1"


@dataclass(frozen=True)
class Model:
    """A model as the web UI describes it: the family (a key of UNETS or JOINT, another name, or NOT_LOADED), its name,
    and the short hash of its file ("": not known)."""

    family: str
    name: str
    hash: str = ""

    @property
    def kind(self) -> str:
        """The kind of model, from its name: "studied", "studied few steps", "tags", "few steps" or ""."""
        few = "few steps" if FEW_STEPS.search(self.name) else ""
        if self.name.startswith(STUDIED):
            return f"studied {few}".strip()
        return "tags" if TAGS.search(self.name) else few


@dataclass(frozen=True)
class Rule:
    """`preset` for models of this family, kind and CFG (GUIDED or UNGUIDED); "" for any."""

    preset: str
    why: str
    family: str = ""
    kind: str = ""
    cfg: str = ""


RULES: tuple[Rule, ...] = (
    Rule(
        "Few steps",
        "Our study measured this model: this preset lost nothing, λ 2 alone 5 points of correct pictures.",
        kind="studied few steps",
    ),
    Rule(
        "No guidance",
        "Our study measured this model: without guidance this preset gained 1 to 3 points of correct pictures.",
        kind="studied",
        cfg=UNGUIDED,
    ),
    Rule(
        "Steady",
        "Our study measured this model: above CFG 1 no preset gained anything. This one loses the least: no clear loss "
        "up to CFG 5, and 2 points of correct pictures at CFG 7, where λ 2 loses 27.",
        kind="studied",
        cfg=GUIDED,
    ),
    Rule(
        "Tag-based",
        "Its name says that it was trained on tags. There are no figures for such models; users report λ 2 as too "
        "strong. A blind test tells whether it helps your model.",
        kind="tags",
    ),
    Rule(
        "Official code",
        "The paper reports gains on distilled SDXL models, with its authors' pipeline. A blind test tells whether it "
        "helps your model.",
        family="sdxl",
        kind="few steps",
    ),
    Rule(
        "Official code",
        "The paper measured SDXL without guidance, with its authors' pipeline: FID 83.68 → 79.72, CLIPScore 20.92 → "
        "21.86, ImageReward −1.050 → −0.858. A blind test tells whether it helps your model.",
        family="sdxl",
        cfg=UNGUIDED,
    ),
    Rule(
        "Official code",
        "The paper measured SDXL with guidance, with its authors' pipeline: FID 23.39 → 19.01, CLIPScore 25.91 → "
        "26.61, ImageReward 0.425 → 0.622. A blind test tells whether it helps your model.",
        family="sdxl",
        cfg=GUIDED,
    ),
    Rule(
        "Paper",
        "The paper reports gains on Flux with λ 2. A blind test tells whether it helps your model.",
        family="flux",
    ),
)
"""The first rule that fits is used."""

NO_FIGURES = (
    "No figures are published for this kind of model. “Blind test”, in the list of scripts, tells whether it helps."
)
UNKNOWN = "The web UI has not loaded this checkpoint yet; its kind is known after the first picture."
OWN = "You preferred it in your own blind test of this checkpoint."
OWN_OFF = "In your own blind test of this checkpoint you preferred the plain pictures."
OWN_SO_FAR = "Your own blind test of this checkpoint does not tell yet:"


@dataclass(frozen=True)
class Own:
    """What the user's votes say of one candidate against off: its name, what it sets, the share that preferred it,
    whether that is clear, and the sentences about it, with the values to fill in."""

    name: str
    sets: Mapping[str, Any]
    share: float
    clear: bool
    said: Sequence[tuple[str, Mapping[str, Any]]]


@dataclass(frozen=True)
class Suggestion:
    """A suggestion.

    `about` names model and CFG scale; `preset` is the suggested one, or "" if there is none; `own` is the test whose
    candidate it is; `said` are that test's sentences, which follow `why`.
    """

    about: str
    preset: str
    why: str
    said: Sequence[tuple[str, Mapping[str, Any]]] = field(default=())
    own: Own | None = None


def suggest(model: Model, cfg: float, own: Sequence[Own] = ()) -> Suggestion:
    """The preset for `model` at this CFG scale (1 or less: without guidance); `own` are the user's tests of it."""
    family = UNETS.get(model.family) or JOINT.get(model.family) or model.family
    about = model.name if model.family == NOT_LOADED else f"{family}, CFG {cfg:g}"
    best = max(own, key=lambda each: (each.clear, each.share), default=None)
    if best is not None and best.clear:
        if best.share > 0.5:
            return Suggestion(about, best.name, OWN, best.said, best)
        return Suggestion(about, "", OWN_OFF, best.said)
    found = _published(model, cfg, about)
    return found if best is None else replace(found, said=[(OWN_SO_FAR, {}), *best.said])


def _published(model: Model, cfg: float, about: str) -> Suggestion:
    if model.family == NOT_LOADED:
        return Suggestion(about, "", UNKNOWN)
    now = GUIDED if cfg > 1 else UNGUIDED
    for rule in RULES:
        if rule.family in ("", model.family) and rule.kind in ("", model.kind) and rule.cfg in ("", now):
            return Suggestion(about, rule.preset, rule.why)
    return Suggestion(about, "", NO_FIGURES)
