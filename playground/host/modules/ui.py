"""The page: txt2img, img2img, PNG Info and Settings, with the webui's labels and elem_ids."""

from __future__ import annotations

import html
import os
import tempfile
from itertools import chain
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from modules import images, infotext_utils, script_callbacks, ui_settings
from modules.ui_tab import Tab, plaintext_to_html

THEME = {"font": ["system-ui", "Segoe UI", "Roboto", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}


def create_pnginfo(tabs: list[Tab]) -> None:
    with gr.Row(equal_height=False):
        with gr.Column(variant="panel"):
            image = gr.Image(elem_id="pnginfo_image", label="Source", type="pil")
        with gr.Column(variant="panel"):
            shown = gr.HTML(elem_id="pnginfo_html")
            text = gr.Textbox(visible=False, elem_id="pnginfo_generation_info")
            with gr.Row():
                buttons = [gr.Button(f"Send to {tab.name}", elem_id=f"{tab.name}_tab") for tab in tabs]

    def read(picture: Any) -> tuple[str, str]:
        info, items = images.read_info_from_image(picture) if picture is not None else ("", {})
        parts = {"parameters": info or "", **items}
        return "".join(f"<b>{html.escape(k)}</b>{plaintext_to_html(v)}" for k, v in parts.items() if v), info or ""

    image.change(read, [image], [shown, text])
    for tab, button in zip(tabs, buttons):
        infotext_utils.connect_paste(button, tab.fields, text)
        if "init_images" in tab.controls:
            button.click(lambda x: x, [image], [tab.controls["init_images"]], show_progress=False)
        button.click(None, [], [], _js=f"switch_to_{tab.name}")


def create_ui(welcome: str = "", examples: tuple[str, ...] = ()) -> gr.Blocks:
    """The whole page; `welcome` stands above it, `examples` are prompts to click."""
    script_callbacks.ui_settings_callback()
    theme = gr.themes.Default(**THEME)
    with gr.Blocks(theme=theme, analytics_enabled=False, title="PLADIS playground") as demo:
        if welcome:
            gr.HTML(welcome, elem_id="welcome")
        with gr.Tabs(elem_id="tabs"):
            with gr.TabItem("txt2img", id="txt2img", elem_id="tab_txt2img"):
                txt2img = Tab("txt2img", examples)
            with gr.TabItem("img2img", id="img2img", elem_id="tab_img2img"):
                img2img = Tab("img2img")
            with gr.TabItem("PNG Info", id="pnginfo", elem_id="tab_pnginfo"):
                create_pnginfo([txt2img, img2img])
            for blocks, title, elem_id in chain(*script_callbacks.ui_tabs_callback()):
                with gr.TabItem(title, id=elem_id, elem_id=f"tab_{elem_id}"):
                    blocks.render()
            with gr.TabItem("Settings", id="settings", elem_id="tab_settings"):
                ui_settings.create_ui(demo)
        targets = [img2img.controls[x] for x in ("init_images", "width", "height")]
        for tab in (txt2img, img2img):
            js = "extract_image_from_gallery"
            tab.send.click(send_picture, [tab.gallery], targets, _js=js, show_progress=False)
            tab.send.click(None, [], [], _js="switch_to_img2img")
        infotext_utils.connect_send(txt2img.send, txt2img.fields, img2img.fields, txt2img.runner.paste_field_names)
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
    return [picture, *picture.size]
