"""Says under the picture which words of the prompt the small model never learnt, and what its heat maps can't show."""

from __future__ import annotations

from typing import Any

import vocabulary
from modules import scripts


class Script(scripts.Script):
    def title(self) -> str:
        return "Known words"

    def show(self, is_img2img: bool) -> Any:
        return scripts.AlwaysVisible

    def process(self, p: Any, *args: Any) -> None:
        for prompt in dict.fromkeys(p.all_prompts):
            advice = vocabulary.advice(prompt)
            if advice:
                p.comment(advice)
        if getattr(p, "pladis_beside", {}).get("look"):
            p.comment(vocabulary.HEAT_MAPS)
