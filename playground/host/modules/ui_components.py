"""gradio components that the webui adds."""

from __future__ import annotations

from typing import Any

import gradio as gr


class FormComponent:
    """Mixed in: the component joins its neighbours in one form, and looks like what it derives from."""

    def get_expected_parent(self) -> Any:
        return gr.components.Form

    def get_block_name(self) -> str:
        return type(self).__mro__[2].__name__.lower()


class FormRow(FormComponent, gr.Row): ...


class ToolButton(FormComponent, gr.Button): ...


gr.Dropdown.get_expected_parent = FormComponent.get_expected_parent


class InputAccordion(gr.Checkbox):
    """An accordion with a checkbox in its head; as an input its value is the checkbox.

    In fact a hidden checkbox, `<elem_id>-checkbox`, beside a plain accordion, `<elem_id>`; script.js ties them.
    """

    def __init__(self, value: bool, *, elem_id: str, label: str = "Accordion", **kwargs: Any) -> None:
        super().__init__(value, label=label, elem_id=f"{elem_id}-checkbox", visible=False, **kwargs)
        self.change(None, _js=f'(checked) => inputAccordionChecked("{elem_id}", checked)', inputs=[self])
        self.accordion = gr.Accordion(label, open=value, elem_id=elem_id, elem_classes=["input-accordion"])

    def __enter__(self) -> InputAccordion:
        self.accordion.__enter__()
        return self

    def __exit__(self, *args: Any) -> None:
        self.accordion.__exit__(*args)

    def get_block_name(self) -> str:
        return "checkbox"
