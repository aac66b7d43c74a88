"""The page: txt2img, img2img, PNG Info and Settings, with the webui's labels and elem_ids."""

from __future__ import annotations

import html
import json
import os
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from modules import images, infotext_utils, script_callbacks, scripts, sd_samplers, sd_schedulers, shared, ui_settings
from modules.call_queue import wrap_gradio_gpu_call
from modules.infotext_utils import PasteField
from modules.processing import (
    Processed,
    StableDiffusionProcessingImg2Img,
    StableDiffusionProcessingTxt2Img,
    process_images,
)
from modules.ui_components import FormRow, InputAccordion

FONTS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]


def plaintext_to_html(text: str, classname: str = "") -> str:
    lines = "<br>\n".join(html.escape(text).split("\n"))
    return f"<p class='{classname}'>{lines}</p>"


def generate(is_img2img: bool) -> Any:
    """The function behind "Generate": values in the order of the tab's inputs."""
    runner = scripts.scripts_img2img if is_img2img else scripts.scripts_txt2img

    def run(id_task: str, *values: Any) -> tuple[Any, str, str, str]:
        names = COMMON + (IMG2IMG if is_img2img else TXT2IMG)
        args = dict(zip(names, values))
        args["seed"] = int(args["seed"] if args["seed"] not in (None, "") else -1)
        if is_img2img:
            if args["init_images"] is None:
                raise ValueError("img2img needs a picture")
            args["init_images"] = [args["init_images"]]
            p: Any = StableDiffusionProcessingImg2Img(**args)
        else:
            p = StableDiffusionProcessingTxt2Img(**args)
        with closing(p):
            p.scripts = runner
            p.script_args = values[len(names) :]
            processed: Processed | None = runner.run(p, *p.script_args)
            if processed is None:
                processed = process_images(p)
        speed = f"{processed.steps_per_second:.2f} it/s" if processed.steps_per_second else ""
        log = plaintext_to_html(processed.comments, "comments") + plaintext_to_html(speed, "speed")
        return processed.images, processed.js(), plaintext_to_html(processed.info), log

    return wrap_gradio_gpu_call(run, extra_outputs=[None, "", ""])


COMMON = (
    "prompt", "negative_prompt", "steps", "sampler_name", "scheduler", "width", "height", "n_iter", "batch_size",
    "cfg_scale", "seed", "denoising_strength",
)  # fmt: skip
TXT2IMG = ("enable_hr", "hr_upscaler", "hr_scale", "hr_second_pass_steps")
IMG2IMG = ("init_images", "resize_mode")


def create_tab(is_img2img: bool) -> dict[str, Any]:
    """One generation tab. Returns its components by name."""
    tab = "img2img" if is_img2img else "txt2img"
    runner = scripts.scripts_img2img if is_img2img else scripts.scripts_txt2img
    scripts.scripts_current = runner
    runner.initialize_scripts(is_img2img)
    runner.prepare_ui()
    c: dict[str, Any] = {}

    def slider(name: str, label: str, low: float, high: float, step: float, value: float, elem_id: str = "") -> None:
        c[name] = gr.Slider(
            minimum=low, maximum=high, step=step, value=value, label=label, elem_id=f"{tab}_{elem_id or name}"
        )

    with gr.Row(elem_id=f"{tab}_toprow", variant="compact"):
        with gr.Column(elem_id=f"{tab}_prompt_container", scale=6):
            for name, label in (("prompt", "Prompt"), ("negative_prompt", "Negative prompt")):
                c[name] = gr.Textbox(
                    label=label, show_label=False, lines=2, placeholder=f"{label}\n(Ctrl+Enter to generate)",
                    elem_id=f"{tab}_{name.replace('negative', 'neg')}", elem_classes=["prompt"],
                )  # fmt: skip
        with gr.Column(scale=1, elem_id=f"{tab}_actions_column"):
            with gr.Row(elem_id=f"{tab}_generate_box", elem_classes="generate-box"):
                interrupt = gr.Button("Interrupt", elem_id=f"{tab}_interrupt", elem_classes="generate-box-interrupt")
                skip = gr.Button("Skip", elem_id=f"{tab}_skip", elem_classes="generate-box-skip")
                submit = gr.Button("Generate", elem_id=f"{tab}_generate", variant="primary")
            with gr.Row(elem_id=f"{tab}_tools"):
                paste = gr.Button(
                    "Paste", size="sm", elem_id="paste",
                    tooltip="Read the settings from an infotext in the prompt box, or else from the last picture",
                )  # fmt: skip
    id_task = gr.Label(visible=False)
    with gr.Row(equal_height=False):
        with gr.Column(variant="compact", elem_id=f"{tab}_settings"):
            if is_img2img:
                c["init_images"] = gr.Image(
                    label="Image for img2img", show_label=False, source="upload", interactive=True, type="pil",
                    elem_id="img2img_image", height=300,
                )  # fmt: skip
                c["resize_mode"] = gr.Radio(
                    ["Just resize", "Crop and resize", "Resize and fill"], label="Resize mode", elem_id="resize_mode",
                    type="index", value="Just resize",
                )  # fmt: skip
            with FormRow(elem_id=f"sampler_selection_{tab}"):
                names = sd_samplers.visible_sampler_names()
                c["sampler_name"] = gr.Dropdown(
                    names, label="Sampling method", value=names[0], elem_id=f"{tab}_sampling"
                )
                c["scheduler"] = gr.Dropdown(
                    sd_schedulers.schedulers, label="Schedule type", value="Automatic", elem_id=f"{tab}_scheduler"
                )
                slider("steps", "Sampling steps", 1, 150, 1, 20)
            if not is_img2img:
                hires = InputAccordion(False, label="Hires. fix", elem_id="txt2img_hr")
                c["enable_hr"] = hires
                with hires, FormRow():
                    modes = list(shared.latent_upscale_modes)
                    c["hr_upscaler"] = gr.Dropdown(
                        modes,
                        label="Upscaler",
                        value=shared.latent_upscale_default_mode,
                        elem_id="txt2img_hr_upscaler",
                    )
                    slider("hr_second_pass_steps", "Hires steps", 0, 150, 1, 0, "hires_steps")
                    slider("denoising_strength", "Denoising strength", 0.0, 1.0, 0.01, 0.7)
                    slider("hr_scale", "Upscale by", 1.0, 4.0, 0.05, 2.0)
            with FormRow():
                slider("width", "Width", 64, 512, 8, 128)
                slider("height", "Height", 64, 512, 8, 128)
                slider("n_iter", "Batch count", 1, 16, 1, 1, "batch_count")
                slider("batch_size", "Batch size", 1, 8, 1, 1)
            with FormRow():
                slider("cfg_scale", "CFG Scale", 1.0, 30.0, 0.5, 7.0)
                if is_img2img:
                    slider("denoising_strength", "Denoising strength", 0.0, 1.0, 0.01, 0.75)
            with gr.Row(elem_id=f"{tab}_seed_row", elem_classes="seed-row"):
                c["seed"] = gr.Number(label="Seed", value=-1, elem_id=f"{tab}_seed", precision=0)
                random_seed = gr.Button("Random", size="sm", elem_id=f"{tab}_random_seed", tooltip="Set seed to -1")
                reuse_seed = gr.Button("Reuse", size="sm", elem_id=f"{tab}_reuse_seed", tooltip="The last seed")
            with gr.Group(elem_id=f"{tab}_script_container"):
                custom_inputs = runner.setup_ui()
        with gr.Column(elem_id=f"{tab}_results"):
            with gr.Group(elem_id=f"{tab}_gallery_container"):
                gallery = gr.Gallery(
                    label="Output", show_label=False, elem_id=f"{tab}_gallery", columns=4, preview=True, height=420
                )
            with gr.Row(elem_id=f"image_buttons_{tab}", elem_classes="image-buttons"):
                send = gr.Button("Send to img2img", size="sm", elem_id=f"{tab}_send_to_img2img")
            infotext = gr.HTML(elem_id=f"html_info_{tab}", elem_classes="infotext")
            html_log = gr.HTML(elem_id=f"html_log_{tab}", elem_classes="html-log")
            generation_info = gr.Textbox(visible=False, elem_id=f"generation_info_{tab}")

    order = COMMON + (IMG2IMG if is_img2img else TXT2IMG)
    call = {
        "fn": generate(is_img2img), "_js": f"submit_{tab}" if is_img2img else "submit",
        "inputs": [id_task, *(c[name] for name in order), *custom_inputs],
        "outputs": [gallery, generation_info, infotext, html_log], "show_progress": False,
    }  # fmt: skip
    submit.click(**call)
    c["prompt"].submit(**call)
    interrupt.click(lambda: shared.state.interrupt(), [], [], show_progress=False)
    skip.click(lambda: shared.state.skip(), [], [], show_progress=False)
    random_seed.click(lambda: -1, [], [c["seed"]], show_progress=False)
    reuse_seed.click(
        lambda info: json.loads(info)["seed"] if info else gr.update(),
        [generation_info],
        [c["seed"]],
        show_progress=False,
    )

    def chosen(d: dict[str, Any]) -> tuple[str, str]:
        return sd_samplers.get_sampler_and_scheduler(d.get("Sampler"), d["Schedule type"])

    def show_infotext(info: str, event: gr.SelectData) -> str:
        return plaintext_to_html(json.loads(info)["infotexts"][event.index]) if info else ""

    gallery.select(show_infotext, [generation_info], [infotext], show_progress=False)

    fields = [
        PasteField(c["prompt"], "Prompt", api="prompt"),
        PasteField(c["negative_prompt"], "Negative prompt", api="negative_prompt"),
        PasteField(c["steps"], "Steps", api="steps"),
        PasteField(c["sampler_name"], lambda d: chosen(d)[0]),
        PasteField(c["scheduler"], lambda d: chosen(d)[1]),
        PasteField(c["cfg_scale"], "CFG scale", api="cfg_scale"),
        PasteField(c["width"], "Size-1", api="width"),
        PasteField(c["height"], "Size-2", api="height"),
        PasteField(c["batch_size"], "Batch size", api="batch_size"),
        PasteField(c["seed"], "Seed", api="seed"),
        PasteField(c["denoising_strength"], "Denoising strength", api="denoising_strength"),
    ]
    if not is_img2img:
        fields += [
            PasteField(c["enable_hr"], lambda d: "Hires upscale" in d or int(d["Hires resize-1"]) > 0),
            PasteField(c["hr_scale"], "Hires upscale", api="hr_scale"),
            PasteField(c["hr_upscaler"], "Hires upscaler", api="hr_upscaler"),
            PasteField(c["hr_second_pass_steps"], lambda d: int(d.get("Hires steps", 0))),
        ]
    infotext_utils.add_paste_fields(tab, c.get("init_images"), [*fields, *runner.infotext_fields])
    infotext_utils.connect_paste(paste, infotext_utils.paste_fields[tab]["fields"], c["prompt"], tab)
    scripts.scripts_current = None
    return {**c, "gallery": gallery, "send": send}


def create_pnginfo() -> None:
    with gr.Row(equal_height=False):
        with gr.Column(variant="panel"):
            image = gr.Image(elem_id="pnginfo_image", label="Source", source="upload", interactive=True, type="pil")
        with gr.Column(variant="panel"):
            shown = gr.HTML(elem_id="pnginfo_html")
            text = gr.Textbox(visible=False, elem_id="pnginfo_generation_info")
            with gr.Row():
                buttons = {x: gr.Button(f"Send to {x}", elem_id=f"{x}_tab") for x in ("txt2img", "img2img")}

    def read(picture: Any) -> tuple[str, str]:
        info, items = images.read_info_from_image(picture) if picture is not None else ("", {})
        parts = {"parameters": info or "", **items}
        return "".join(f"<b>{html.escape(k)}</b>{plaintext_to_html(str(v))}" for k, v in parts.items() if v), info or ""

    image.change(read, [image], [shown, text])
    for tab, button in buttons.items():
        target = infotext_utils.paste_fields[tab]
        infotext_utils.connect_paste(button, target["fields"], text, tab)
        if target["init_img"] is not None:
            button.click(lambda x: x, [image], [target["init_img"]], show_progress=False)
        button.click(None, [], [], _js=f"switch_to_{tab}")


def create_ui() -> gr.Blocks:
    script_callbacks.ui_settings_callback()
    theme = gr.themes.Default(font=FONTS, font_mono=["ui-monospace", "Consolas", "monospace"])
    with gr.Blocks(theme=theme, analytics_enabled=False, title="PLADIS playground") as demo:
        with gr.Tabs(elem_id="tabs"):
            with gr.TabItem("txt2img", id="txt2img", elem_id="tab_txt2img"):
                txt2img = create_tab(False)
            with gr.TabItem("img2img", id="img2img", elem_id="tab_img2img"):
                img2img = create_tab(True)
            with gr.TabItem("PNG Info", id="pnginfo", elem_id="tab_pnginfo"):
                create_pnginfo()
            for blocks, title, elem_id in script_callbacks.ui_tabs_callback():
                with gr.TabItem(title, id=elem_id, elem_id=f"tab_{elem_id}"):
                    blocks.render()
            with gr.TabItem("Settings", id="settings", elem_id="tab_settings"):
                ui_settings.create_ui(demo)
        for tab, names in ((txt2img, scripts.scripts_txt2img.paste_field_names), (img2img, [])):
            source = "txt2img" if tab is txt2img else "img2img"
            tab["send"].click(
                send_picture, [tab["gallery"]], [img2img["init_images"], img2img["width"], img2img["height"]],
                _js="extract_image_from_gallery", show_progress=False,
            )  # fmt: skip
            if tab is txt2img:
                infotext_utils.connect_send(tab["send"], source, "img2img", names)
            tab["send"].click(None, [], [], _js="switch_to_img2img")
    return demo


def send_picture(gallery: Any) -> list[Any]:
    """The chosen picture of a gallery, and its size."""
    if not gallery:
        return [gr.update()] * 3
    item = gallery[0][0] if isinstance(gallery[0], list | tuple) else gallery[0]
    path = Path(item["name"] if isinstance(item, dict) else item).resolve()
    if not path.is_relative_to(Path(os.environ.get("GRADIO_TEMP_DIR") or tempfile.gettempdir()).resolve()):
        raise ValueError("not a picture of the gallery")
    with Image.open(path) as picture:
        picture.load()
    return [picture, picture.width, picture.height] if shared.opts.send_size else [picture, gr.update(), gr.update()]
