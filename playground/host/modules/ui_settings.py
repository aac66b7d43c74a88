"""The Settings tab, made from `opts.data_labels`."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import gradio as gr

from modules import errors
from modules.options import OptionInfo
from modules.shared import opts

BY_TYPE = {str: gr.Textbox, int: gr.Number, float: gr.Number, bool: gr.Checkbox}


def create_setting_component(key: str, info: OptionInfo) -> Any:
    """The option's own component, or one by the type of its default; elem_id `setting_<key>`."""
    kind = info.component or BY_TYPE[type(info.default)]
    args = info.component_args() if callable(info.component_args) else info.component_args or {}
    return kind(label=info.label, value=getattr(opts, key), elem_id=f"setting_{key}", **args)


def create_ui(demo: gr.Blocks) -> None:
    components: dict[str, Any] = {}
    submit = gr.Button("Apply settings", variant="primary", elem_id="settings_submit")
    result = gr.HTML(elem_id="settings_result")
    shown = [(k, v) for k, v in opts.data_labels.items() if v.section and v.section[0]]
    sections = list(dict.fromkeys(v.section for _, v in shown))
    shown.sort(key=lambda kv: sections.index(kv[1].section))
    with gr.Tabs(elem_id="settings"):
        for (section_id, title), group in groupby(shown, key=lambda kv: kv[1].section):
            with gr.TabItem(title, elem_id=f"settings_{section_id}"):
                for key, info in group:
                    try:
                        components[key] = create_setting_component(key, info)
                    except Exception:  # noqa: BLE001
                        errors.report(f"Error creating setting {key}", exc_info=True)

    def apply(*values: Any) -> str:
        changed = [key for key, value in zip(components, values) if opts.set(key, value)]
        return f"{len(changed)} settings changed{': ' if changed else ''}{', '.join(changed)}."

    submit.click(apply, list(components.values()), [result])
    demo.load(lambda: [getattr(opts, k) for k in components], [], list(components.values()))
