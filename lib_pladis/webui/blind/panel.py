"""The script's controls; what they mean is in `draw.Request`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from lib_pladis.json_file import FileError
from lib_pladis.presets import BUILT_IN
from lib_pladis.webui import languages, page
from lib_pladis.webui.blind import draw, prompts
from lib_pladis.webui.blind.blind_test import OFF
from lib_pladis.webui.own_presets import STORE
from lib_pladis.webui.preset_panel import HIDDEN, QUIET

LABELS = {
    "candidates": "Candidates of the test",
    "source": "Prompts of the test",
    "lines": "Prompts, one per line",
    "pictures": "Pictures per prompt",
    "test": "Continue test",
}
HELP = {
    "candidates": "Two to four. Each draws every prompt from the same seeds. Then you judge two pictures at a time "
    "without knowing which is which.",
    "source": "The 24 prompts are about counts, colours, places and actions.",
    "pictures": "More pictures make the result more certain.",
    "test": "Leave it empty to start a new test. “More pictures”, below the votes, fills it in.",
}


def controls(elem_id: Callable[[str], str]) -> list[Any]:
    """The script's arguments, made here; `elem_id` is the host's."""
    usual = draw.Request()
    made = {
        "candidates": gr.CheckboxGroup(_candidates(), value=list(usual.candidates), **_common("candidates", elem_id)),
        "source": gr.Radio(list(prompts.SOURCES), value=usual.source, **_common("source", elem_id)),
        "lines": gr.Textbox(usual.lines, lines=3, **_common("lines", elem_id)),
        "pictures": gr.Slider(1, draw.MOST_PICTURES, usual.pictures, step=1, **_common("pictures", elem_id)),
        "test": gr.Textbox(usual.test, max_lines=1, **_common("test", elem_id)),
    }
    # clicked by the page when the script is selected: presets may have been saved since the web UI started
    refresh = gr.Button("refresh", elem_id=elem_id("refresh"), elem_classes=HIDDEN)
    refresh.click(lambda: gr.update(choices=_candidates()), None, [made["candidates"]], **QUIET)
    for component in (made["test"], refresh):
        component.do_not_save_to_config = True
    gr.HTML(f'<div class="pladis-blind-plan" id="{elem_id("plan")}"></div>')
    return list(made.values())


def _candidates() -> list[tuple[str, str]]:
    """The names that can be chosen, each with its text in the page's language: off, the panel, all presets."""
    translations = languages.translations()
    try:
        own = list(STORE.all())
    except FileError as error:
        own = []
        print(f"PLADIS: {error}")
    return [(translations.get(page.PRESET + name, name), name) for name in (OFF, draw.PANEL, *BUILT_IN, *own)]


def _common(name: str, elem_id: Callable[[str], str]) -> dict[str, Any]:
    return {"label": LABELS[name], "info": HELP.get(name), "elem_id": elem_id(name)}
