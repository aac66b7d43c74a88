"""API requests that name PLADIS in a shape that the hosts don't read."""

from __future__ import annotations

import sys
import types
from types import SimpleNamespace
from typing import Any

import pytest

from lib_pladis.settings import SettingsError
from lib_pladis.webui import arguments
from lib_pladis.webui.requests import check, install


def read(self: Any, request: Any, default_script_args: Any, *, input_script_args: Any = None) -> Any:
    """As the hosts' `Api.init_script_args` reads the arguments of one always-on script that has two."""
    args = list(default_script_args)
    for name in request.alwayson_scripts or {}:
        given = request.alwayson_scripts[name]
        if "args" in given:
            for index in range(min(2, len(given["args"]))):
                args[index] = given["args"][index]
    return args


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The host's API class."""
    module: Any = types.ModuleType("modules.api.api")
    module.Api = type("Api", (), {"init_script_args": read})
    monkeypatch.setitem(sys.modules, "modules.api.api", module)
    return module.Api


def ask(api: Any, alwayson_scripts: Any) -> Any:
    return api().init_script_args(SimpleNamespace(alwayson_scripts=alwayson_scripts), [False, 2.0])


@pytest.mark.parametrize(
    "given",
    [None, {}, {"Other": {"scale": 3}}, {"PLADIS": {"args": []}}, {"pladis": {"args": [True, 3]}},
     {"PLADIS": {"args": [{"scale": 3}], "more": 1}}],
)  # fmt: skip
def test_what_the_hosts_read_passes_as_it_is(api: Any, given: Any) -> None:
    before = ask(api, given)
    install()
    assert ask(api, given) == before


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"scale": 3.0}, "\"args\" is missing: got {'scale': 3.0}"),
        ({}, '"args" is missing'),
        ([True, 3.0], '"args" is missing: got [True, 3.0]'),
        ({"args": {"scale": 3.0}}, "\"args\" is not a list: got {'scale': 3.0}"),
        ({"args": "on"}, "\"args\" is not a list: got 'on'"),
        ({"args": None}, '"args" is not a list: got None'),
        ({"args": [{"scale": 2.0}, 5]}, "got [{'scale': 2.0}, 5], allowed: nothing after an object"),
        ({"args": [{"scale": 2.0}, {"alpha": 2.0}]}, "nothing after an object"),
        ({"args": [{"scale": 9}]}, "Scale (λ) (scale): got 9, allowed: a number from 0 to 5"),
        ({"args": [True, "2"]}, "got the text '2'"),
        ({"args": [{"layers": "d0,,u0"}]}, "got '' in 'd0,,u0'; allowed: all, or a list"),
        ({"args": [{"scal": 2}]}, "unknown setting 'scal', allowed: enabled"),
        ({"args": [True] * 99}, "got 99 arguments, allowed: at most"),
    ],
)
@pytest.mark.parametrize("name", ["PLADIS", "pladis"])
def test_another_shape_is_answered_with_a_message(api: Any, name: str, given: Any, message: str) -> None:
    install()
    with pytest.raises(SettingsError) as error:
        ask(api, {name: given})
    assert message in str(error.value) and "allowed: " in str(error.value)
    assert vars(error.value)["status_code"] == 422


def test_the_hosts_method_comes_back(api: Any) -> None:
    undo = [install(), install()]
    assert api.init_script_args is not read
    while undo:
        undo.pop()()
    assert api.init_script_args is read


def test_who_wrapped_it_since_keeps_it(api: Any) -> None:
    undo = install()
    ours = api.init_script_args

    def theirs(self: Any, *args: Any, **kwargs: Any) -> Any:
        return ours(self, *args, **kwargs)

    api.init_script_args = theirs
    undo()
    assert api.init_script_args is theirs


def test_a_host_without_an_api_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "modules.api.api", raising=False)
    install()
    assert "modules.api.api" not in sys.modules


def test_check_alone() -> None:
    check(None)
    check({"PLADIS": {"args": [True]}})
    with pytest.raises(SettingsError):
        check({"PLADIS": {}})


@pytest.mark.parametrize("args", [(), [None] * 30, [0, *[None] * 30], ["abc", 9, {}], [False, 99], [0] * 99])
def test_whoever_does_not_ask_for_pladis_is_never_refused(args: Any) -> None:
    """Other extensions call the host with arguments of their own."""
    assert not arguments.read(args).enabled


def test_bad_values_of_whoever_asks_are_refused() -> None:
    for args in ([True, 99], [{"scale": 99}]):
        with pytest.raises(SettingsError, match="got 99"):
            arguments.read(args)
