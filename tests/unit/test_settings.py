"""The table of settings: parsing, validation, and what is made from it."""

from __future__ import annotations

import itertools
import math
import re
from types import SimpleNamespace
from typing import Any

import pytest

from lib_pladis.math.rule import Mix
from lib_pladis.math.schedule import SCHEDULES
from lib_pladis.presets import PRESET_SETS
from lib_pladis.settings import BESIDE, TABLE, Setting, Settings, SettingsError, panel_rows
from lib_pladis.webui import infotext, page


def other_value(name: str) -> Any:
    """A valid value of this setting that is not its default."""
    setting = TABLE[name]
    if setting.kind == "bool":
        return not setting.default
    if setting.kind == "float":
        return setting.minimum if setting.default != setting.minimum else setting.maximum
    if setting.kind == "choice":
        return next(c for c in setting.choices if c != setting.default)
    return "d0-1,m0,u2.1"


def test_the_help_of_the_schedule_describes_each_in_order() -> None:
    described = re.split(", or |, ", TABLE["schedule"].help.partition(": ")[2])
    for name, text in itertools.zip_longest(SCHEDULES, described, fillvalue=""):
        assert name and name.split()[-1] in text, f"schedule {name!r}: {text!r} in the help"


def test_the_title_names_each_number(monkeypatch: pytest.MonkeyPatch) -> None:
    short = {"scale": "λ", "alpha": "α", "start": "from", "end": "to", "temperature": "T", "rescale": "φ"}
    new = Setting("new", "New (ν)", "float", 0.0, "", row="sparse")
    choice = Setting("chosen", "Chosen", "choice", "a", "", choices=("a", "b"))
    monkeypatch.setitem(TABLE, "new", new)
    monkeypatch.setitem(TABLE, "chosen", choice)
    assert {name: pattern for name, (pattern, _) in page.facts()["glance"].items()} == {
        **{name: f"{text} {{value}}" for name, text in short.items()},
        **dict.fromkeys(("schedule", "layers", "target", "chosen"), "{value}"),
        "new": "New (ν) {value}",
    }


def test_argument_order_is_a_public_interface() -> None:
    assert list(TABLE) == [
        "enabled", "scale", "alpha", "start", "end", "schedule", "layers", "target", "temperature",
        "hr_override", "hr_scale", "hr_alpha", "rescale", "compare",
        "look", "look_words",
    ]  # fmt: skip
    assert [setting.axis for setting in TABLE.values() if setting.axis] == [
        "Enabled", "Scale", "Alpha", "Start", "End", "Schedule", "Layers", "Target", "Temperature",
        "Hires override", "Hires scale", "Hires alpha", "Rescale",
    ]  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_every_row_is_complete(name: str) -> None:
    setting = TABLE[name]
    assert setting.label and setting.help
    assert setting.parse(setting.default) == setting.default
    assert bool(setting.axis) == (not setting.beside)
    assert (setting.kind == "bool" or setting.beside) == (setting.infotext == "")
    if setting.kind == "float":
        assert isinstance(setting.default, float) and setting.minimum < setting.maximum and setting.step > 0


@pytest.mark.parametrize("name", TABLE)
def test_every_row_reads_back_what_it_writes(name: str) -> None:
    setting = TABLE[name]
    value = other_value(name)
    assert setting.parse_text(setting.format(value)) == value


@pytest.mark.parametrize("name", TABLE)
@pytest.mark.parametrize(
    "bad", [None, "abc", math.nan, math.inf, -1, 99, pytest.param(10**400, id="huge"), [], {}, "x9", 1 + 2j]
)
def test_every_row_refuses_by_name_value_and_range(name: str, bad: Any) -> None:
    if TABLE[name].kind == "text" and isinstance(bad, str):
        assert getattr(Settings.from_dict({name: f" {bad} "}), name) == bad, "any text will do"
        return
    with pytest.raises(SettingsError) as error:
        Settings.from_dict({name: bad})
    message = str(error.value)
    assert TABLE[name].label in message
    assert "allowed" in message
    assert str(bad) in message or repr(bad) in message


@pytest.mark.parametrize("name", [n for n, s in TABLE.items() if s.kind == "float"])
def test_range_ends_are_allowed_and_beyond_is_not(name: str) -> None:
    setting = TABLE[name]
    assert setting.parse(setting.minimum) == setting.minimum
    assert setting.parse(setting.maximum) == setting.maximum
    for beyond in (setting.minimum - 0.01, setting.maximum + 0.01, True):
        with pytest.raises(SettingsError):
            setting.parse(beyond)


@pytest.mark.parametrize("args", [(), [None], [None] * len(TABLE), [{"enabled": False, "scale": None}]])
def test_none_is_the_default_in_any_place(args: Any) -> None:
    assert Settings.from_args(args) == Settings()
    assert Settings.from_args([True, None, 1.25]) == Settings(enabled=True, alpha=1.25)
    assert Settings.from_args([{"scale": None, "enabled": None}]) == Settings(enabled=True)


def test_texts_are_bounded_and_a_message_shows_a_part() -> None:
    for values in (
        {"look_words": "x" * 2001},
        {"layers": "d0," * 700 + "d0"},
        {"scale": "9" * 10_000},
        {"y" * 9999: 1},
    ):
        with pytest.raises(SettingsError) as error:
            Settings.from_dict(values)
        assert len(str(error.value)) < 2000 and "allowed" in str(error.value)


def test_positional_short_and_dict_arguments_agree() -> None:
    expected = Settings(enabled=True, scale=3.0)
    assert Settings.from_args([True, 3]) == expected
    assert Settings.from_args([{"enabled": True, "scale": 3.0}]) == expected
    assert Settings.from_args([]) == Settings()


def test_a_dict_is_on_unless_it_says_otherwise() -> None:
    assert Settings.from_args([{"scale": 3.0}]) == Settings(enabled=True, scale=3.0)
    assert Settings.from_args([{}]).enabled
    assert not Settings.from_args([{"enabled": False, "scale": 3.0}]).enabled
    assert not Settings.from_args([False, 3.0]).enabled and not Settings.from_args([]).enabled


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("enabled", "yes", "PLADIS (enabled): got the text 'yes', allowed: true or false"),
        ("enabled", 1, "PLADIS (enabled): got 1, allowed: true or false"),
        ("scale", "2", "PLADIS Scale (λ) (scale): got the text '2', allowed: a number from 0 to 5"),
        ("scale", 7, "PLADIS Scale (λ) (scale): got 7, allowed: a number from 0 to 5"),
        ("target", "none", "PLADIS Apply to (target): got 'none', allowed: one of 'both', 'positive', 'negative'"),
    ],
)
def test_a_message_says_what_it_got_and_names_pladis_once(name: str, value: Any, message: str) -> None:
    with pytest.raises(SettingsError) as error:
        Settings.from_dict({name: value})
    assert str(error.value) == message


def test_an_error_carries_what_the_hosts_api_answers_with() -> None:
    with pytest.raises(SettingsError) as error:
        TABLE["scale"].parse_text("abc")
    assert vars(error.value) == {"status_code": 422, "detail": str(error.value)}


def test_unknown_keys_and_too_many_arguments_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"unknown setting 'lambda', allowed: enabled, scale"):
        Settings.from_dict({"lambda": 2.0})
    with pytest.raises(SettingsError, match=rf"got {len(TABLE) + 1} arguments, allowed: at most {len(TABLE)}"):
        Settings.from_args([*(setting.default for setting in TABLE.values()), "more"])


def test_all_problems_are_named_at_once() -> None:
    with pytest.raises(SettingsError) as error:
        Settings.from_dict({"scale": "abc", "alpha": 3.0, "layers": "x9"})
    assert all(label in str(error.value) for label in ("Scale (λ)", "Sparsity (α)", "Layers"))


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"enabled": False}, "not enabled"),
        ({"scale": 0.0}, "λ is 0"),
        ({"alpha": 1.0}, "α is 1"),
        ({"start": 0.6, "end": 0.4}, "not before end"),
        ({"alpha": 1.0, "temperature": 0.5}, ""),
        ({}, ""),
    ],
)
def test_settings_that_leave_the_hosts_attention(values: Any, reason: Any) -> None:
    assert reason in Settings.from_dict({"enabled": True, **values}).why_idle()
    assert bool(Settings.from_dict({"enabled": True, **values}).why_idle()) == bool(reason)


def test_hires_override() -> None:
    settings = Settings(enabled=True, scale=0.0, hr_override=True, hr_scale=1.0, hr_alpha=2.0)
    assert settings.mix(hires=False) == Mix(0.0, 1.5)
    assert settings.mix(hires=True) == Mix(1.0, 2.0)
    assert settings.why_idle(hires=False) and not settings.why_idle(hires=True)
    assert Settings(scale=3.0, temperature=0.5).mix(hires=True) == Mix(3.0, 1.5, 0.5)


def test_infotext_of_defaults_is_short() -> None:
    for hires in (False, True):
        written = infotext.parameters(Settings(enabled=True), hires)
        assert list(written) == ["PLADIS scale", "PLADIS alpha", "PLADIS version"]


@pytest.mark.parametrize("name", [n for n in TABLE if n != "enabled" and n not in BESIDE])
def test_infotext_brings_every_setting_back(name: str) -> None:
    values = {"enabled": True, name: other_value(name)}
    if name.startswith("hr_"):
        values["hr_override"] = True
    settings = Settings.from_dict(values)
    read = infotext.read(infotext.parameters(settings, hires=True))
    assert read is not None
    assert Settings.from_dict(read) == settings


@pytest.mark.parametrize(
    ("fields", "written"), [({"enable_hr": True}, True), ({"enable_hr": False}, False), ({}, False)]
)
def test_hires_values_are_written_only_where_there_is_a_hires_pass(fields: Any, written: Any) -> None:
    p = SimpleNamespace(extra_generation_params={"Other": 1}, **fields)  # img2img's has no such field
    infotext.write(p, Settings(enabled=True, hr_override=True, hr_scale=1.0))
    assert ("PLADIS hires scale" in p.extra_generation_params) == written
    assert ("PLADIS hires alpha" in p.extra_generation_params) == written
    assert p.extra_generation_params["PLADIS scale"] == "2"


def test_infotext_keys_are_ones_that_the_hosts_parse() -> None:
    import re

    for setting in TABLE.values():
        assert not setting.infotext or re.fullmatch(r"\w[\w \-/]+", setting.infotext)


def test_pasting_without_pladis_switches_it_off_and_leaves_the_rest() -> None:
    assert infotext.read({"Steps": "20"}) is None
    assert infotext.READERS["enabled"]({"Steps": "20"}) is False
    assert infotext.READERS["scale"]({"Steps": "20"}) is None


def test_pasting_a_bad_value_takes_nothing() -> None:
    params = {"PLADIS scale": "99", "PLADIS alpha": "1.5"}
    assert {read(params) for read in infotext.READERS.values()} == {None}, "the panel stays as it was"
    assert "Scale (λ)" in infotext.problem(params) and not infotext.problem({"Steps": "20"})


def test_a_setting_is_one_row_the_panel_places_it_and_presets_reset_it() -> None:
    placed = [name for names in panel_rows().values() for name in names]
    assert sorted(placed) == sorted(TABLE), "each once"
    assert panel_rows()["main"] == ["enabled", "scale"]
    assert "rescale" in PRESET_SETS and not {"enabled", "hr_override", "hr_scale", "hr_alpha"} & set(PRESET_SETS)
