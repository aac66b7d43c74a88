"""The X/Y/Z plot's axes, used as the host's script uses them."""

from __future__ import annotations

import copy
import sys
import types
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from lib_pladis.math.rule import Mix
from lib_pladis.presets import BUILT_IN, Preset
from lib_pladis.settings import TABLE, Settings, SettingsError
from lib_pladis.suggestion import NOT_LOADED, Model
from lib_pladis.webui import arguments, model, xyz
from tests.generations import SCRIPTS, script_args


class AxisOption:
    """The host's."""

    def __init__(
        self,
        label: Any,
        type: Any,
        apply: Any,
        format_value: Any = None,
        confirm: Any = None,
        cost: float = 0.0,
        choices: Any = None,
        prepare: Any = None,
    ) -> None:
        self.label, self.type, self.apply, self.confirm, self.choices = label, type, apply, confirm, choices
        self.prepare = prepare


@pytest.fixture
def axes(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Label after "[PLADIS] " -> axis."""
    monkeypatch.setattr(xyz, "check_layers", lambda model, layers: None)
    monkeypatch.setattr(model, "in_use", lambda: Model("sd1", "v1-5"))
    return {option.label.removeprefix(xyz.PREFIX): option for option in xyz.axes(AxisOption)}


def cell(axes: Any, **values: Any) -> Any:
    """The settings of one cell: a copy of the grid's p, with each axis read, confirmed and applied."""
    grid = SimpleNamespace(sd_model=None, scripts=SCRIPTS, script_args=script_args())
    p = copy.copy(grid)
    for label, text in values.items():
        option = axes[label.replace("_", " ")]
        value = option.type(text)
        option.confirm(p, [value])
        option.apply(p, value, [value])
    assert grid.script_args == script_args() and (*p.script_args[:2], p.script_args[-1]) == (0, "before's", "after's")
    return arguments.read(p.script_args[2:-1])


def chosen(option: Any, text: str) -> list[float]:
    """The values of an axis, as the hosts read what was typed."""
    assert option.type != float, "else they expand ranges themselves"  # noqa: E721 - the hosts compare so
    values = [option.type(value) for value in option.prepare(text)]
    option.confirm(None, values)
    return values


def test_there_is_one_for_each_setting(axes: Any) -> None:
    assert list(axes) == ["Preset", *(setting.axis for setting in TABLE.values() if setting.axis)]


def test_presets_have_an_axis_with_ones_own_below_what_other_axes_say(
    axes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Preset("Mine", "", {"scale": 1.25, "layers": "d0"})
    monkeypatch.setattr(xyz.STORE, "all", lambda: {"Mine": own})
    assert axes["Preset"].choices() == [*BUILT_IN, "Mine"]
    assert cell(axes, Preset=" Few steps") == BUILT_IN["Few steps"].settings
    assert cell(axes, Preset="Mine") == own.settings
    for values in ({"Preset": "Mine", "Scale": "3"}, {"Scale": "3", "Preset": "Mine"}):
        assert cell(axes, **values) == replace(own.settings, scale=3.0)
    with pytest.raises(SettingsError, match="no longer exists: Theirs"):
        axes["Preset"].type("Theirs")


def test_where_the_panel_is_not_among_the_scripts_that_is_an_error(axes: Any) -> None:
    with pytest.raises(SettingsError, match="panel is not among"):
        axes["Scale"].apply(SimpleNamespace(script_args=[0]), 3.0, [3.0])


def test_an_axis_switches_pladis_on_unless_another_says_off(axes: Any) -> None:
    assert cell(axes, Scale="3") == Settings(enabled=True, scale=3.0)
    assert not cell(axes, Scale="3", Enabled="False").enabled
    assert not cell(axes, Enabled="false", Scale="3").enabled


@pytest.mark.parametrize(("label", "hires"), [("Hires_scale", (1.0, 1.5)), ("Hires_alpha", (2.0, 1.0))])
def test_a_hires_axis_reaches_the_hires_pass(axes: Any, label: Any, hires: Any) -> None:
    settings = cell(axes, **{label: "1"})
    assert settings.enabled and settings.hr_override
    assert settings.mix(hires=True) == Mix(*hires)
    assert settings.mix(hires=False) == Mix(2.0, 1.5)


def test_the_overrides_own_axis_has_the_last_word(axes: Any) -> None:
    for values in ({"Hires_scale": "1", "Hires_override": "False"}, {"Hires_override": "False", "Hires_scale": "1"}):
        assert not cell(axes, **values).hr_override
    assert cell(axes, Hires_scale="1", Hires_override="True").hr_override
    assert not cell(axes, Scale="1").hr_override, "which other axes leave alone"


@pytest.mark.parametrize(
    ("label", "text"), [("Scale", "abc"), ("Scale", "9"), ("Target", "none"), ("Layers", "x9"), ("Enabled", "maybe")]
)
def test_a_bad_value_is_an_error_of_the_request(axes: Any, label: Any, text: str) -> None:
    with pytest.raises(SettingsError) as error:
        cell(axes, **{label: text})
    answer = vars(error.value)  # where the hosts' API looks
    assert answer["status_code"] == 422
    assert text in answer["detail"]


@pytest.mark.parametrize(
    ("label", "text", "values"),
    [
        ("Scale", "2,0, 1-3 (+1)", [2.0, 0.0, 1.0, 2.0, 3.0]),
        ("Scale", "0-3", [0.0, 1.0, 2.0, 3.0]),
        ("Scale", "4.9-5 (+0.05)", [4.9, 4.95, 5.0]),
        ("Alpha", "1-2 (+0.25)", [1.0, 1.25, 1.5, 1.75, 2.0]),
        ("Alpha", "1-2 (+0.3)", [1.0, 1.3, 1.6, 1.9]),
        ("Alpha", "2-1.5 (-0.25)", [2.0, 1.75, 1.5]),
        ("Start", "0-1 [5]", [0.0, 0.25, 0.5, 0.75, 1.0]),
    ],
)
def test_a_range_has_the_values_that_it_says(axes: Any, label: str, text: str, values: list[float]) -> None:
    assert chosen(axes[label], text) == values


def test_every_range_up_to_the_most_is_allowed(axes: Any) -> None:
    for label, first, last in (("Scale", 0.0, 5.0), ("Alpha", 1.0, 2.0), ("Temperature", 0.1, 2.0)):
        for n in range(round((last - first) / 0.05)):
            start = round(first + 0.05 * n, 2)
            values = chosen(axes[label], f"{start}-{last} (+0.05)")
            assert (values[0], values[-1]) == (start, last)


def test_a_range_is_checked_when_it_has_been_expanded(axes: Any) -> None:
    with pytest.raises(SettingsError, match="got 6") as error:
        chosen(axes["Scale"], "0-9 (+3)")
    assert vars(error.value)["status_code"] == 422


@pytest.mark.parametrize(
    ("family", "override", "checked"),
    [("sd1", {}, True), (NOT_LOADED, {}, False), ("sd1", {"sd_model_checkpoint": "flux"}, False)],
)
def test_layers_are_checked_beforehand_only_against_the_model_that_draws(
    axes: Any, monkeypatch: pytest.MonkeyPatch, family: str, override: Any, checked: bool
) -> None:
    """Forge has another one in memory, or none, until the first cell is drawn."""
    asked: list[str] = []
    monkeypatch.setattr(xyz, "check_layers", lambda model, layers: asked.append(layers))
    monkeypatch.setattr(model, "in_use", lambda: Model(family, "flux"))
    p = SimpleNamespace(sd_model=None, override_settings=override)
    axes["Layers"].confirm(p, ["j0-3"])
    assert asked == ["j0-3"] * checked
    with pytest.raises(SettingsError):
        axes["Layers"].confirm(p, ["x"])


def test_registering_again_adds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    module = SimpleNamespace(AxisOption=AxisOption, axis_options=[AxisOption("Nothing", str, None)])
    script = type("Script", (), {"__module__": "xyz_grid.py"})
    host: Any = types.ModuleType("modules")
    scripts: Any = types.ModuleType("modules.scripts")
    host.scripts = scripts
    scripts.scripts_data = [SimpleNamespace(script_class=script, module=module)]
    monkeypatch.setitem(sys.modules, "modules", host)
    monkeypatch.setitem(sys.modules, "modules.scripts", scripts)
    for _ in range(3):
        xyz.register()
    assert len(module.axis_options) == 2 + sum(bool(setting.axis) for setting in TABLE.values())
