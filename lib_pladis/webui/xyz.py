"""X/Y/Z plot: one axis per setting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lib_pladis.settings import HIRES, TABLE, Setting
from lib_pladis.webui.layers import check_layers

PREFIX = "[PLADIS] "
_ATTRIBUTE = "pladis_xyz"


def overrides(p: Any) -> dict[str, Any]:
    """The values of this cell.

    An axis of any setting switches PLADIS on, and one of Hires. fix's own values the override, unless another says off.
    """
    values: dict[str, Any] = vars(p).get(_ATTRIBUTE, {})
    implied: dict[str, Any] = {"enabled": True} if values else {}
    if not HIRES.isdisjoint(values):
        implied["hr_override"] = True
    return {**implied, **values}


def register() -> None:
    """Add the axes to the host's X/Y/Z plot, once."""
    from modules import scripts

    for data in scripts.scripts_data:
        if data.script_class.__module__ in ("xyz_grid.py", "scripts.xyz_grid"):
            options = data.module.axis_options
            known = {option.label for option in options}
            options.extend(o for o in axes(data.module.AxisOption) if o.label not in known)


def axes(axis_option: Callable[..., Any]) -> list[Any]:
    """One of the host's AxisOption for each setting."""
    return [
        axis_option(
            PREFIX + setting.axis,
            _FloatValue(setting) if setting.kind == "float" else setting.parse_text,
            _apply(setting.name),
            confirm=_confirm(setting),
            choices=_choices(setting),
        )
        for setting in TABLE.values()
        if setting.axis
    ]


class _FloatValue:
    """Reads one value of an axis; equal to `float`, so that the host expands ranges such as 0-2 (+0.5)."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting

    def __call__(self, value: Any) -> float:
        return float(self.setting.parse_text(str(value)))

    def __eq__(self, other: object) -> bool:
        return other is float or other is self

    def __hash__(self) -> int:
        return hash(float)


def _apply(name: str) -> Callable[[Any, Any, Any], None]:
    def apply(p: Any, value: Any, values: Any) -> None:
        setattr(p, _ATTRIBUTE, {**vars(p).get(_ATTRIBUTE, {}), name: value})  # a new dict: cells are copies

    return apply


def _confirm(setting: Setting) -> Callable[[Any, list[Any]], None]:
    def confirm(p: Any, values: list[Any]) -> None:
        for value in values:
            setting.parse(value)
            if setting.kind == "layers":
                check_layers(p.sd_model, value)

    return confirm


def _choices(setting: Setting) -> Callable[[], list[str]] | None:
    if setting.kind == "choice":
        return lambda: list(setting.choices)
    if setting.kind == "bool":
        return lambda: ["True", "False"]
    return None
