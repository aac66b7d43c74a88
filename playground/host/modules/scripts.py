"""Scripts: finding and loading them, laying out their panels, calling their callbacks in the webui's way."""

from __future__ import annotations

import inspect
import os
import sys
from collections import namedtuple
from collections.abc import Callable
from typing import Any

import gradio as gr

from modules import errors, extensions, paths, script_callbacks, script_loading
from modules.script_base import (
    AlwaysVisible,
    PostprocessBatchListArgs,
    PostprocessImageArgs,
    PostSampleArgs,
    Script,
)

current_basedir = paths.script_path
ScriptFile = namedtuple("ScriptFile", ["basedir", "filename", "path"])
ScriptClassData = namedtuple("ScriptClassData", ["script_class", "path", "basedir", "module"])
scripts_data: list[ScriptClassData] = []


def basedir() -> str:
    """The folder of the extension whose script is being loaded, else the host's."""
    return current_basedir


def list_scripts(scriptdirname: str, extension: str) -> list[ScriptFile]:
    """The host's own files of that kind, then those of each active extension."""
    roots = [extensions.Extension("host", paths.script_path), *extensions.active()]
    return [
        ScriptFile(root.path, os.path.basename(path), path)
        for root in roots
        for path in root.list_files(scriptdirname, extension)
    ]


def list_files_with_name(filename: str) -> list[str]:
    roots = [paths.script_path, *(x.path for x in extensions.active())]
    return [path for root in roots if os.path.isfile(path := os.path.join(root, filename))]


def load_scripts() -> None:
    """Import every script. While one loads, its extension's folder leads sys.path, and only then."""
    global current_basedir, scripts_txt2img, scripts_img2img
    scripts_data.clear()
    script_callbacks.clear_callbacks()
    syspath = sys.path
    for file in list_scripts("scripts", ".py"):
        try:
            if file.basedir != paths.script_path:
                sys.path = [file.basedir, *sys.path]
            current_basedir = file.basedir
            module = script_loading.load_module(file.path)
            for value in list(vars(module).values()):
                if inspect.isclass(value) and issubclass(value, Script):
                    scripts_data.append(ScriptClassData(value, file.path, file.basedir, module))
        except Exception:  # noqa: BLE001
            errors.report(f"Error loading script: {file.filename}", exc_info=True)
        finally:
            sys.path = syspath
            current_basedir = paths.script_path
    scripts_txt2img = ScriptRunner()
    scripts_img2img = ScriptRunner()


def wrap_call(func: Callable[..., Any], filename: str, funcname: str, *args: Any, default: Any = None) -> Any:
    try:
        return func(*args)
    except Exception:  # noqa: BLE001
        errors.report(f"Error calling: {filename}/{funcname}", exc_info=True)
    return default


class ScriptRunner:
    """The scripts of one tab. `inputs[0]` is the script dropdown; a script's arguments are
    `inputs[script.args_from:script.args_to]`."""

    def __init__(self) -> None:
        self.scripts: list[Script] = []
        self.selectable_scripts: list[Script] = []
        self.alwayson_scripts: list[Script] = []
        self.titles: list[str] = []
        self.title_map: dict[str, Script] = {}
        self.infotext_fields: list[Any] = []
        self.paste_field_names: list[str] = []
        self.inputs: list[Any] = [None]

    def initialize_scripts(self, is_img2img: bool) -> None:
        for scripts in (self.scripts, self.alwayson_scripts, self.selectable_scripts):
            scripts.clear()
        for data in scripts_data:
            try:
                script = data.script_class()
            except Exception:  # noqa: BLE001
                errors.report(f"Error # failed to initialize Script {data.module}: ", exc_info=True)
                continue
            script.filename = data.path
            script.is_txt2img, script.is_img2img = not is_img2img, is_img2img
            script.tabname = "img2img" if is_img2img else "txt2img"
            visibility = script.show(is_img2img)
            if visibility is AlwaysVisible:
                script.alwayson = True
                self.alwayson_scripts.append(script)
            elif visibility:
                self.selectable_scripts.append(script)
            else:
                continue
            self.scripts.append(script)

    def create_script_ui(self, script: Script) -> None:
        script.args_from = script.args_to = len(self.inputs)
        try:
            self._create_script_ui(script)
        except Exception:  # noqa: BLE001
            errors.report(f"Error creating UI for {script.name}: ", exc_info=True)

    def _create_script_ui(self, script: Script) -> None:
        script.controls = controls = wrap_call(script.ui, script.filename, "ui", script.is_img2img)
        if controls is None:
            return
        script.name = wrap_call(script.title, script.filename, "title", default=script.filename).lower()
        for control in controls:
            control.custom_script_source = os.path.basename(script.filename)
        self.infotext_fields += script.infotext_fields or []
        self.paste_field_names += script.paste_field_names or []
        self.inputs += controls
        script.args_to = len(self.inputs)

    def prepare_ui(self) -> None:
        self.inputs = [None]

    def setup_ui_for_section(self, section: str | None, scriptlist: list[Script] | None = None) -> None:
        for script in self.alwayson_scripts if scriptlist is None else scriptlist:
            if script.alwayson and script.section != section:
                continue
            if script.create_group:
                with gr.Group(visible=script.alwayson) as group:
                    self.create_script_ui(script)
                script.group = group
            else:
                self.create_script_ui(script)

    def setup_ui(self) -> list[Any]:
        """The always-on panels, the script dropdown, and the panels it shows. Returns `inputs`."""
        titles = [wrap_call(x.title, x.filename, "title") or x.filename for x in self.scripts]
        self.title_map = dict(zip((x.lower() for x in titles), self.scripts))
        self.titles = [wrap_call(x.title, x.filename, "title") or x.filename for x in self.selectable_scripts]
        self.setup_ui_for_section(None)
        dropdown = gr.Dropdown(
            label="Script", elem_id="script_list", choices=["None", *self.titles], value="None", type="index"
        )
        self.inputs[0] = dropdown
        self.setup_ui_for_section(None, self.selectable_scripts)

        def select(index: int | None) -> Any:
            updates = [gr.update(visible=index == i + 1) for i in range(len(self.selectable_scripts))]
            return updates[0] if len(updates) == 1 else updates

        dropdown.change(select, [dropdown], [x.group for x in self.selectable_scripts])
        self.infotext_fields.append((dropdown, lambda d: gr.update(value=d.get("Script", "None"))))
        return self.inputs

    def run(self, p: Any, *args: Any) -> Any:
        """Run the script chosen in the dropdown (`args[0]`, 1-based), or return None."""
        if not args[0]:
            return None
        script = self.selectable_scripts[args[0] - 1]
        return script.run(p, *args[script.args_from : script.args_to])

    def script(self, title: str) -> Script | None:
        return self.title_map.get(title.lower())

    def _call(self, method: str, p: Any, *first: Any, **kwargs: Any) -> None:
        """`script.<method>(p, *first, *its arguments, **kwargs)` for each always-on script that has it."""
        for script in self.alwayson_scripts:
            if getattr(type(script), method) is getattr(Script, method):
                continue
            try:
                args = p.script_args[script.args_from : script.args_to]
                getattr(script, method)(p, *first, *args, **kwargs)
            except Exception:  # noqa: BLE001
                errors.report(f"Error running {method}: {script.filename}", exc_info=True)

    def setup_scrips(self, p: Any, *, is_ui: bool = True) -> None:
        self._call("setup", p)

    def before_process(self, p: Any) -> None:
        self._call("before_process", p)

    def process(self, p: Any) -> None:
        self._call("process", p)

    def before_process_batch(self, p: Any, **kwargs: Any) -> None:
        self._call("before_process_batch", p, **kwargs)

    def process_batch(self, p: Any, **kwargs: Any) -> None:
        self._call("process_batch", p, **kwargs)

    def process_before_every_sampling(self, p: Any, **kwargs: Any) -> None:
        self._call("process_before_every_sampling", p, **kwargs)

    def before_hr(self, p: Any) -> None:
        self._call("before_hr", p)

    def post_sample(self, p: Any, ps: PostSampleArgs) -> None:
        self._call("post_sample", p, ps)

    def postprocess_batch(self, p: Any, images: Any, **kwargs: Any) -> None:
        self._call("postprocess_batch", p, images=images, **kwargs)

    def postprocess_batch_list(self, p: Any, pp: PostprocessBatchListArgs, **kwargs: Any) -> None:
        self._call("postprocess_batch_list", p, pp, **kwargs)

    def postprocess_image(self, p: Any, pp: PostprocessImageArgs) -> None:
        self._call("postprocess_image", p, pp)

    def postprocess_image_after_composite(self, p: Any, pp: PostprocessImageArgs) -> None:
        self._call("postprocess_image_after_composite", p, pp)

    def postprocess(self, p: Any, processed: Any) -> None:
        self._call("postprocess", p, processed)

    def before_component(self, component: Any, **kwargs: Any) -> None:
        for script in self.scripts:
            wrap_call(lambda s=script: s.before_component(component, **kwargs), script.filename, "before_component")

    def after_component(self, component: Any, **kwargs: Any) -> None:
        for script in self.scripts:
            wrap_call(lambda s=script: s.after_component(component, **kwargs), script.filename, "after_component")


scripts_txt2img: ScriptRunner
scripts_img2img: ScriptRunner
scripts_current: ScriptRunner | None = None
