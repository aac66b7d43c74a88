"""What the webui changes in gradio: `tooltip=`, CSS classes by kind, callbacks around each component."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from modules import script_callbacks, scripts


def _wrap(original: Callable[..., None]) -> Callable[..., None]:
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        self.webui_tooltip = kwargs.pop("tooltip", None)
        runner = scripts.scripts_current
        if runner is not None:
            runner.before_component(self, **kwargs)
        script_callbacks.before_component_callback(self, **kwargs)
        original(self, *args, **kwargs)
        self.elem_classes = [f"gradio-{self.get_block_name()}", *(self.elem_classes or [])]
        script_callbacks.after_component_callback(self, **kwargs)
        if runner is not None:
            runner.after_component(self, **kwargs)

    return init


def install() -> None:
    for cls in (gr.components.IOComponent, gr.blocks.BlockContext):
        cls.__init__ = _wrap(cls.__init__)
    get_config = gr.blocks.Block.get_config

    def with_tooltip(self: Any) -> dict[str, Any]:
        tooltip = getattr(self, "webui_tooltip", None)
        return {**get_config(self), **({"webui_tooltip": tooltip} if tooltip else {})}

    gr.blocks.Block.get_config = with_tooltip
