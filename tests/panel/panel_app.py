"""The panel of both tabs in gradio pages, with a button for each paste; `python panel_app.py DATA` is what serves them.

DATA is its data folder. Each line on its input, until that ends, starts a server, which has imported already what it
needs: `{"port": 1234, "language": "ko_KR", "begins": {"scale": 1}}`. The settings in `begins` begin with these values,
as a web UI's ui-config.json has it.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
from pathlib import Path
from typing import Any

import gradio as gr
import stand_in

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.modules.update(stand_in.modules(sys.argv[1], follows=True))

from lib_pladis.settings import TABLE  # noqa: E402
from lib_pladis.webui.panel import Panel  # noqa: E402

PASTES = {
    "plain": {"PLADIS scale": "1.25", "PLADIS alpha": "1.75"},
    "scale": {"PLADIS scale": "1.25", "PLADIS alpha": "1.5"},
    "start": {"PLADIS scale": "1.25", "PLADIS alpha": "1.75", "PLADIS start": "0.25"},
    "layers": {"PLADIS scale": "1.25", "PLADIS alpha": "1.75", "PLADIS layers": "m0"},
    "target": {"PLADIS scale": "1.25", "PLADIS alpha": "1.75", "PLADIS target": "negative"},
    "banana": {"PLADIS scale": "banana", "PLADIS alpha": "1.75"},
    "far": {"PLADIS scale": "1", "PLADIS alpha": "7"},
    "without": {},
    "hires": {"PLADIS scale": "1.25", "PLADIS alpha": "1.75", "PLADIS hires scale": "2", "PLADIS hires alpha": "1.5"},
}


def button(tab: str, name: str, panel: Panel) -> None:
    """A button that pastes as the hosts do: what a reader says, and None leaves the field as it is."""

    def paste() -> Any:
        values = [read(PASTES[name]) for _, read in panel.infotext_fields]
        return [gr.update() if value is None else gr.update(value=value) for value in values]

    outputs = [component for component, _ in panel.infotext_fields]
    gr.Button(name, elem_id=f"{tab}_paste_{name}").click(paste, inputs=[], outputs=outputs)


def build(begins: dict[str, Any]) -> gr.Blocks:
    with gr.Blocks(analytics_enabled=False) as demo:
        checkpoint = gr.Textbox(
            stand_in.CHECKPOINT,
            label="Checkpoint",
            max_lines=1,
            elem_id="setting_sd_model_checkpoint",
            interactive=True,
        )
        checkpoint.change(stand_in.choose_checkpoint, [checkpoint], [gr.HTML("", elem_id="loaded")])
        for tab in ("txt2img", "img2img"):
            gr.Textbox(label="Prompt", lines=2, elem_id=f"{tab}_prompt", interactive=True)
            with gr.Group(elem_id=f"{tab}_script_container"):
                scripts = ["None", "Other", "Blind test"]
                gr.Dropdown(scripts, value="None", label="Script", elem_id="script_list", interactive=True)
            gr.Slider(1, 30, 7, step=0.5, label="CFG Scale", elem_id=f"{tab}_cfg_scale", interactive=True)
            panel = Panel(tab)
            for component, name in zip(panel.components, TABLE):
                component.value = begins.get(name, component.value)
            for name in PASTES:
                button(tab, name, panel)
    return demo


def serve(port: int, language: str, begins: dict[str, Any]) -> None:
    stand_in.choose_language(language)
    build(begins).launch(server_name="127.0.0.1", server_port=port, quiet=True)


if __name__ == "__main__":
    multiprocessing.set_start_method("fork" if sys.platform == "linux" else "spawn")
    for line in sys.stdin:
        multiprocessing.Process(target=serve, kwargs=json.loads(line), daemon=True).start()
