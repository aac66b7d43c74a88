"""Finding and loading scripts: those of the host's own folder, then those of each extension."""

from __future__ import annotations

import importlib.util
import inspect
import os
import sys
from collections import namedtuple
from types import ModuleType

from modules import errors, extensions, paths
from modules.script_base import Script

ScriptFile = namedtuple("ScriptFile", ["basedir", "filename", "path"])
ScriptClassData = namedtuple("ScriptClassData", ["script_class", "path", "basedir", "module"])
scripts_data: list[ScriptClassData] = []
current_basedir = paths.script_path


def basedir() -> str:
    """The folder of the extension whose script is being loaded, else the host's."""
    return current_basedir


def list_scripts(scriptdirname: str, extension: str) -> list[ScriptFile]:
    """Files `<root>/<scriptdirname>/*<extension>`, sorted in each root."""
    found = []
    for root in (paths.script_path, *(x.path for x in extensions.extensions)):
        folder = os.path.join(root, scriptdirname)
        names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
        found += [ScriptFile(root, x, os.path.join(folder, x)) for x in names if x.endswith(extension)]
    return found


def load_module(path: str) -> ModuleType:
    """The file as a module, named as in the webui: by the bare file name, dot and all."""
    spec = importlib.util.spec_from_file_location(os.path.basename(path), path)
    if spec is None or spec.loader is None:
        raise ImportError(f"not a Python file: {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load() -> None:
    """Import every script. While one loads, its extension's folder leads sys.path, and only then."""
    global current_basedir
    scripts_data.clear()
    syspath = sys.path
    for file in list_scripts("scripts", ".py"):
        try:
            sys.path = syspath if file.basedir == paths.script_path else [file.basedir, *syspath]
            current_basedir = file.basedir
            module = load_module(file.path)
            classes = [x for x in vars(module).values() if inspect.isclass(x) and issubclass(x, Script)]
            scripts_data.extend(ScriptClassData(x, file.path, file.basedir, module) for x in classes)
        except Exception:  # noqa: BLE001
            errors.report(f"Error loading script: {file.filename}", exc_info=True)
    sys.path, current_basedir = syspath, paths.script_path
