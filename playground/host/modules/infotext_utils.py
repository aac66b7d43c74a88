"""Infotext: parsing it, and filling the fields of the page from it. A field is (component, key or function)."""

from __future__ import annotations

import json
import re
from typing import Any

import gradio as gr

from modules import errors, script_callbacks

RE_PARAM = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
RE_SIZE = re.compile(r"^(\d+)x(\d+)$")
UPDATE = type(gr.update())


def quote(text: Any) -> Any:
    return text if not set(str(text)) & {",", "\n", ":"} else json.dumps(text, ensure_ascii=False)


def unquote(text: str) -> str:
    try:
        return json.loads(text) if text[:1] == '"' else text
    except json.JSONDecodeError:
        return text


def parse_generation_parameters(x: str) -> dict[str, Any]:
    """Infotext to a dict of strings; "128x64" becomes two keys, `Size-1` and `Size-2`."""
    *lines, last = x.strip().split("\n")
    if len(RE_PARAM.findall(last)) < 3:
        lines.append(last)
        last = ""
    prompts = re.split(r"(?m)^Negative prompt:", "\n".join(map(str.strip, lines)), maxsplit=1)
    res: dict[str, Any] = {k: v.strip() for k, v in zip(("Prompt", "Negative prompt"), [*prompts, ""])}
    res["Schedule type"] = "Automatic"  # which an infotext means by not naming one
    for key, value in RE_PARAM.findall(last):
        size = RE_SIZE.match(value)
        res |= dict(zip((f"{key}-1", f"{key}-2"), size.groups())) if size else {key: unquote(value)}
    return res


def _update(component: Any, key: Any, params: dict[str, Any]) -> Any:
    """gradio's update of one field; one whose key is absent, or whose value does not fit, keeps its value."""
    try:
        v = key(params) if callable(key) else params.get(key)
        if v is None or isinstance(v, UPDATE):
            return gr.update() if v is None else v
        kind = type(component.value)
        return gr.update(value=v not in (False, "False") if kind is bool else float(v) if kind is int else kind(v))
    except Exception:  # noqa: BLE001
        errors.report(f"Error pasting {key}", exc_info=True)
        return gr.update()


def connect_paste(button: gr.Button, fields: list[Any], source: Any) -> None:
    """Clicking `button` reads the infotext in `source` into `fields`."""

    def paste(text: str) -> Any:
        params = parse_generation_parameters(text or "")
        script_callbacks.infotext_pasted_callback(text or "", params)
        return [_update(component, key, params) for component, key in fields]

    button.click(paste, [source], [x[0] for x in fields], show_progress=False)


def connect_send(button: gr.Button, source: list[Any], target: list[Any], names: list[Any]) -> None:
    """Clicking `button` copies the fields of those names, and some that every picture has."""
    names = ["Prompt", "Negative prompt", "Steps", "Seed", *names]
    sent, taken = ([component for component, key in fields if key in names] for fields in (source, target))
    button.click(lambda *x: x, sent, taken, show_progress=False)
