"""The requests of /sdapi/v1/txt2img and img2img, made from the processing classes."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any

from pydantic import BaseModel, create_model

from modules.processing import StableDiffusionProcessingImg2Img, StableDiffusionProcessingTxt2Img

ADDED: dict[str, Any] = {
    "sampler_index": (str | None, "Euler"), "script_name": (str | None, None), "script_args": (list, []),
    "send_images": (bool, True), "save_images": (bool, False), "alwayson_scripts": (dict, {}),
    "force_task_id": (str | None, None),
}  # fmt: skip
"""What a request has and a generation has not."""


def request_model(cls: Any) -> Any:
    hints = typing.get_type_hints(cls)
    fields: dict[str, Any] = {x.name: (hints[x.name] | None, x.default) for x in dataclasses.fields(cls)}
    return create_model(cls.__name__, **fields, **ADDED)


StableDiffusionTxt2ImgProcessingAPI = request_model(StableDiffusionProcessingTxt2Img)
StableDiffusionImg2ImgProcessingAPI = request_model(StableDiffusionProcessingImg2Img)


class PNGInfoRequest(BaseModel):
    image: str
