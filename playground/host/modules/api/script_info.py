"""What /sdapi/v1/script-info says of a script: its controls, in the order of its arguments."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from modules.script_base import Script


class ScriptArg(BaseModel):
    label: str = None
    value: Any | None = None
    minimum: Any | None = None
    maximum: Any | None = None
    step: Any | None = None
    choices: list[str] | None = None


class ScriptInfo(BaseModel):
    name: str = None
    is_alwayson: bool = None
    is_img2img: bool = None
    args: list[ScriptArg]


def script_info(script: Script) -> ScriptInfo:
    args = [script_arg(control) for control in script.controls]
    return ScriptInfo(name=script.name, is_img2img=script.is_img2img, is_alwayson=script.alwayson, args=args)


def script_arg(control: Any) -> ScriptArg:
    fields = {x: getattr(control, x, None) for x in ("value", "minimum", "maximum", "step")}
    choices = getattr(control, "choices", None)
    if choices is not None:
        fields["choices"] = [x[0] if isinstance(x, tuple) else x for x in choices]
    return ScriptArg(label=control.label or "", **{k: v for k, v in fields.items() if v is not None})
