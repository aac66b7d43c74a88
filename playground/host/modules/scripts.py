"""The scripts of each tab: their panels, and their callbacks, called in the webui's way."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import gradio as gr

from modules import errors, script_callbacks, script_loading, ui_loadsave
from modules.script_base import (
    CALLBACKS,
    AlwaysVisible,
    PostprocessBatchListArgs,
    PostprocessImageArgs,
    PostSampleArgs,
    Script,
)
from modules.script_loading import basedir, list_scripts, scripts_data

__all__ = [
    "AlwaysVisible", "PostSampleArgs", "PostprocessBatchListArgs", "PostprocessImageArgs", "Script", "ScriptRunner",
    "basedir", "list_scripts", "load_scripts", "scripts_data",
]  # fmt: skip


def load_scripts() -> None:
    script_callbacks.clear_callbacks()
    script_loading.load()


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
    setattr(ScriptRunner, _name, _caller(_name))

scripts_txt2img, scripts_img2img = ScriptRunner(), ScriptRunner()
scripts_current: ScriptRunner | None = None
