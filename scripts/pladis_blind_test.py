"""Blind test, in the web UI's list of scripts: wiring from the host to `lib_pladis.webui.blind`, and nothing else."""

from __future__ import annotations

from typing import Any

from modules import script_callbacks, scripts

from lib_pladis.webui import hosted

if hosted.runs_from(__file__):
    from lib_pladis.webui.blind import draw, panel
    from lib_pladis.webui.blind.store import STORE
    from lib_pladis.webui.own_presets import STORE as PRESETS

    class BlindTestScript(scripts.Script):
        def title(self) -> str:
            return "Blind test"

        def ui(self, is_img2img: bool) -> list[Any]:
            return panel.controls(self.elem_id)

        def run(self, p: Any, *args: Any) -> Any:
            return draw.Drawing(p, draw.Request.from_args(args), STORE, PRESETS.get).run()

    script_callbacks.on_cfg_denoiser(draw.PACE.step)
