"""One point of a grid: PLADIS settings and a guidance scale."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, make_dataclass, replace
from typing import Any

from lib_pladis.presets import Preset
from lib_pladis.settings import TABLE, Settings

_ALWAYS = ("scale", "alpha", "layers", "start", "end", "schedule", "target", "temperature")
"""Settings that `str(point)` always contains, in this order; it seeds intervals, and must not change."""

AXES = tuple(
    dict.fromkeys((*_ALWAYS, *(name for name, setting in TABLE.items() if setting.infotext and setting.row != "hires")))
)
"""The settings that a grid may vary, besides the guidance scale: all that make a picture's first pass."""

SYMBOLS = {"scale": "λ", "alpha": "α", "temperature": "T", "rescale": "φ", "cfg": "CFG"}


_Values: Any = make_dataclass(
    "_Values", [("cfg", float), *((name, Any, TABLE[name].default) for name in AXES)], frozen=True
)


@dataclass(frozen=True)
class Point(_Values):
    """PLADIS settings (of `lib_pladis.settings`) and the guidance scale `cfg` that they run with."""

    def __post_init__(self) -> None:
        """Raises SettingsError for a value that the extension would refuse."""
        for name in AXES:
            object.__setattr__(self, name, TABLE[name].parse(getattr(self, name)))
        object.__setattr__(self, "cfg", float(self.cfg))

    def __str__(self) -> str:
        """All values; those that older results do not have only where they are not the default."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        shown = [name for name in values if name in ("cfg", *_ALWAYS) or values[name] != TABLE[name].default]
        return f"Point({', '.join(f'{name}={values[name]!r}' for name in shown)})"

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> Point:
        """The point that `vars(point)` was written of; what an older record does not have is at its default."""
        return cls(**{field.name: record[field.name] for field in fields(cls) if field.name in record})

    @classmethod
    def of(cls, preset: Preset, cfg: float) -> Point:
        """A preset at a guidance scale. Raises ValueError for one that sets what a point can't."""
        strange = set(preset.values) - set(AXES)
        if strange:
            raise ValueError(f"{preset.name}: a point has no {', '.join(sorted(strange))}")
        return cls(cfg, **preset.values)

    @property
    def off(self) -> Point:
        """What it is compared with: PLADIS off at the same guidance scale."""
        return Point(self.cfg, scale=0.0)

    @property
    def is_off(self) -> bool:
        return self == self.off

    @property
    def settings(self) -> Settings:
        """The extension's settings; not enabled where it is off."""
        return Settings(enabled=not self.is_off, **{name: getattr(self, name) for name in AXES})

    @property
    def arguments(self) -> dict[str, Any]:
        """The extension's argument of an API request."""
        if self.is_off:
            return {"enabled": False}
        return {"enabled": True, **{name: getattr(self, name) for name in AXES}}

    def name(self, axes: Sequence[str]) -> str:
        """The values of `axes`, for people: `λ=2 α=1.5`; `off` for PLADIS off."""
        shown = [axis for axis in axes if axis == "cfg" or not self.is_off]
        parts = [f"{SYMBOLS.get(axis, axis)}={_text(getattr(self, axis))}" for axis in shown]
        return " ".join([*(["off"] if self.is_off else []), *parts])


def grid(values: Mapping[str, Sequence[Any]]) -> list[Point]:
    """All combinations of the values of the axes (`AXES` and cfg), and PLADIS off at every cfg.

    Combinations that install nothing (λ = 0; α = 1 at temperature 1; an empty range of steps) are PLADIS off.
    Raises SettingsError for a value that is not allowed.
    """
    names = list(values)
    points = [_normal(Point(**dict(zip(names, one)))) for one in itertools.product(*values.values())]
    return list(dict.fromkeys([*(point.off for point in points), *points]))


def varied(points: Sequence[Point]) -> list[str]:
    """The axes in which the points that are not off differ from each other, or cfg among all."""
    on = [point for point in points if not point.is_off]
    axes = [axis for axis in AXES if len({getattr(point, axis) for point in on}) > 1]
    return [*(["cfg"] if len({point.cfg for point in points}) > 1 else []), *(axes or ["scale", "alpha"])]


def parse_values(axis: str, text: str) -> list[Any]:
    """Comma-separated values of an axis; a value that has commas itself stands in double quotes.

    Raises SettingsError (PLADIS settings) or ValueError (cfg) with what is allowed.
    """
    words = [word.strip() for word in next(csv.reader([text], skipinitialspace=True), [])]
    if not words:
        raise ValueError(f"--{axis}: got {text!r}, allowed: values with commas between")
    if axis != "cfg":
        return [TABLE[axis].parse_text(word) for word in words]
    try:
        values = [float(word) for word in words]
    except ValueError:
        values = []
    if not values or not all(0 < value < 100 for value in values):
        raise ValueError(f"--cfg: got {text!r}, allowed: numbers above 0")
    return values


def _normal(point: Point) -> Point:
    return replace(point.off) if point.settings.why_idle() else point


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
