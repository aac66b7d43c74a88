"""The always-on script: wiring from the host's callbacks to the rest of `lib_pladis`, done when this is imported."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from modules import script_callbacks, scripts

from lib_pladis.webui import api, arguments, card, languages, options, requests, xyz
from lib_pladis.webui.generation import generations, say
from lib_pladis.webui.panel import Panel


class PladisScript(scripts.Script):
    def title(self) -> str:
        return "PLADIS"

    def show(self, is_img2img: bool) -> Any:
        return scripts.AlwaysVisible

    def ui(self, is_img2img: bool) -> list[Any]:
        try:
            panel = Panel("img2img" if is_img2img else "txt2img")
        except Exception as error:  # noqa: BLE001 (some hosts don't catch it, and their page would be lost)
            say(f"PLADIS: no panel in this web UI: {type(error).__name__}: {error}")
            return []
        self.infotext_fields = panel.infotext_fields
        self.paste_field_names = panel.paste_field_names
        return panel.components

    def setup(self, p: Any, *args: Any) -> None:
        arguments.set_aside(p, args)

    def before_process(self, p: Any, *args: Any) -> None:
        generations.prepare(p, args)

    def process(self, p: Any, *args: Any) -> None:
        generations.begin(p, args)

    def process_batch(self, p: Any, *args: Any, **kwargs: Any) -> None:
        generations.begin_batch(p)

    def postprocess_batch(self, p: Any, *args: Any, **kwargs: Any) -> None:
        generations.end_batch(p)

    def postprocess(self, p: Any, processed: Any, *args: Any) -> None:
        generations.end(p, processed)


# At import: under --nowebui the API is built before `on_before_ui`. Again there, for an xyz_grid.py loaded later
options.register()
card.keep_proofs()
xyz.register()
script_callbacks.on_before_ui(xyz.register)
script_callbacks.on_before_ui(languages.register)

undo: list[Callable[[], None]] = []


def app_started(demo: Any, app: Any) -> None:
    api.add_routes(app, lambda: generations.last.as_dict(), generations.beside.look)
    undo.append(requests.install())


def unloaded() -> None:
    while undo:
        undo.pop()()
    vars(sys.modules["lib_pladis"])["before_reload"] = generations.before_denoiser


script_callbacks.on_app_started(app_started)
script_callbacks.on_script_unloaded(unloaded)
script_callbacks.on_cfg_denoiser(generations.before_denoiser)
