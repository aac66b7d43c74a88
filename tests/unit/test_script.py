"""scripts/pladis.py, loaded as the hosts load it: what is there at once, and what "Reload UI" brings."""

from __future__ import annotations

import configparser
import importlib.util
import shutil
import sys
import types
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Optional

import pytest

pytest.importorskip("gradio", reason="gradio is not installed here")
from pydantic import Field, create_model

from lib_pladis.settings import TABLE

ROOT = Path(__file__).resolve().parents[2]
AXES = [f"[PLADIS] {setting.axis}" for setting in TABLE.values() if setting.axis]


class Options:
    """`shared.opts`, as far as scripts add to it."""

    def __init__(self) -> None:
        self.data: dict[str, Any] = {}
        self.data_labels: dict[str, Any] = {}

    def add_option(self, key: Any, info: Any) -> None:
        self.data_labels[key] = info
        self.data.setdefault(key, info.default)


class OptionInfo:
    def __init__(self, default: Any, label: Any, component: Any, component_args: Any, section: Any) -> None:
        self.default, self.label, self.section = default, label, section


class Host:
    """A host's modules. `load` runs the script as on start and on "Reload UI", from an extension's folder."""

    def __init__(self, extension: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.extension = extension
        self.callbacks: dict[str, list[Any]] = defaultdict(list)
        self.opts = Options()
        names = ("", "scripts", "script_callbacks", "shared", "ui_components", "api", "api.models", "api.api")
        self.modules: dict[str, Any] = {name: types.ModuleType(f"modules.{name}".rstrip(".")) for name in names}
        for name, module in self.modules.items():
            monkeypatch.setitem(sys.modules, module.__name__, module)
            if name and "." not in name:
                setattr(self.modules[""], name, module)
        for event in ("before_ui", "app_started", "cfg_denoiser", "script_unloaded", "ui_settings"):
            register = self.callbacks[event].append
            setattr(self.modules["script_callbacks"], f"on_{event}", register)
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
        return module

    def reload(self) -> Any:
        for callback in self.callbacks["script_unloaded"]:
            callback()
        self.restart()
        return self.load()

    def freeze_options(self) -> None:
        """What importing the host's `modules.api` does: a model of the options known by then."""
        fields: dict[str, Any] = {
            key: (Optional[str], Field(default=info.default))  # noqa: UP045
            for key, info in self.opts.data_labels.items()
        }
        self.modules["api.models"].OptionsModel = create_model("Options", **fields)

    @property
    def options_in_api(self) -> set[str]:
        return set(self.modules["api.models"].OptionsModel(**self.opts.data).__fields__)


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


@pytest.mark.parametrize("frozen", [True, False], ids=["by an extension before ours", "after"])
def test_the_api_lists_the_kernel(host: Any, frozen: Any) -> None:
    host.opts.add_option("theirs", OptionInfo("x", "Theirs", None, {}, ("a", "A")))
    if frozen:
        host.freeze_options()
    host.load()
    if not frozen:
        host.freeze_options()
    assert host.options_in_api == {"theirs", "pladis_backend"}
    model = host.modules["api.models"].OptionsModel
    host.reload()
    assert host.modules["api.models"].OptionsModel is model, "once"
    assert model(pladis_backend="torch").pladis_backend == "torch" and model().pladis_backend == "auto"


def test_a_host_whose_api_is_not_loaded(host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "modules.api.models")
    host.load()
    assert host.opts.data == {"pladis_backend": "auto"}


def edit(extension: Path, version: str) -> None:
    (extension / "lib_pladis" / "__init__.py").write_text(f'__version__ = "{version}"\n', encoding="utf-8")


def test_reload_ui_takes_the_new_library(host: Any) -> None:
    edit(host.extension, "1")
    first = host.load()
    assert first.api.version() == {"version": "1"}
    edit(host.extension, "1.0.2")
    second = host.reload()
    assert second.api.version() == {"version": "1.0.2"}
    assert second.generations is not first.generations and second.xyz is not first.xyz


def test_a_generation_that_runs_meanwhile_goes_on_in_its_own_modules(host: Any) -> None:
    first = host.load()
    assert host.callbacks["cfg_denoiser"] == [first.generations.before_denoiser]
    second = host.reload()
    assert host.callbacks["cfg_denoiser"] == [first.generations.before_denoiser, second.generations.before_denoiser]
    third = host.reload()
    assert host.callbacks["cfg_denoiser"] == [second.generations.before_denoiser, third.generations.before_denoiser]
    assert {name: len(registered) for name, registered in host.callbacks.items()} == {
        "before_ui": 1, "app_started": 1, "cfg_denoiser": 2, "script_unloaded": 1, "ui_settings": 0,
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
