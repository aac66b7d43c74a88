"""What of a host the panel needs: its InputAccordion, its data folder, and what it says of the checkpoint in use."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from types import SimpleNamespace
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


LOCALIZATIONS = Path(__file__).resolve().parents[2] / "localizations"
CHECKPOINT = "xl/random-sdxl.safetensors [0123456789]"


def choose_checkpoint(title: str) -> str:
    """As a host that loads it at once, and shows so on the page."""
    host: Any = sys.modules["modules"]
    host.shared.opts.data["sd_model_checkpoint"] = title
    info = SimpleNamespace(title=title, name=title)
    host.sd_models.model_data.sd_model = SimpleNamespace(is_sdxl=True, sd_checkpoint_info=info)
    return title


def choose_language(language: str) -> None:
    host: Any = sys.modules["modules"]
    host.shared.opts.data["localization"] = language or "None"


def modules(data: str, follows: bool = False) -> dict[str, Any]:
    """The host's modules, by the names that they are imported by; `data` is its data folder."""
    names = ("ui_components", "paths_internal", "shared", "sd_models", "localization")
    made: dict[str, Any] = {
        name: types.ModuleType(name) for name in ("modules", *(f"modules.{each}" for each in names))
    }
    for name, module in made.items():
        if "." in name:
            setattr(made["modules"], name.split(".")[1], module)
    made["modules.ui_components"].InputAccordion = InputAccordion
    made["modules.paths_internal"].data_path = data
    made["modules.shared"].opts = SimpleNamespace(
        data={
            "sd_model_checkpoint": CHECKPOINT,
            "localization": "None",
            "pladis_follow_checkpoint": follows,
        }
    )
    made["modules.localization"].localizations = {path.stem: [str(path)] for path in LOCALIZATIONS.glob("*.json")}
    model = SimpleNamespace(is_sdxl=True, sd_checkpoint_info=SimpleNamespace(title=CHECKPOINT, name="xl/random-sdxl"))
    made["modules.sd_models"].model_data = SimpleNamespace(sd_model=model)
    return made
