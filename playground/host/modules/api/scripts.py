"""Scripts in API requests: what they are called with, and what /sdapi/v1/script-info says of them."""

from __future__ import annotations

from typing import Any

import gradio as gr
from fastapi.exceptions import HTTPException

from modules import scripts
from modules.scripts import Script, ScriptRunner


def refuse(detail: str) -> HTTPException:
    return HTTPException(status_code=422, detail=detail)


def find(name: str, candidates: list[Script]) -> Script:
    """The script of that title. Raises HTTPException 422 if there is none."""
    for script in candidates:
        if script.title().lower() == name.lower():
            return script
    raise refuse(f"Script '{name}' not found")


def default_args(runner: ScriptRunner) -> list[Any]:
    """What the arguments are when a request says nothing: the values of freshly made panels."""
    args: list[Any] = [0] + [None] * (max([x.args_to for x in runner.scripts], default=1) - 1)
    with gr.Blocks():
        for script in runner.scripts:
            controls = scripts.wrap_call(script.ui, script.filename, script.is_img2img)
            if controls:
                args[script.args_from : script.args_to] = [x.value for x in controls]
    return args


def always_on_args(name: str, given: Any) -> list[Any]:
    """The list in `{"args": [...]}`. Raises HTTPException 422 for anything else."""
    args = given.get("args") if isinstance(given, dict) else None
    if not isinstance(args, list):
        fault = "missing" if args is None else "not a list"
        example = f'alwayson_scripts: {{"{name}": {{"args": [true]}}}}'
        raise refuse(f'{name}: "args" is {fault}: got {given!r}, allowed: {example}')
    return args


def script_args(req: Any, runner: ScriptRunner, defaults: list[Any]) -> list[Any]:
    """The arguments of all scripts: what the request says, else `defaults`."""
    args = list(defaults)
    if req.script_name:
        script = find(req.script_name, runner.selectable_scripts)
        args[script.args_from : script.args_to] = req.script_args
        args[0] = runner.selectable_scripts.index(script) + 1
    for name, value in (req.alwayson_scripts or {}).items():
        script = find(name, runner.scripts)
        if not script.alwayson:
            raise refuse("Cannot have a selectable script in the always on scripts params")
        given = always_on_args(name, value)[: script.args_to - script.args_from]
        args[script.args_from : script.args_from + len(given)] = given
    return args


def info(script: Script) -> dict[str, Any]:
    """A script's controls, in the order of its arguments."""
    return {
        "name": script.name, "is_alwayson": script.alwayson, "is_img2img": script.is_img2img,
        "args": [_control(x) for x in script.controls],
    }  # fmt: skip


def _control(control: Any) -> dict[str, Any]:
    choices = getattr(control, "choices", None)
    return {
        "label": control.label or "",
        **{x: getattr(control, x, None) for x in ("value", "minimum", "maximum", "step")},
        "choices": choices and [x[0] if isinstance(x, tuple) else x for x in choices],
    }
