"""X/Y/Z plot: one axis per setting, and one of presets."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Mapping
from io import StringIO
from itertools import chain
from typing import Any

from lib_pladis.json_file import FileError
from lib_pladis.presets import BUILT_IN, Preset
from lib_pladis.settings import HIRES, TABLE, Setting, SettingsError
from lib_pladis.suggestion import NOT_LOADED
from lib_pladis.webui import arguments, model
from lib_pladis.webui.model import check_layers
from lib_pladis.webui.own_presets import STORE

MOST_VALUES = 1000
"""Maximum number of values of a range."""

PREFIX = "[PLADIS] "
_ATTRIBUTE = "pladis_xyz"
"""Attribute of a cell's `p` with the values of our axes."""

_NUMBER = r"\s*([+-]?\s*\d+(?:\.\d*)?)\s*"
_RANGE = re.compile(rf"{_NUMBER}-{_NUMBER}(?:\(([+-]\d+(?:\.\d*)?)\s*\)|\[\s*(\d+)\s*\])?\s*")
"""The host's ranges: 0-3, 0-3 (+0.5), and 0-3 [7], which is seven values."""


def register() -> None:
    """Add the axes to the host's X/Y/Z plot, once."""
    from modules import scripts

    for data in scripts.scripts_data:
        if data.script_class.__module__ in ("xyz_grid.py", "scripts.xyz_grid"):
            options = data.module.axis_options
            known = {option.label for option in options}
            options.extend(o for o in axes(data.module.AxisOption) if o.label not in known)


def axes(axis_option: Callable[..., Any]) -> list[Any]:
    """An AxisOption of the host's for each setting, and one for presets, which other axes override."""
    presets = axis_option(
        PREFIX + "Preset",
        lambda text: _preset(text).name,
        lambda p, name, names: choose(p, {}, _preset(name).sets),
        confirm=_confirm_presets,
        choices=lambda: [*BUILT_IN, *STORE.all()],
    )
    return [presets] + [
        axis_option(
            PREFIX + setting.axis,
            setting.parse_text,
            _apply(setting.name),
            confirm=_confirm(setting),
            choices=_choices(setting),
            prepare=_expanded if setting.kind == "float" else None,
        )
        for setting in TABLE.values()
        if setting.axis
    ]


def _expanded(text: str) -> list[str]:
    """The values of an axis of numbers, with ranges expanded. The host's own expansion of 1-2 (+0.1) ends at
    2.000000000000001, and that of 4.1-5 (+0.05) at 5.05, which the settings refuse."""
    parts = chain.from_iterable(csv.reader(StringIO(text), skipinitialspace=True))
    return [value for part in parts if part.strip() for value in _in_range(part.strip())]


def _in_range(text: str) -> list[str]:
    found = _RANGE.fullmatch(text)
    if found is None:
        return [text]
    start, end = (float(number.replace(" ", "")) for number in found.groups()[:2])
    if found[4] is not None:
        count = int(found[4])
        step = (end - start) / max(1, count - 1)
    else:
        step = float(found[3] or 1)
        count = math.floor((end - start) / step + 1e-9) + 1 if step else 0
    if count > MOST_VALUES:
        raise SettingsError(f"PLADIS: {text}: got {count} values, allowed: at most {MOST_VALUES}")
    return [f"{start + i * step:.10g}" for i in range(count)]


def _apply(name: str) -> Callable[[Any, Any, Any], None]:
    return lambda p, value, values: choose(p, {name: value})


def _preset(name: str) -> Preset:
    try:
        return STORE.get(name.strip())
    except FileError as error:
        raise SettingsError(f"PLADIS Preset: {error}") from error


def choose(p: Any, values: dict[str, Any], below: Mapping[str, Any] | None = None) -> None:
    """Put an axis's values into the script arguments of the cell `p`; the values `below` only if no other axis sets
    them.

    Any axis switches PLADIS on, and an axis of a Hires. fix setting switches the override on, unless another axis of
    the cell switches them off.
    """
    chosen = {**(below or {}), **vars(p).get(_ATTRIBUTE, {}), **values}  # a new dict: cells are copies
    setattr(p, _ATTRIBUTE, chosen)
    implied = {"enabled": True, **({} if HIRES.isdisjoint(chosen) else {"hr_override": True})}
    if not arguments.put(p, {**implied, **chosen}):
        raise SettingsError("[PLADIS]: the panel is not among the scripts of this generation")


def varied(p: Any) -> bool:
    """Whether `p` is a cell of a plot with one of our axes."""
    return _ATTRIBUTE in vars(p)


def _confirm(setting: Setting) -> Callable[[Any, list[Any]], None]:
    def confirm(p: Any, values: list[Any]) -> None:
        for value in values:
            setting.parse(value)
            if setting.kind == "layers":
                _check(p, value)

    return confirm


def _confirm_presets(p: Any, names: list[Any]) -> None:
    for name in names:
        _check(p, _preset(name).settings.layers)


def _check(p: Any, layers: str) -> None:
    if _is_loaded(p):
        check_layers(p.sd_model, layers)


def _is_loaded(p: Any) -> bool:
    """Whether the checkpoint that will draw is in memory. Forge loads the chosen one when a cell is drawn, and layers
    are checked then."""
    return "sd_model_checkpoint" not in (getattr(p, "override_settings", None) or {}) and (
        model.in_use().family != NOT_LOADED
    )


def _choices(setting: Setting) -> Callable[[], list[str]] | None:
    if setting.kind == "choice":
        return lambda: list(setting.choices)
    if setting.kind == "bool":
        return lambda: ["True", "False"]
    return None
