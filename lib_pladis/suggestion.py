"""Which preset the figures speak for, by the model in use and its CFG scale. The panel shows it; a person takes it.

The figures are the paper's (arXiv 2503.07677) and those of our study, docs/alignment.md.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

UNETS = {"sd1": "SD1", "sd2": "SD2", "sdxl": "SDXL"}
JOINT = {"sd3": "SD3", "flux": "Flux"}
NOT_LOADED = ""
"""The family while the web UI has not loaded the checkpoint."""

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
    """What the web UI says of it: the family (a key of UNETS or JOINT, another name, or NOT_LOADED), its name, and the
    short hash of its file ("": not known)."""

    family: str
    name: str
    hash: str = ""

    @property
    def kind(self) -> str:
        """What its name tells: "few steps", "tags", "studied" or ""."""
        if FEW_STEPS.search(self.name):
            return "few steps"
        if TAGS.search(self.name):
            return "tags"
        return "studied" if self.name.startswith(STUDIED) else ""


@dataclass(frozen=True)
class Rule:
    """`preset` for models of this kind (a kind, or "" for any) and CFG (GUIDED, UNGUIDED or "")."""

    kind: str
    cfg: str
    preset: str
    why: str


RULES: tuple[Rule, ...] = (
    Rule(
        "few steps",
        "",
        "Few steps",
        "Its name says that it is made for few steps. On such a model this preset cost nothing in our study, λ 2 "
        "alone 5.5 points of pictures all right.",
    ),
    Rule(
        "studied",
        UNGUIDED,
        "No guidance",
        "Our study measured this very model: without guidance it gained 2 to 3 points of pictures all right.",
    ),
    Rule(
        "",
        UNGUIDED,
        "Few steps",
        "CFG 1 is mostly for distilled models: on one of them this preset cost nothing in our study, λ 2 alone "
        "5.5 points. If yours is not distilled, take No guidance.",
    ),
    Rule(
        "tags",
        GUIDED,
        "Tag-based",
        "Its name says that it was trained on tags. There are no figures for such models; users report λ 2 as too "
        "strong.",
    ),
    Rule(
        "studied",
        GUIDED,
        "Steady",
        "Our study measured this very model: this preset costs nothing at CFG 3, and one to two points of pictures all "
        "right at CFG 5 to 7 that could be chance, where λ 2 costs 18 to 29.",
    ),
    Rule(
        "",
        GUIDED,
        "Steady",
        "The paper measured gains with λ 2 on SDXL, our study of a small U-Net losses wherever there is guidance, "
        "the least with this preset: one to two points, which could be chance. Compare shows which holds for yours.",
    ),
)
"""The first that fits holds."""

FLUX = Rule(
    "",
    "",
    "Paper",
    "The paper reports gains on Flux with λ 2. Our study measured no such model: Compare shows what yours does.",
)
"""For Flux, at any CFG."""

NO_FIGURES = "There are no figures for this kind of model: neither the paper nor our study measured one."
UNKNOWN = "The web UI has not loaded this checkpoint yet; after a first picture it can be said what it is."


@dataclass(frozen=True)
class Suggestion:
    """`about` is the model and CFG in a word; `preset` a built-in preset's name, or "" where there are no figures."""

    about: str
    preset: str
    why: str


def suggest(model: Model, cfg: float) -> Suggestion:
    """The preset for `model` at this CFG scale (1 or less: without guidance)."""
    if model.family == NOT_LOADED:
        return Suggestion(model.name, "", UNKNOWN)
    about = f"{UNETS.get(model.family) or JOINT.get(model.family) or model.family}, CFG {cfg:g}"
    if model.family in UNETS:
        now = GUIDED if cfg > 1 else UNGUIDED
        for rule in RULES:
            if rule.kind in ("", model.kind) and rule.cfg in ("", now):
                return Suggestion(about, rule.preset, rule.why)
    if model.family == "flux":
        return Suggestion(about, FLUX.preset, FLUX.why)
    return Suggestion(about, "", NO_FIGURES)
