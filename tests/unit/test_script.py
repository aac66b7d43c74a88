"""scripts/pladis.py, loaded as the hosts load it: what is there at once, and what "Reload UI" brings."""

from __future__ import annotations

import configparser
import importlib.util
import runpy
import shutil
import sys
import types
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("gradio", reason="gradio is not installed here")
from lib_pladis.settings import TABLE

ROOT = Path(__file__).resolve().parents[2]
AXES = ["[PLADIS] Preset", *(f"[PLADIS] {setting.axis}" for setting in TABLE.values() if setting.axis)]


HOST = ("scripts", "script_callbacks", "shared", "paths_internal", "ui_components", "api", "api.api", "localization")


class Options:
    """`shared.opts`, as far as scripts add to it."""

    def __init__(self) -> None:
        self.data: dict[str, Any] = {}
        self.data_labels: dict[str, Any] = {}

    def add_option(self, key: Any, info: Any) -> None:
        self.data_labels[key] = info
        self.data.setdefault(key, info.default)


class OptionInfo:
    def __init__(
        self, default: Any, label: Any, component: Any = None, component_args: Any = None, section: Any = None
    ) -> None:
        self.default, self.label, self.section = default, label, section


class Host:
    """A host's modules. `load` runs the script as on start and on "Reload UI", from an extension's folder."""

    def __init__(self, extension: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.extension = extension
        self.callbacks: dict[str, list[Any]] = defaultdict(list)
        self.opts = Options()
        names = ("", *HOST)
        self.modules: dict[str, Any] = {name: types.ModuleType(f"modules.{name}".rstrip(".")) for name in names}
        for name, module in self.modules.items():
            monkeypatch.setitem(sys.modules, module.__name__, module)
            if name and "." not in name:
                setattr(self.modules[""], name, module)
        for event in ("before_ui", "app_started", "cfg_denoiser", "script_unloaded", "ui_settings"):
            register = self.callbacks[event].append
            setattr(self.modules["script_callbacks"], f"on_{event}", register)
        self.modules["paths_internal"].data_path = str(extension)
        self.modules["localization"].localizations = {}
        self.modules["scripts"].Script = object
        self.modules["scripts"].AlwaysVisible = object()
        vars(self.modules["shared"]).update(opts=self.opts, OptionInfo=OptionInfo, cmd_opts=SimpleNamespace())
        self.modules["ui_components"].InputAccordion = object
        self.modules["api.api"].Api = type("Api", (), {"init_script_args": lambda self, request: None})
        self.restart()

    def restart(self) -> None:
        """What comes before scripts are loaded: callbacks are cleared, xyz_grid.py is loaded anew."""
        for registered in self.callbacks.values():
            registered.clear()
        self.axis_options: list[Any] = []
        grid = SimpleNamespace(AxisOption=axis, axis_options=self.axis_options)
        script = type("Script", (), {"__module__": "xyz_grid.py"})
        self.modules["scripts"].scripts_data = [SimpleNamespace(script_class=script, module=grid)]

    def load(self) -> Any:
        spec = importlib.util.spec_from_file_location("pladis.py", self.extension / "scripts" / "pladis.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        path = sys.path
        sys.path = [str(self.extension), *path]
        try:
            spec.loader.exec_module(module)
        finally:
            sys.path = path
        for found in (each for each in vars(module).values() if getattr(each, "__name__", "") == "PladisScript"):
            data = SimpleNamespace(script_class=found, path=str(spec.origin), module=module)
            self.modules["scripts"].scripts_data.append(data)
        return sys.modules.get("lib_pladis.webui.script", module)

    def attributes(self) -> dict[str, Any]:
        """Everything that the host's modules and their classes have, by name."""
        found = {}
        for module in self.modules.values():
            for name, value in vars(module).items():
                found[f"{module.__name__}.{name}"] = value
                if isinstance(value, type):
                    found.update({f"{module.__name__}.{name}.{key}": each for key, each in vars(value).items()})
        return found

    def reload(self) -> Any:
        for callback in self.callbacks["script_unloaded"]:
            callback()
        self.restart()
        return self.load()


def axis(label: str, *args: Any, **kwargs: Any) -> SimpleNamespace:
    return SimpleNamespace(label=label)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A host with the extension in a folder of its own; the library that other tests use is put back after."""
    for part in ("lib_pladis", "scripts"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    ours = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "lib_pladis"}
    for name in ours:
        del sys.modules[name]
    yield Host(tmp_path, monkeypatch)
    for name in [name for name in sys.modules if name.split(".")[0] == "lib_pladis"]:
        del sys.modules[name]
    sys.modules.update(ours)


def test_the_axes_are_there_before_any_panel_is_made(host: Any) -> None:
    """Under `--nowebui` the panels are made before `on_before_ui` fires."""
    host.load()
    assert [option.label for option in host.axis_options] == AXES
    for callback in host.callbacks["before_ui"]:
        callback()
    assert [option.label for option in host.axis_options] == AXES, "each once"


def test_axes_for_a_grid_that_is_loaded_later(host: Any) -> None:
    data, host.modules["scripts"].scripts_data = host.modules["scripts"].scripts_data, []
    host.load()
    assert host.axis_options == []
    host.modules["scripts"].scripts_data = data
    for callback in host.callbacks["before_ui"]:
        callback()
    assert [option.label for option in host.axis_options] == AXES


def test_what_is_changed_of_the_host_is_listed_and_nothing_else(host: Any) -> None:
    """`hosted.PATCHES` names all of it; where it is an attribute, unloading gives back what was there."""
    from_the_start = host.attributes()
    host.modules["localization"].localizations["zh-Hans (Stable)"] = ["theirs.json"]
    host.load()
    for callback in [*host.callbacks["before_ui"], *host.callbacks["app_started"]]:
        callback(*[None, App()][: callback.__code__.co_argcount])
    changed = {name for name, value in host.attributes().items() if value is not from_the_start.get(name)}
    changed -= {"modules.scripts.scripts_data"}
    if len(host.modules["localization"].localizations["zh-Hans (Stable)"]) > 1:
        changed.add("modules.localization.localizations")
    if host.axis_options:
        changed.add("xyz_grid.axis_options")
    assert changed == set(sys.modules["lib_pladis.webui.hosted"].PATCHES)
    for callback in host.callbacks["script_unloaded"]:
        callback()
    after = host.attributes()
    assert [name for name in from_the_start if after[name] is not from_the_start[name]] == []


class App:
    """The host's FastAPI app, as far as routes are added to it."""

    routes: tuple[Any, ...] = ()

    def add_api_route(self, *args: Any, **kwargs: Any) -> None: ...


@pytest.mark.parametrize(
    ("module", "name"),
    [("paths_internal", "data_path"), ("script_callbacks", "on_cfg_denoiser"), ("ui_components", "InputAccordion")],
)
def test_an_unknown_host_gets_one_line_and_nothing_else(host: Any, module: str, name: str, capsys: Any) -> None:
    delattr(host.modules[module], name)
    host.load()
    assert len(host.modules["scripts"].scripts_data) == 1 and host.axis_options == [] and not host.opts.data
    assert not any(host.callbacks.values())
    (line,) = capsys.readouterr().out.splitlines()
    assert "which it doesn't know" in line and f"no modules.{module}.{name}" in line


def test_a_panel_that_cannot_be_made_is_one_line(host: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    script = host.load()

    def fails(tab: str) -> None:
        raise AttributeError("data_path")

    monkeypatch.setattr(script, "Panel", fails)
    assert script.PladisScript().ui(False) == []
    assert capsys.readouterr().out == "PLADIS: no panel in this web UI: AttributeError: data_path\n"


def test_the_second_of_two_folders_is_not_used_and_that_is_said(host: Any, tmp_path: Path, capsys: Any) -> None:
    first = host.load()
    other = tmp_path / "again"
    for part in ("lib_pladis", "scripts"):
        shutil.copytree(host.extension / part, other / part)
    twin = Host.__new__(Host)
    vars(twin).update({**vars(host), "extension": other})
    capsys.readouterr()
    for _ in range(2):
        twin.load()
        assert sys.modules["lib_pladis.webui.script"] is first
        (line,) = capsys.readouterr().out.splitlines()
        assert "installed twice" in line and str(other) in line and str(host.extension / "scripts") in line
    assert len(host.callbacks["cfg_denoiser"]) == 1
    assert sys.modules["lib_pladis"].not_used == str(other / "scripts" / "pladis.py")
    runs_from = sys.modules["lib_pladis.webui.hosted"].runs_from
    assert runs_from(str(host.extension / "scripts" / "pladis_last.py"))
    assert not runs_from(str(other / "scripts" / "pladis_last.py"))
    for path in sorted((other / "scripts").glob("pladis_*.py")):
        assert [name for name in runpy.run_path(str(path)) if name.endswith("Script")] == [], path.name


def edit(extension: Path, version: str) -> None:
    (extension / "lib_pladis" / "__init__.py").write_text(f'__version__ = "{version}"\n', encoding="utf-8")


def test_reload_ui_takes_the_new_library(host: Any) -> None:
    edit(host.extension, "1")
    first = host.load()
    assert first.api.__version__ == "1"
    edit(host.extension, "1.0.2")
    second = host.reload()
    assert second.api.__version__ == "1.0.2"
    assert second.generations is not first.generations and second.xyz is not first.xyz


def test_a_generation_that_runs_meanwhile_goes_on_in_its_own_modules(host: Any) -> None:
    first = host.load()
    assert host.callbacks["cfg_denoiser"] == [first.generations.before_denoiser]
    second = host.reload()
    assert host.callbacks["cfg_denoiser"] == [first.generations.before_denoiser, second.generations.before_denoiser]
    third = host.reload()
    assert host.callbacks["cfg_denoiser"] == [second.generations.before_denoiser, third.generations.before_denoiser]
    assert {name: len(registered) for name, registered in host.callbacks.items()} == {
        "before_ui": 2, "app_started": 1, "cfg_denoiser": 2, "script_unloaded": 1, "ui_settings": 0,
    }  # fmt: skip


def test_reload_ui_gives_the_hosts_api_back(host: Any) -> None:
    api = host.modules["api.api"].Api
    theirs = api.init_script_args
    app = SimpleNamespace(routes=[], add_api_route=lambda *args, **kwargs: None)
    for start in (host.load, host.reload):
        start()
        assert api.init_script_args is theirs
        for callback in host.callbacks["app_started"]:
            callback(None, app)
        assert api.init_script_args is not theirs


def test_metadata_is_as_the_hosts_read_it() -> None:
    text = (ROOT / "metadata.ini").read_text(encoding="ascii")  # they read it in the machine's own encoding
    metadata = configparser.ConfigParser()
    metadata.read_string(text)
    assert metadata.get("Extension", "Name") == "pladis"
    scripts = [section for section in metadata.sections() if section != "Extension"]
    assert len(scripts) == 2 and all((ROOT / section).exists() for section in scripts)
    assert metadata.get("scripts/pladis.py", "After") == "xyz_grid.py"
