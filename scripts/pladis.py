"""PLADIS, an always-on script: wiring from the host's callbacks to `lib_pladis`, and nothing else."""

from __future__ import annotations

from typing import Any

from modules import script_callbacks, scripts

from lib_pladis.webui import api, options, xyz
from lib_pladis.webui.generation import Generations
from lib_pladis.webui.panel import Panel

generations = Generations()


class PladisScript(scripts.Script):
    def title(self) -> str:
        return "PLADIS"

    def show(self, is_img2img: bool) -> Any:
        return scripts.AlwaysVisible

    def ui(self, is_img2img: bool) -> list[Any]:
        panel = Panel("img2img" if is_img2img else "txt2img")
        self.infotext_fields = panel.infotext_fields
        self.paste_field_names = panel.paste_field_names
        return panel.components

    def process(self, p: Any, *args: Any) -> None:
        generations.begin(p, args)

    def process_batch(self, p: Any, *args: Any, **kwargs: Any) -> None:
        generations.begin_batch(p)

    def postprocess(self, p: Any, processed: Any, *args: Any) -> None:
        generations.end(p)


script_callbacks.on_cfg_denoiser(generations.before_denoiser)
script_callbacks.on_before_ui(xyz.register)
script_callbacks.on_ui_settings(options.register)
script_callbacks.on_app_started(lambda demo, app: api.add_routes(app, generations))
