"""The panel in txt2img and img2img."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import gradio as gr
from modules.ui_components import InputAccordion

from lib_pladis.settings import TABLE, panel_rows
from lib_pladis.webui import infotext, page
from lib_pladis.webui.control import control
from lib_pladis.webui.preset_panel import HIDDEN, JS, QUIET, PresetPanel

ADVANCED = "Advanced"
WEIGHTS = "Attention weights"
BLIND_TEST = "Blind test"
NOT_TAKEN = "The pasted settings were rejected; the panel is unchanged:"
TWICE = "PLADIS is installed twice. Remove one of the two folders; this one is not used:"

SLIDER = 200
"""Minimum width of a slider in pixels; otherwise it starts a new line."""


class Panel:
    """Builds the panel of one tab. `components` are the script's arguments, in table order."""

    def __init__(self, tab: str) -> None:
        self.tab = tab
        self._made: dict[str, Any] = {}
        self._notice = gr.HTML(page.message(self._id("notice")), elem_classes=["pladis-notice"])
        enabled = TABLE["enabled"]
        with InputAccordion(enabled.default, label=enabled.label, elem_id=self._id("enabled")) as accordion:
            self._made["enabled"] = accordion
            twin = getattr(sys.modules["lib_pladis"], "not_used", "")
            if twin:
                gr.HTML(page.message(self._id("twin"), TWICE, twin, error=True))
            rows = panel_rows()
            with self._row(page.MAIN):
                presets = PresetPanel(tab)
                self._add(name for name in rows.pop(page.MAIN) if name != "enabled")
            presets.say()
            with self._row(page.BESIDE):
                self._add(rows.pop(page.BESIDE))
                blind = gr.Button(BLIND_TEST, size="sm", elem_id=self._id("blind_test"))
                blind.click(None, None, None, **{JS: f"() => {{ pladis.blindTest({json.dumps(tab)}); return []; }}"})
                blind.do_not_save_to_config = True
            with gr.Accordion(ADVANCED, open=False, elem_id=self._id("advanced")):
                for row, names in rows.items():
                    with self._row(row):
                        self._add(names)
            with gr.Accordion(WEIGHTS, open=False, elem_id=self._id("weights")):
                gr.HTML(page.chart(self._id("curve")))
                gr.HTML(page.formula())
            # receives what the API sends after the last setting, so that it can be rejected
            rest = gr.Textbox("", label="PLADIS: no more arguments", visible=False, elem_id=self._id("rest"))
            rest.do_not_save_to_config = True
            presets.manage()
            presets.connect(self._made)
            self._tell()
        self.components = [*(self._made[name] for name in TABLE), rest]

    @property
    def infotext_fields(self) -> list[tuple[Any, Any]]:
        """(component, reader) pairs for paste and PNG Info; the last one shows what was rejected."""
        return [*((self._made[name], infotext.READERS[name]) for name in TABLE), (self._notice, self._pasted)]

    def _pasted(self, params: Mapping[str, Any]) -> str:
        why_not = infotext.problem(params)
        if why_not:
            print(f"PLADIS: {NOT_TAKEN} {why_not}")
        return page.message(self._id("notice"), NOT_TAKEN if why_not else "", why_not, error=bool(why_not))

    @property
    def paste_field_names(self) -> list[Any]:
        """The fields that "Send to img2img" carries."""
        return list(infotext.READERS.values())

    def _tell(self) -> None:
        """Send all settings, in table order, to the page's script at each change and when it asks; no request to the
        server."""
        settings = [self._made[name] for name in TABLE]
        told = f"(...values) => {{ pladis.told({json.dumps(self.tab)}, values); return []; }}"
        for component in settings:
            component.change(None, settings, None, **{JS: told}, **QUIET)
        asks = gr.Button("tell", elem_id=self._id("tell"), elem_classes=HIDDEN)
        asks.do_not_save_to_config = True
        asks.click(None, settings, None, **{JS: told}, **QUIET)

    def _id(self, name: str) -> str:
        return f"pladis_{self.tab}_{name}"

    def _row(self, name: str) -> Any:
        return gr.Row(elem_classes=["pladis-row", f"pladis-{name}"])

    def _add(self, names: Iterable[str]) -> None:
        for name in names:
            self._made[name] = self._component(name)

    def _component(self, name: str) -> Any:
        setting = TABLE[name]
        shape: dict[str, Any] = {"bool": {"elem_classes": ["pladis-check"]}, "float": {"min_width": SLIDER}}
        return control(setting, info=setting.help, elem_id=self._id(name), **shape.get(setting.kind, {}))
