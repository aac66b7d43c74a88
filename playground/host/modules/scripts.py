"""Scripts: their base class, finding and loading them, and the runner that calls them in the webui's order."""

from __future__ import annotations

import dataclasses
import importlib.util
import inspect
import os
import re
import sys
from collections import namedtuple
from collections.abc import Callable
from types import ModuleType
from typing import Any

import gradio as gr

from modules import errors, extensions, paths, script_callbacks, ui_loadsave

AlwaysVisible = object()
PostSampleArgs = dataclasses.make_dataclass("PostSampleArgs", ["samples"])
PostprocessImageArgs = dataclasses.make_dataclass("PostprocessImageArgs", ["image"])
PostprocessBatchListArgs = dataclasses.make_dataclass("PostprocessBatchListArgs", ["images"])

CALLBACKS = (
    "setup", "before_process", "process", "before_process_batch", "process_batch", "before_hr",
    "process_before_every_sampling", "post_sample", "postprocess_batch", "postprocess_batch_list",
    "postprocess_image", "postprocess_image_after_composite", "postprocess",
)  # fmt: skip
"""`script.<name>(p, [one of the above, or Processed,] *its arguments, **what the host adds)`; here they do nothing."""


class Script:
    """Base class of scripts. A subclass has a title, and overrides what it needs."""

    name: str | None = None
    filename = ""
    args_from = args_to = 0
    alwayson = is_txt2img = is_img2img = False
    tabname = ""
    group: Any = None
    create_group = True
    infotext_fields: Any = None
    paste_field_names: Any = None
    controls: Any = None

    def title(self) -> str:
        raise NotImplementedError

    def show(self, is_img2img: bool) -> Any:
        return True

    def ui(self, is_img2img: bool) -> Any: ...

    def run(self, p: Any, *args: Any) -> Any: ...

    def elem_id(self, item_id: str) -> str:
        """`script_[<tab>_]<title>_<item_id>`; the tab only when the script shows in both."""
        tab = f"{'img2img' if self.is_img2img else 'txt2img'}_" if self.show(True) == self.show(False) else ""
        title = re.sub(r"[^a-z_0-9]", "", re.sub(r"\s", "_", self.title().lower()))
        return f"script_{tab}{title}_{item_id}"


def _nothing(self: Script, p: Any, *args: Any, **kwargs: Any) -> None: ...


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


def load_scripts() -> None:
    """Import every script. While one loads, its extension's folder leads sys.path, and only then."""
    global current_basedir
    script_callbacks.clear_callbacks()
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


def wrap_call(func: Callable[..., Any], filename: str, *args: Any, default: Any = None, **kwargs: Any) -> Any:
    """What `func` returns; if it raises, that is printed and `default` is returned."""
    try:
        return func(*args, **kwargs)
    except Exception:  # noqa: BLE001
        errors.report(f"Error calling: {filename}/{func.__name__}", exc_info=True)
    return default


class ScriptRunner:
    """The scripts of one tab. `inputs[0]` is the script dropdown; a script's arguments are
    `inputs[script.args_from:script.args_to]`. Besides the methods below there is one for each of CALLBACKS."""

    def __init__(self) -> None:
        self.alwayson_scripts: list[Script] = []
        self.selectable_scripts: list[Script] = []
        self.infotext_fields: list[Any] = []
        self.paste_field_names: list[Any] = []
        self.inputs: list[Any] = [None]

    @property
    def scripts(self) -> list[Script]:
        return [*self.alwayson_scripts, *self.selectable_scripts]

    def initialize_scripts(self, is_img2img: bool) -> None:
        self.alwayson_scripts, self.selectable_scripts = [], []
        for data in scripts_data:
            script = wrap_call(data.script_class, data.path)
            if script is None:
                continue
            script.filename = data.path
            script.is_txt2img, script.is_img2img = not is_img2img, is_img2img
            script.tabname = "img2img" if is_img2img else "txt2img"
            visibility = script.show(is_img2img)
            script.alwayson = visibility is AlwaysVisible
            if visibility:
                (self.alwayson_scripts if script.alwayson else self.selectable_scripts).append(script)

    def create_script_ui(self, script: Script) -> None:
        """The script's panel; its controls become the next of `inputs`."""
        script.args_from = script.args_to = len(self.inputs)
        with gr.Group(visible=script.alwayson) as script.group:
            script.controls = wrap_call(script.ui, script.filename, script.is_img2img)
        if script.controls is None:
            return
        script.name = wrap_call(script.title, script.filename, default=script.filename).lower()
        for control in script.controls:
            control.custom_script_source = os.path.basename(script.filename)
        ui_loadsave.apply(f"customscript/{os.path.basename(script.filename)}/{script.tabname}", script.controls)
        self.infotext_fields += script.infotext_fields or []
        self.paste_field_names += script.paste_field_names or []
        self.inputs += script.controls
        script.args_to = len(self.inputs)

    def setup_ui(self) -> list[Any]:
        """The always-on panels, the script dropdown, and the panels it shows. Returns `inputs`."""
        for script in self.alwayson_scripts:
            self.create_script_ui(script)
        chosen = self.selectable_scripts
        choices = ["None", *(wrap_call(x.title, x.filename, default=x.filename) for x in chosen)]
        dropdown = gr.Dropdown(label="Script", elem_id="script_list", choices=choices, value="None", type="index")
        self.inputs[0] = dropdown
        for script in chosen:
            self.create_script_ui(script)

        def select(index: int | None) -> Any:
            updates = [gr.update(visible=index == i + 1) for i in range(len(chosen))]
            return updates[0] if len(updates) == 1 else updates

        dropdown.change(select, [dropdown], [x.group for x in chosen])
        self.infotext_fields.append((dropdown, lambda d: d.get("Script", "None")))
        return self.inputs

    def script(self, title: str) -> Script | None:
        return next((x for x in self.scripts if x.title().lower() == title.lower()), None)

    def run(self, p: Any, *args: Any) -> Any:
        """Run the script chosen in the dropdown (`args[0]`, 1-based), or return None."""
        if not args[0]:
            return None
        script = self.selectable_scripts[args[0] - 1]
        return script.run(p, *args[script.args_from : script.args_to])


def _caller(method: str) -> Callable[..., None]:
    """`script.<method>(p, *first, *its arguments, **kwargs)` for each always-on script."""

    def call(self: ScriptRunner, p: Any, *first: Any, **kwargs: Any) -> None:
        for script in self.alwayson_scripts:
            args = p.script_args[script.args_from : script.args_to]
            wrap_call(getattr(script, method), script.filename, p, *first, *args, **kwargs)

    return call


for _name in CALLBACKS:
    setattr(Script, _name, _nothing)
    setattr(ScriptRunner, _name, _caller(_name))

scripts_txt2img, scripts_img2img = ScriptRunner(), ScriptRunner()
scripts_current: ScriptRunner | None = None
