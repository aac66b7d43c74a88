"""A generation tab: its controls, what "Generate" does with them, and which infotext keys they are."""

from __future__ import annotations

import html
import json
import time
from typing import Any

import gradio as gr

from modules import errors, infotext_utils, progress, scripts, sd_samplers, sd_schedulers, shared, ui_loadsave
from modules.processing import (
    Processed,
    StableDiffusionProcessingImg2Img,
    StableDiffusionProcessingTxt2Img,
    process_with_scripts,
)
from modules.ui_components import FormRow, InputAccordion

COMMON = (
    "prompt", "negative_prompt", "steps", "sampler_name", "scheduler", "width", "height", "n_iter", "batch_size",
    "cfg_scale", "seed", "denoising_strength",
)  # fmt: skip
FIELDS = {
    "txt2img": (*COMMON, "enable_hr", "hr_upscaler", "hr_scale", "hr_second_pass_steps"),
    "img2img": (*COMMON, "init_images"),
}
"""The parameters of a generation that a tab has controls for."""


def chosen(d: dict[str, Any]) -> tuple[str, str]:
    return sd_samplers.get_sampler_and_scheduler(d.get("Sampler"), d["Schedule type"])


KEYS: dict[str, Any] = {
    "prompt": "Prompt", "negative_prompt": "Negative prompt", "seed": "Seed", "hr_upscaler": "Hires upscaler",
    "sampler_name": lambda d: chosen(d)[0], "scheduler": lambda d: chosen(d)[1], "steps": "Steps",
    "width": "Size-1", "height": "Size-2", "cfg_scale": "CFG scale", "denoising_strength": "Denoising strength",
    "enable_hr": lambda d: "Hires upscale" in d, "hr_scale": "Hires upscale",
    "hr_second_pass_steps": lambda d: d.get("Hires steps", 0),
}  # fmt: skip
"""Each parameter's key in an infotext, or how to find it there."""

SLIDERS = {
    "steps": ("Sampling steps", "steps", 1, 150, 20, 1),
    "width": ("Width", "width", 64, 512, 128, 8),
    "height": ("Height", "height", 64, 512, 128, 8),
    "n_iter": ("Batch count", "batch_count", 1, 16, 1, 1),
    "batch_size": ("Batch size", "batch_size", 1, 8, 1, 1),
    "cfg_scale": ("CFG Scale", "cfg_scale", 1.0, 30.0, 7.0, 0.5),
    "denoising_strength": ("Denoising strength", "denoising_strength", 0.0, 1.0, 0.75, 0.01),
    "hr_scale": ("Upscale by", "hr_scale", 1.0, 4.0, 2.0, 0.05),
    "hr_second_pass_steps": ("Hires steps", "hires_steps", 0, 150, 0, 1),
}
"""Label, end of the elem_id, minimum, maximum, value, step."""


def plaintext_to_html(text: str, classname: str = "") -> str:
    lines = "<br>\n".join(html.escape(text).split("\n"))
    return f"<p class='{classname}'>{lines}</p>"


def generate(tab: str, runner: scripts.ScriptRunner) -> Any:
    """The function behind "Generate": the task, values in the order of FIELDS, then the scripts' arguments."""
    names = FIELDS[tab]

    def make(values: tuple[Any, ...]) -> Processed:
        args = dict(zip(names, values))
        if tab == "txt2img":
            return process_with_scripts(StableDiffusionProcessingTxt2Img(**args), runner, values[len(names) :])
        if args["init_images"] is None:
            raise ValueError("img2img needs a picture")
        args["init_images"] = [args["init_images"]]
        return process_with_scripts(StableDiffusionProcessingImg2Img(**args), runner, values[len(names) :])

    def run(id_task: str, *values: Any) -> tuple[Any, str, str, str]:
        start = time.perf_counter()
        with progress.task(id_task, job=id_task):
            try:
                processed = make(values)
            except Exception as e:  # noqa: BLE001
                errors.report("Error completing request", exc_info=True)
                return None, "", "", f"<p class='error'>{html.escape(f'{type(e).__name__}: {e}')}</p>"
        log = plaintext_to_html(processed.comments.strip(), "comments") if processed.comments else ""
        log += f"<p class='performance'>Time taken: {time.perf_counter() - start:.1f} sec.</p>"
        return processed.images, processed.js(), plaintext_to_html(processed.info), log

    return run


class Tab:
    """`controls` are the components by the names in FIELDS, `fields` those that an infotext fills."""

    def __init__(self, name: str, examples: tuple[str, ...] = ()) -> None:
        self.name = name
        self.controls: dict[str, Any] = {}
        self.runner = scripts.scripts_img2img if name == "img2img" else scripts.scripts_txt2img
        scripts.scripts_current = self.runner
        self.runner.initialize_scripts(name == "img2img")
        with gr.Row(elem_id=f"{name}_toprow", variant="compact"):
            with gr.Column(elem_id=f"{name}_prompt_container", scale=7):
                self._prompts(examples)
            with gr.Column(scale=1, min_width=240, elem_id=f"{name}_actions_column"):
                self._actions()
        with gr.Row(equal_height=False):
            with gr.Column(variant="compact", elem_id=f"{name}_settings"):
                self._parameters()
            with gr.Column(elem_id=f"{name}_results"):
                self._results()
        self._connect()
        scripts.scripts_current = None

    def _slider(self, *names: str) -> None:
        for name in names:
            label, elem_id, low, high, value, step = SLIDERS[name]
            self.controls[name] = gr.Slider(low, high, value, step=step, label=label, elem_id=f"{self.name}_{elem_id}")

    def _dropdown(self, name: str, choices: list[str], label: str, elem_id: str) -> None:
        self.controls[name] = gr.Dropdown(choices, value=choices[0], label=label, elem_id=f"{self.name}_{elem_id}")

    def _button(self, text: str, elem_id: str, **kwargs: Any) -> gr.Button:
        return gr.Button(text, elem_id=f"{self.name}_{elem_id}", **kwargs)

    def _prompts(self, examples: tuple[str, ...]) -> None:
        with FormRow():
            for name, elem_id, label, value, scale in (
                ("prompt", "prompt", "Prompt", examples[0] if examples else "", 2),
                ("negative_prompt", "neg_prompt", "Negative prompt", "", 1),
            ):
                self.controls[name] = gr.Textbox(
                    value, label=label, show_label=False, lines=2, placeholder=f"{label}\n(Ctrl+Enter to generate)",
                    elem_id=f"{self.name}_{elem_id}", elem_classes=["prompt"], scale=scale,
                )  # fmt: skip
        with gr.Row(elem_classes="examples", visible=bool(examples)):
            for text in examples:
                button = gr.Button(text, size="sm")
                button.click(lambda text=text: text, [], [self.controls["prompt"]], show_progress=False)

    def _actions(self) -> None:
        with gr.Row(elem_id=f"{self.name}_generate_box", elem_classes="generate-box"):
            self.interrupt = self._button("Interrupt", "interrupt", elem_classes="generate-box-interrupt")
            self.submit = self._button("Generate", "generate", variant="primary")
        self.paste = gr.Button("Paste", size="sm", elem_id="paste")

    def _parameters(self) -> None:
        if self.name == "img2img":
            self.controls["init_images"] = gr.Image(type="pil", show_label=False, elem_id="img2img_image", height=200)
        with gr.Group(elem_id=f"{self.name}_script_container"):
            self.script_inputs = self.runner.setup_ui()
        with FormRow(elem_id=f"sampler_selection_{self.name}"):
            self._dropdown("sampler_name", sd_samplers.visible_sampler_names(), "Sampling method", "sampling")
            self._dropdown("scheduler", sd_schedulers.schedulers, "Schedule type", "scheduler")
            self._slider("steps")
        with FormRow():
            self._slider("cfg_scale")
            self.controls["seed"] = gr.Number(-1, label="Seed", elem_id=f"{self.name}_seed", precision=0)
        if self.name == "img2img":
            self._slider("denoising_strength")
        else:
            hires = self.controls["enable_hr"] = InputAccordion(False, label="Hires. fix", elem_id="txt2img_hr")
            with hires, FormRow():
                self._dropdown("hr_upscaler", list(shared.latent_upscale_modes), "Upscaler", "hr_upscaler")
                self._slider("hr_second_pass_steps", "denoising_strength", "hr_scale")
        with FormRow():
            self._slider("width", "height", "n_iter", "batch_size")
        ui_loadsave.apply(self.name, self.controls.values())

    def _results(self) -> None:
        with gr.Group(elem_id=f"{self.name}_gallery_container"):
            self.gallery = gr.Gallery(
                show_label=False, elem_id=f"{self.name}_gallery", columns=4, preview=True, height=330
            )
        self.log = gr.HTML(elem_id=f"html_log_{self.name}", elem_classes="html-log")
        self.send = self._button("Send to img2img", "send_to_img2img", size="sm")
        self.infotext = gr.HTML(elem_id=f"html_info_{self.name}", elem_classes="infotext")
        self.info = gr.Textbox(visible=False, elem_id=f"generation_info_{self.name}")

    def _connect(self) -> None:
        c, quiet = self.controls, {"show_progress": False}
        outputs = [self.gallery, self.info, self.infotext, self.log]
        inputs = [gr.Label(visible=False), *(c[x] for x in FIELDS[self.name]), *self.script_inputs]
        for trigger in (self.submit.click, c["prompt"].submit):
            trigger(generate(self.name, self.runner), inputs, outputs, _js=f"submit_{self.name}", **quiet)
        self.interrupt.click(lambda: shared.state.interrupt(), [], [], **quiet)

        def show_infotext(info: str, event: gr.SelectData) -> str:
            return plaintext_to_html(json.loads(info)["infotexts"][event.index]) if info else ""

        self.gallery.select(show_infotext, [self.info], [self.infotext], **quiet)
        self.fields = [(c[name], key) for name, key in KEYS.items() if name in c] + self.runner.infotext_fields
        infotext_utils.connect_paste(self.paste, self.fields, c["prompt"])
