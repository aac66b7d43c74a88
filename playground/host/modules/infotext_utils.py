"""Infotext: parsing it, and filling the fields of the page from it."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from typing import Any

import gradio as gr

from modules import errors, paths, script_callbacks, shared

sys.modules["modules.generation_parameters_copypaste"] = sys.modules[__name__]

RE_PARAM = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
RE_SIZE = re.compile(r"^(\d+)x(\d+)$")
UPDATE = type(gr.update())

DEFAULTS: dict[str, Any] = {
    "Clip skip": "1", "Hires resize-1": 0, "Hires resize-2": 0, "Hires sampler": "Use same sampler",
    "Hires checkpoint": "Use same checkpoint", "Hires prompt": "", "Hires negative prompt": "",
    "Schedule type": "Automatic",
}  # fmt: skip
"""What an infotext means by not naming a key."""


class PasteField(tuple):
    """(component, key or function of the parsed infotext)."""

    def __new__(cls, component: Any, target: str | Callable[..., Any], *, api: str | None = None) -> PasteField:
        return super().__new__(cls, (component, target))

    def __init__(self, component: Any, target: str | Callable[..., Any], *, api: str | None = None) -> None:
        super().__init__()
        self.api, self.component = api, component
        self.label = target if isinstance(target, str) else None
        self.function = target if callable(target) else None


paste_fields: dict[str, dict[str, Any]] = {}


def add_paste_fields(tabname: str, init_img: Any, fields: list[Any]) -> None:
    fields = [x if isinstance(x, PasteField) else PasteField(*x) for x in fields]
    paste_fields[tabname] = {"init_img": init_img, "fields": fields}


def quote(text: Any) -> Any:
    return text if not set(str(text)) & {",", "\n", ":"} else json.dumps(text, ensure_ascii=False)


def unquote(text: str) -> str:
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def parse_generation_parameters(x: str, skip_fields: list[str] | None = None) -> dict[str, Any]:
    """Infotext to a dict of strings; "128x64" becomes two keys, `Size-1` and `Size-2`."""
    prompt: list[str] = []
    negative: list[str] = []
    into = prompt
    *lines, last = x.strip().split("\n")
    if len(RE_PARAM.findall(last)) < 3:
        lines.append(last)
        last = ""
    for line in lines:
        line = line.strip()
        if line.startswith("Negative prompt:"):
            into, line = negative, line[16:].strip()
        into.append(line)
    res: dict[str, Any] = {}
    for key, value in RE_PARAM.findall(last):
        value = unquote(value)
        size = RE_SIZE.match(value)
        if size:
            res[f"{key}-1"], res[f"{key}-2"] = size.groups()
        else:
            res[key] = value
    res["Prompt"], res["Negative prompt"] = "\n".join(prompt), "\n".join(negative)
    for key, value in DEFAULTS.items():
        res.setdefault(key, value)
    for key in shared.opts.infotext_skip_pasting if skip_fields is None else skip_fields:
        res.pop(key, None)
    return res


def _updates(fields: list[Any], params: dict[str, Any]) -> list[Any]:
    """One gradio update per field; a field whose key is absent keeps its value."""
    res = []
    for component, key in fields:
        try:
            v = key(params) if callable(key) else params.get(key)
        except Exception:  # noqa: BLE001
            errors.report(f"Error executing {key}", exc_info=True)
            v = None
        if v is None or isinstance(v, UPDATE):
            res.append(gr.update() if v is None else v)
            continue
        kind = type(component.value)
        try:
            value = False if kind is bool and v == "False" else float(v) if kind is int else kind(v)
            res.append(gr.update(value=value))
        except (TypeError, ValueError):
            res.append(gr.update())
    return res


def connect_paste(button: gr.Button, fields: list[Any], source: Any, tabname: str) -> None:
    """Clicking `button` reads the infotext in `source` (or that of the last generation) into `fields`."""

    def paste(text: str) -> Any:
        if not text:
            path = os.path.join(paths.data_path, "params.txt")
            if os.path.exists(path):
                with open(path, encoding="utf8") as file:
                    text = file.read()
        params = parse_generation_parameters(text or "")
        script_callbacks.infotext_pasted_callback(text or "", params)
        return _updates(fields, params)

    button.click(paste, [source], [x[0] for x in fields], show_progress=False)


def connect_send(button: gr.Button, source_tab: str, tabname: str, names: list[str]) -> None:
    """Clicking `button` copies the fields of those names from one tab to the other."""
    names = ["Prompt", "Negative prompt", "Steps", *(["Seed"] if shared.opts.send_seed else []), *names]

    def pick(tab: str) -> list[Any]:
        return [component for component, key in paste_fields[tab]["fields"] if key in names]

    button.click(lambda *x: x, pick(source_tab), pick(tabname), show_progress=False)
