"""The HTTP API under /sdapi/v1: its routes, scripts in requests, and how a route that raises is answered."""

from __future__ import annotations

import time
from typing import Any

import gradio as gr
from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import HTTPException
from fastapi.responses import JSONResponse

from modules import errors, images, infotext_utils, progress, script_callbacks, scripts, sd_models, sd_samplers, shared
from modules.api import models
from modules.processing import (
    StableDiffusionProcessingImg2Img,
    StableDiffusionProcessingTxt2Img,
    process_with_scripts,
)
from modules.scripts import Script, ScriptRunner
from modules.shared import opts, state

RUNNERS = {"txt2img": scripts.scripts_txt2img, "img2img": scripts.scripts_img2img}


async def answer_errors(request: Request, call_next: Any) -> Any:
    """The answer to `request`; where it raises, JSON {"error", "detail", "body", "errors"}.

    An exception may carry its own `status_code` and `detail`.
    """
    try:
        return await call_next(request)
    except Exception as e:  # noqa: BLE001
        said = {"detail": "", "body": "", **vars(e), "error": type(e).__name__, "errors": str(e)}
        errors.report(f"API error: {request.method}: {request.url} {said}", exc_info=True)
        return JSONResponse(status_code=said.pop("status_code", 500), content=jsonable_encoder(said))


def refuse(detail: str) -> HTTPException:
    return HTTPException(status_code=422, detail=detail)


def find(name: str, candidates: list[Script]) -> Script:
    """The script of that title. Raises HTTPException 422 if there is none."""
    for script in candidates:
        if script.title().lower() == name.lower():
            return script
    raise refuse(f"Script '{name}' not found")


def default_args(runner: ScriptRunner) -> list[Any]:
    """What the arguments are when a request says nothing: the values of freshly made panels."""
    args: list[Any] = [0] + [None] * (max([x.args_to for x in runner.scripts], default=1) - 1)
    with gr.Blocks():
        for script in runner.scripts:
            controls = scripts.wrap_call(script.ui, script.filename, script.is_img2img)
            if controls:
                args[script.args_from : script.args_to] = [x.value for x in controls]
    return args


def always_on_args(name: str, given: Any) -> list[Any]:
    """The list in `{"args": [...]}`. Raises HTTPException 422 for anything else."""
    args = given.get("args") if isinstance(given, dict) else None
    if not isinstance(args, list):
        fault = "missing" if args is None else "not a list"
        example = f'alwayson_scripts: {{"{name}": {{"args": [true]}}}}'
        raise refuse(f'{name}: "args" is {fault}: got {given!r}, allowed: {example}')
    return args


def script_args(req: Any, runner: ScriptRunner, defaults: list[Any]) -> list[Any]:
    """The arguments of all scripts: what the request says, else `defaults`."""
    args = list(defaults)
    if req.script_name:
        script = find(req.script_name, runner.selectable_scripts)
        args[script.args_from : script.args_to] = req.script_args
        args[0] = runner.selectable_scripts.index(script) + 1
    for name, value in (req.alwayson_scripts or {}).items():
        script = find(name, runner.scripts)
        if not script.alwayson:
            raise refuse("Cannot have a selectable script in the always on scripts params")
        given = always_on_args(name, value)[: script.args_to - script.args_from]
        args[script.args_from : script.args_from + len(given)] = given
    return args


def script_info(script: Script) -> dict[str, Any]:
    """A script's controls, in the order of its arguments."""
    return {
        "name": script.name, "is_alwayson": script.alwayson, "is_img2img": script.is_img2img,
        "args": [_control(x) for x in script.controls],
    }  # fmt: skip


def _control(control: Any) -> dict[str, Any]:
    choices = getattr(control, "choices", None)
    return {
        "label": control.label or "",
        **{x: getattr(control, x, None) for x in ("value", "minimum", "maximum", "step")},
        "choices": choices and [x[0] if isinstance(x, tuple) else x for x in choices],
    }


class Api:
    def __init__(self, app: FastAPI) -> None:
        app.middleware("http")(answer_errors)
        self.defaults = {tab: default_args(runner) for tab, runner in RUNNERS.items()}
        every_script = [script for runner in RUNNERS.values() for script in runner.scripts]
        routes: dict[str, Any] = {
            "POST txt2img": self.text2imgapi,
            "POST img2img": self.img2imgapi,
            "POST png-info": self.pnginfoapi,
            "GET progress": self.progressapi,
            "POST interrupt": state.interrupt,
            "POST skip": state.skip,
            "GET options": lambda: opts.data,
            "POST options": self.set_config,
            "GET samplers": lambda: sd_samplers.all_samplers,
            "GET sd-models": lambda: [vars(x) for x in sd_models.checkpoints_list.values()],
            "GET latent-upscale-modes": lambda: [{"name": x} for x in shared.latent_upscale_modes],
            "GET scripts": lambda: {tab: [x.name for x in r.scripts if x.name] for tab, r in RUNNERS.items()},
            "GET script-info": lambda: [script_info(x) for x in every_script if x.controls is not None],
        }
        for route, endpoint in routes.items():
            method, path = route.split()
            app.add_api_route(f"/sdapi/v1/{path}", endpoint, methods=[method], response_model=None)

    def generate(self, req: Any, cls: Any, tab: str, **more: Any) -> dict[str, Any]:
        name = req.sampler_name or req.sampler_index
        sampler, scheduler = sd_samplers.get_sampler_and_scheduler(name, req.scheduler)
        if name.lower() not in sd_samplers.samplers_map and not name.startswith(sampler):
            raise HTTPException(status_code=400, detail="Sampler not found")
        args = self.init_script_args(req, self.defaults[tab], RUNNERS[tab])
        values = {k: v for k, v in vars(req).items() if k not in models.ADDED}
        values |= {
            "sampler_name": sampler,
            "scheduler": scheduler,
            "do_not_save_grid": True,
            "do_not_save_samples": not req.save_images,
        }
        values |= more
        with progress.task(req.force_task_id or f"task({tab}-{time.time_ns()})", job=f"scripts_{tab}"):
            p = cls(**values)
            p.is_api = True
            processed = process_with_scripts(p, RUNNERS[tab], args)
        pictures = [images.encode_base64(x) for x in processed.images] if req.send_images else []
        return {"images": pictures, "parameters": vars(req), "info": processed.js()}

    def init_script_args(self, req: Any, defaults: list[Any], runner: ScriptRunner) -> list[Any]:
        return script_args(req, runner, defaults)

    def text2imgapi(self, req: models.StableDiffusionTxt2ImgProcessingAPI) -> dict[str, Any]:
        return self.generate(req, StableDiffusionProcessingTxt2Img, "txt2img")

    def img2imgapi(self, req: models.StableDiffusionImg2ImgProcessingAPI) -> dict[str, Any]:
        if req.init_images is None:
            raise HTTPException(status_code=404, detail="Init image not found")
        given = {
            "init_images": [images.decode_base64(x) for x in req.init_images],
            "mask": req.mask and images.decode_base64(req.mask),
        }
        answer = self.generate(req, StableDiffusionProcessingImg2Img, "img2img", **given)
        req.init_images = req.mask = None
        return answer

    def pnginfoapi(self, req: models.PNGInfoRequest) -> dict[str, Any]:
        info, items = images.read_info_from_image(images.decode_base64(req.image.strip()))
        params = infotext_utils.parse_generation_parameters(info or "")
        script_callbacks.infotext_pasted_callback(info or "", params)
        return {"info": info or "", "items": items, "parameters": params}

    def progressapi(self, skip_current_image: bool = False) -> dict[str, Any]:
        done, eta = state.progress()
        image = None if skip_current_image else progress.live_preview()
        return {
            "progress": done, "eta_relative": eta, "state": state.dict(), "textinfo": None,
            "current_image": image and images.encode_base64(image), "current_task": progress.current_task,
        }  # fmt: skip

    def set_config(self, req: dict[str, Any]) -> None:
        checkpoint = req.get("sd_model_checkpoint")
        if checkpoint is not None and checkpoint not in sd_models.checkpoints_list:
            raise RuntimeError(f"model {checkpoint!r} not found")
        for k, v in req.items():
            opts.set(k, v, is_api=True)
