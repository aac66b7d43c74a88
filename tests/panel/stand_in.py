"""What of a host the panel needs: `modules.ui_components.InputAccordion`."""

from __future__ import annotations

import types
from typing import Any

import gradio as gr


class InputAccordion:
    """A stand-in for the hosts': a checkbox that is also an accordion. (A subclass would make gradio write a file.)"""

    def __init__(self, value: Any, *, label: Any, elem_id: Any) -> None:
        self.checkbox = gr.Checkbox(value=value, label=label, visible=False, elem_id=elem_id + "-checkbox")
        self.accordion = gr.Accordion(label=label, elem_id=elem_id)

    def __enter__(self) -> Any:
        self.accordion.__enter__()
        return self.checkbox

    def __exit__(self, *error: Any) -> None:
        self.accordion.__exit__(*error)


def modules() -> dict[str, types.ModuleType]:
    """The host's modules, by the names that they are imported by."""
    components: Any = types.ModuleType("modules.ui_components")
    components.InputAccordion = InputAccordion
    return {"modules": types.ModuleType("modules"), "modules.ui_components": components}
