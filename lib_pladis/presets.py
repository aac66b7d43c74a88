"""The built-in presets: settings for a kind of model, by a name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lib_pladis.settings import BESIDE, HIRES, TABLE, Settings

PRESET_SETS = tuple(name for name in TABLE if name not in {"enabled", "hr_override", *HIRES, *BESIDE})
"""What choosing a preset changes: everything that makes the picture but the Hires. fix override."""


@dataclass(frozen=True)
class Preset:
    """Settings for a kind of model, by a name; what is not in `values` has its default."""

    name: str
    reason: str
    values: Mapping[str, Any]

    @property
    def slug(self) -> str:
        """The name as part of an element's id: small letters and underscores."""
        return "".join(c if c.isalnum() else "_" for c in self.name.lower())

    @property
    def settings(self) -> Settings:
        """What it amounts to. Raises SettingsError for a value that is not allowed."""
        return Settings.from_dict({"enabled": True, **self.values})


PRESETS: tuple[Preset, ...] = (
    Preset(
        "Paper",
        "λ 2, α 1.5, as in the paper, which measured its gains on SDXL. The defaults.",
        {"scale": 2.0, "alpha": 1.5},
    ),
    Preset(
        "Gentle",
        "λ 0.5: in our study it cost the least, a point of pictures all right at most, with CFG 5 and on a 4-step "
        "model; without CFG it had most of the gain.",
        {"scale": 0.5, "alpha": 1.5},
    ),
    Preset(
        "CFG 1",
        "λ 1, for a model without guidance that is not distilled: there our study found gains of 2.5 to 3.4 points "
        "from λ 0.5 to 2. For few-step models take Gentle.",
        {"scale": 1.0, "alpha": 1.5},
    ),
    Preset(
        "Tag-based model",
        "λ 1, α 1.25: users report λ 2 as too strong on tag-trained models; in our study this cost 1.8 points with "
        "CFG 5, which could be chance, where λ 2, α 1.5 cost 11.5. Not measured on such a model.",
        {"scale": 1.0, "alpha": 1.25},
    ),
)
