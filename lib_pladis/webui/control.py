"""The gradio component of a setting."""

from __future__ import annotations

from typing import Any

import gradio as gr

from lib_pladis.settings import Setting


def control(setting: Setting, **common: Any) -> Any:
    """A checkbox, radio buttons, box or slider, by the setting's kind, with its label and default.

    common: further arguments of the component.
    """
    common = {"label": setting.label, "value": setting.default, **common}
    if setting.kind == "bool":
        return gr.Checkbox(**common)
    if setting.kind == "choice":
        return gr.Radio(choices=list(setting.choices), **common)
    if setting.kind in ("layers", "text"):
        return gr.Textbox(max_lines=1, **common)
    return gr.Slider(setting.minimum, setting.maximum, step=setting.step, **common)
