"""What PLADIS adds to a result when every other script is done with it: of the scripts that a file has, the hosts call
all callbacks in one order, and PLADIS itself is to come first."""

from __future__ import annotations

from typing import Any

from modules import scripts

from lib_pladis.webui import hosted

if hosted.runs_from(__file__):

    class PladisLastScript(scripts.Script):
        def title(self) -> str:
            return "PLADIS, after all others"

        def show(self, is_img2img: bool) -> Any:
            return scripts.AlwaysVisible

        def postprocess(self, p: Any, processed: Any, *args: Any) -> None:
            from lib_pladis.webui.generation import generations

            generations.finish(p, processed)
