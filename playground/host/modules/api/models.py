"""Requests and responses of /sdapi/v1. The two big requests are made from the processing classes."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any

from pydantic import BaseModel, create_model

from modules.processing import StableDiffusionProcessingImg2Img, StableDiffusionProcessingTxt2Img

NOT_ALLOWED = {"sd_model", "outpath_samples", "outpath_grids", "extra_generation_params"}
ADDED: dict[str, Any] = {
    "sampler_index": (str | None, "Euler"), "script_name": (str | None, None), "script_args": (list, []),
    "send_images": (bool, True), "save_images": (bool, False), "alwayson_scripts": (dict, {}),
    "force_task_id": (str | None, None), "infotext": (str | None, None),
}  # fmt: skip


def request_model(cls: type, added: dict[str, Any]) -> type[BaseModel]:
    hints = typing.get_type_hints(cls)
    fields = {
        x.name: (hints[x.name] | None, x.default)
        for x in dataclasses.fields(cls)
        if x.init and x.name not in NOT_ALLOWED
    }
    return create_model(cls.__name__, **{**fields, **ADDED, **added})


StableDiffusionTxt2ImgProcessingAPI = request_model(StableDiffusionProcessingTxt2Img, {})
StableDiffusionImg2ImgProcessingAPI = request_model(
    StableDiffusionProcessingImg2Img,
    {"init_images": (list | None, None), "mask": (str | None, None), "include_init_images": (bool, False)},
)


class GenerationResponse(BaseModel):
    images: list[str] = None
    parameters: dict
    info: str


class PNGInfoRequest(BaseModel):
    image: str


class PNGInfoResponse(BaseModel):
    info: str
    items: dict
    parameters: dict


class ProgressResponse(BaseModel):
    progress: float
    eta_relative: float
    state: dict
    current_image: str = None
    textinfo: str = None
    current_task: str = None


class ScriptsList(BaseModel):
    txt2img: list = None
    img2img: list = None


class SamplerItem(BaseModel):
    name: str
    aliases: list[str]
    options: dict[str, str]


class SDModelItem(BaseModel):
    title: str
    model_name: str
    hash: str | None
    sha256: str | None
    filename: str
    config: str | None
