"""gradio components that the webui adds."""

from __future__ import annotations

from typing import Any

import gradio as gr


class FormComponent:
    """Mixed in: the component joins its neighbours in one form."""

    def get_expected_parent(self) -> Any:
        return gr.components.Form


gr.Dropdown.get_expected_parent = FormComponent.get_expected_parent


class ToolButton(FormComponent, gr.Button):
    """A small button with one symbol."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        classes = kwargs.pop("elem_classes", [])
        super().__init__(*args, elem_classes=["tool", *classes], **kwargs)

    def get_block_name(self) -> str:
        return "button"


class FormRow(FormComponent, gr.Row):
    def get_block_name(self) -> str:
        return "row"


class FormColumn(FormComponent, gr.Column):
    def get_block_name(self) -> str:
        return "column"


class FormGroup(FormComponent, gr.Group):
    def get_block_name(self) -> str:
        return "group"


class FormHTML(FormComponent, gr.HTML):
    def get_block_name(self) -> str:
        return "html"


class InputAccordion(gr.Checkbox):
    """An accordion with a checkbox in its head; as an input its value is the checkbox.

    In fact a hidden checkbox, `<elem_id>-checkbox`, beside a plain accordion, `<elem_id>`; script.js ties them.
    """

    global_index = 0

    def __init__(self, value: bool, **kwargs: Any) -> None:
        self.accordion_id = kwargs.get("elem_id")
        if self.accordion_id is None:
            self.accordion_id = f"input-accordion-{InputAccordion.global_index}"
            InputAccordion.global_index += 1
        super().__init__(value, **{**kwargs, "elem_id": f"{self.accordion_id}-checkbox", "visible": False})
        js = f'function(checked){{ inputAccordionChecked("{self.accordion_id}", checked); }}'
        self.change(fn=None, _js=js, inputs=[self])
        self.accordion = gr.Accordion(
            **{"label": "Accordion", **kwargs, "elem_id": self.accordion_id},
            elem_classes=["input-accordion"],
            open=value,
        )

    def extra(self) -> gr.Column:
        """A place in the accordion's head."""
        return gr.Column(elem_id=f"{self.accordion_id}-extra", elem_classes="input-accordion-extra", min_width=0)

    def __enter__(self) -> InputAccordion:
        self.accordion.__enter__()
        return self

    def __exit__(self, *args: Any) -> None:
        self.accordion.__exit__(*args)

    def get_block_name(self) -> str:
        return "checkbox"
