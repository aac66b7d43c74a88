"""Presets: named settings for a kind of model. The built-in ones, and any preset as text that users share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lib_pladis.json_file import FileError
from lib_pladis.settings import BESIDE, HIRES, TABLE, Settings, SettingsError

PRESET_SETS = tuple(name for name in TABLE if name not in {"enabled", "hr_override", *HIRES, *BESIDE})
"""The settings that a preset sets: everything that makes the picture except the Hires. fix override."""

LONGEST_NAME, LONGEST_REASON, LONGEST_TEXT = 60, 500, 20_000
FORMAT = 1
KEYS = ("pladis_preset", "name", "reason", "settings")


class PresetError(FileError):
    """An error about a preset, with a message for the user."""


@dataclass(frozen=True)
class Preset:
    """Named settings for a kind of model; whatever is not in `values` has its default."""

    name: str
    reason: str
    values: Mapping[str, Any]

    @property
    def settings(self) -> Settings:
        """The complete settings. Raises SettingsError for a value that is not allowed."""
        return Settings.from_dict({"enabled": True, **self.values})

    @property
    def sets(self) -> dict[str, Any]:
        """The values of all settings that it sets, by name."""
        return {name: getattr(self.settings, name) for name in PRESET_SETS}

    def as_text(self) -> str:
        """JSON that `read` takes."""
        return json.dumps(self.as_dict(), ensure_ascii=False, indent=1)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, including defaults, because another version may have other defaults."""
        return dict(zip(KEYS, (FORMAT, self.name, self.reason, self.sets)))


PRESETS: tuple[Preset, ...] = (
    Preset(
        "Paper",
        "λ 2, α 1.5 in all layers, as the paper describes the method. The defaults.",
        {"scale": 2.0, "alpha": 1.5},
    ),
    Preset(
        "Official code",
        "The paper's λ 2 and α 1.5, in the down and up blocks only, as in its authors' SDXL code.",
        {"scale": 2.0, "alpha": 1.5, "layers": "d,u"},
    ),
    Preset(
        "Steady",
        "λ 0.5, with the norm of each output restored (φ 1): the mildest. In our study of a small model it had no "
        "clear loss up to CFG 5, and lost 2 points at CFG 7, where λ 2 lost 27.",
        {"scale": 0.5, "alpha": 1.5, "rescale": 1.0},
    ),
    Preset(
        "No guidance",
        "λ 1, for CFG 1 on a model that is not distilled: in our study of a small model it gained 1 to 3 points of "
        "correct pictures.",
        {"scale": 1.0, "alpha": 1.5},
    ),
    Preset(
        "Few steps",
        "λ 1, with the norm of each output restored (φ 1), for distilled models without published figures: on a small "
        "one it lost nothing in our study; λ 2 without rescaling lost 5 points.",
        {"scale": 1.0, "alpha": 1.5, "rescale": 1.0},
    ),
    Preset(
        "Tag-based",
        "λ 1, α 1.25, for models trained on tags: users report λ 2 as too strong there. Not measured on such a model.",
        {"scale": 1.0, "alpha": 1.25},
    ),
)
BUILT_IN: dict[str, Preset] = {preset.name: preset for preset in PRESETS}


def check_name(name: object) -> str:
    """The name of a user's own preset, without surrounding spaces. Raises PresetError."""
    if not isinstance(name, str) or not name.strip():
        raise PresetError("Give it a name first.")
    name = " ".join(name.split())
    if len(name) > LONGEST_NAME:
        raise PresetError("This name is too long; characters allowed:", str(LONGEST_NAME))
    if not name.isprintable():
        raise PresetError("This name has characters that can't be shown:", repr(name))
    if name.casefold() in (built_in.casefold() for built_in in BUILT_IN):
        raise PresetError("This is a built-in preset's name:", name)
    return name


def read(data: object) -> Preset:
    """A preset from the result of `as_dict`. The name may be a built-in preset's. Raises PresetError."""
    if not isinstance(data, Mapping) or "pladis_preset" not in data:
        raise PresetError("This is not a preset: “pladis_preset” is missing.")
    if data["pladis_preset"] != FORMAT:
        raise PresetError("This preset was made by another version of the extension:", repr(data["pladis_preset"]))
    unknown = [str(key) for key in data if key not in KEYS]
    if unknown:
        raise PresetError("This preset has unknown parts:", ", ".join(unknown))
    name, reason, values = data.get("name"), data.get("reason", ""), data.get("settings")
    if not isinstance(name, str) or name not in BUILT_IN:
        name = check_name(name)
    if not isinstance(reason, str) or len(reason) > LONGEST_REASON:
        raise PresetError("Its “reason” is not a text, or too long; characters allowed:", str(LONGEST_REASON))
    if not isinstance(values, Mapping):
        raise PresetError("Its “settings” are missing.")
    strange = [str(key) for key in values if key not in PRESET_SETS]
    if strange:
        raise PresetError("It has settings that a preset can't set:", ", ".join(strange))
    preset = Preset(name, reason, dict(values))
    try:
        preset.settings  # noqa: B018 - raises
    except SettingsError as error:
        raise PresetError("A value is not allowed:", str(error)) from None
    return preset


def read_text(text: str) -> Preset:
    """A preset from the text that `Preset.as_text` makes. Raises PresetError."""
    if not text.strip():
        raise PresetError("Paste the text of a preset first.")
    if len(text) > LONGEST_TEXT:
        raise PresetError("This text is too long for a preset; characters allowed:", str(LONGEST_TEXT))
    try:
        data = json.loads(text.lstrip("\ufeff"))
    except (ValueError, RecursionError) as error:
        raise PresetError("This text is not JSON:", str(error)) from None
    return read(data)
