"""A tiny gradio app with a prompt, the sliders and the chart's container, as the host and the PLADIS panel name them.

Run as `python curve_app.py PORT`; the tests of the curve start it with whichever gradio is installed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import gradio as gr

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lib_pladis.webui import page

SLIDERS = {
    "scale": ("Scale (λ)", 0.0, 5.0, 0.05, 2.0),
    "alpha": ("Sparsity (α)", 1.0, 2.0, 0.05, 1.5),
    "temperature": ("Sparse temperature", 0.1, 2.0, 0.05, 1.0),
    "rescale": ("Rescale (φ)", 0.0, 1.0, 0.05, 0.0),
}
PASTED = {"scale": 3.25, "alpha": 1.75, "temperature": 0.5, "rescale": 0.0}


def build() -> gr.Blocks:
    with gr.Blocks(analytics_enabled=False) as demo, gr.Tabs():
        for tab in ("txt2img", "img2img"):
            with gr.Tab(tab, elem_id=f"tab_{tab}"):
                gr.Textbox(label="Prompt", lines=2, elem_id=f"{tab}_prompt", interactive=True)
                sliders = [
                    gr.Slider(
                        label=label,
                        minimum=low,
                        maximum=high,
                        step=step,
                        value=value,
                        interactive=True,  # else gradio disables it, as nothing reads it
                        elem_id=f"pladis_{tab}_{name}",
                    )
                    for name, (label, low, high, step, value) in SLIDERS.items()
                ]
                gr.HTML(page.chart(f"pladis_{tab}_curve"))
                paste = gr.Button("paste", elem_id=f"{tab}_paste")
                paste.click(lambda: list(PASTED.values()), inputs=[], outputs=sliders)
    return demo


if __name__ == "__main__":
    build().launch(server_name="127.0.0.1", server_port=int(sys.argv[1]), quiet=True)
