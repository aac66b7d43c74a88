"""The HTTP API under /sdapi/v1, with the webui's requests, responses and errors."""

from __future__ import annotations

import base64
import os
import time
from contextlib import closing
from typing import Any

import gradio as gr
from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import HTTPException
from fastapi.responses import JSONResponse
from PIL import Image

from modules import (
    errors,
    images,
    infotext_utils,
    live_preview,
    progress,
    script_callbacks,
    scripts,
    sd_models,
    sd_samplers,
    shared,
)
from modules.api import models
from modules.api.script_info import ScriptInfo, script_info
from modules.processing import (
    StableDiffusionProcessingImg2Img,
    StableDiffusionProcessingTxt2Img,
    process_images,
)
from modules.scripts import Script, ScriptRunner
from modules.shared import opts, state

NOT_FOR_P = {
    "script_name", "script_args", "alwayson_scripts", "infotext", "send_images", "save_images", "sampler_index",
    "include_init_images", "force_task_id",
}  # fmt: skip


def find_script(name: str, candidates: list[Script]) -> int:
    titles = [script.title().lower() for script in candidates]
    if name.lower() not in titles:
        raise HTTPException(status_code=422, detail=f"Script '{name}' not found")
    return titles.index(name.lower())


def decode_image(encoding: str) -> Image.Image:
    try:
        return images.decode_base64(encoding)
    except ValueError as e:
        raise HTTPException(status_code=500, detail="Invalid encoded image") from e


def encode_image(image: Image.Image) -> str:
    return base64.b64encode(images.encode_png(image)).decode("ascii")


def api_middleware(app: FastAPI) -> None:
    """Every exception becomes JSON {"error", "detail", "body", "errors"}."""

    def handle(request: Request, e: Exception) -> JSONResponse:
        err = {
            "error": type(e).__name__, "detail": vars(e).get("detail", ""), "body": vars(e).get("body", ""),
            "errors": str(e),
        }  # fmt: skip
        if not isinstance(e, HTTPException):
            errors.report(f"API error: {request.method}: {request.url} {err}", exc_info=True)
        return JSONResponse(status_code=vars(e).get("status_code", 500), content=jsonable_encoder(err))

    @app.middleware("http")
    async def exception_handling(request: Request, call_next: Any) -> Any:
        try:
            return await call_next(request)
        except Exception as e:  # noqa: BLE001
            return handle(request, e)

    @app.exception_handler(Exception)
    async def fastapi_exception_handler(request: Request, e: Exception) -> JSONResponse:
        return handle(request, e)

    @app.exception_handler(HTTPException)
    async def http_exception_handler(request: Request, e: HTTPException) -> JSONResponse:
        return handle(request, e)


class Api:
    def __init__(self, app: FastAPI) -> None:
        api_middleware(app)
        self.defaults = {x: self.default_script_args(x) for x in (scripts.scripts_txt2img, scripts.scripts_img2img)}
        for path, endpoint, method, response in (
            ("txt2img", self.text2imgapi, "POST", models.GenerationResponse),
            ("img2img", self.img2imgapi, "POST", models.GenerationResponse),
            ("png-info", self.pnginfoapi, "POST", models.PNGInfoResponse),
            ("progress", self.progressapi, "GET", models.ProgressResponse),
            ("interrupt", self.interruptapi, "POST", None),
            ("skip", self.skip, "POST", None),
            ("options", self.get_config, "GET", None),
            ("options", self.set_config, "POST", None),
            ("samplers", self.get_samplers, "GET", list[models.SamplerItem]),
            ("sd-models", self.get_sd_models, "GET", list[models.SDModelItem]),
            ("latent-upscale-modes", self.get_latent_upscale_modes, "GET", None),
            ("scripts", self.get_scripts_list, "GET", models.ScriptsList),
            ("script-info", self.get_script_info, "GET", list[ScriptInfo]),
        ):
            app.add_api_route(f"/sdapi/v1/{path}", endpoint, methods=[method], response_model=response)

    def default_script_args(self, runner: ScriptRunner) -> list[Any]:
        """What the arguments are when a request says nothing: the values of freshly made panels."""
        args: list[Any] = [0] + [None] * (max([x.args_to for x in runner.scripts], default=1) - 1)
        with gr.Blocks():
            for script in runner.scripts:
                controls = scripts.wrap_call(script.ui, script.filename, "ui", script.is_img2img)
                if controls:
                    args[script.args_from : script.args_to] = [x.value for x in controls]
        return args

    def script_args(self, req: Any, runner: ScriptRunner, selected: int | None) -> list[Any]:
        args = list(self.defaults[runner])
        if selected is not None:
            script = runner.selectable_scripts[selected]
            args[script.args_from : script.args_to] = req.script_args
            args[0] = selected + 1
        for name, value in (req.alwayson_scripts or {}).items():
            script = runner.scripts[find_script(name, runner.scripts)]
            if not script.alwayson:
                detail = "Cannot have a selectable script in the always on scripts params"
                raise HTTPException(status_code=422, detail=detail)
            given = value.get("args", [])[: script.args_to - script.args_from]
            args[script.args_from : script.args_from + len(given)] = given
        return args

    def generate(self, req: Any, cls: type, tab: str, runner: ScriptRunner, **more: Any) -> tuple[list[str], str]:
        name = req.sampler_name or req.sampler_index
        known = {**sd_samplers.samplers_map, **{x.name: x.name for x in sd_samplers.all_samplers}}
        sampler, scheduler = sd_samplers.get_sampler_and_scheduler(name, req.scheduler)
        if name not in known and not name.startswith(sampler):
            raise HTTPException(status_code=400, detail="Sampler not found")
        selected = find_script(req.script_name, runner.selectable_scripts) if req.script_name else None
        args = self.script_args(req, runner, selected)
        values = {k: v for k, v in vars(req).items() if k not in NOT_FOR_P}
        values |= {
            "sampler_name": sampler,
            "scheduler": scheduler,
            "do_not_save_samples": True,
            "do_not_save_grid": True,
        }
        task = req.force_task_id or f"task({tab}-{time.time_ns()})"
        progress.pending_tasks[task] = time.time()
        with shared.queue_lock, closing(cls(**{**values, **more})) as p:
            p.is_api = True
            p.scripts = runner
            try:
                state.begin(job=f"scripts_{tab}")
                progress.start_task(task)
                p.script_args = args if selected is not None else tuple(args)
                processed = runner.run(p, *args) if selected is not None else process_images(p)
            finally:
                progress.finish_task(task)
                state.end()
        return [encode_image(x) for x in processed.images] if req.send_images else [], processed.js()

    def text2imgapi(self, req: models.StableDiffusionTxt2ImgProcessingAPI) -> Any:
        pictures, info = self.generate(req, StableDiffusionProcessingTxt2Img, "txt2img", scripts.scripts_txt2img)
        return models.GenerationResponse(images=pictures, parameters=vars(req), info=info)

    def img2imgapi(self, req: models.StableDiffusionImg2ImgProcessingAPI) -> Any:
        if req.init_images is None:
            raise HTTPException(status_code=404, detail="Init image not found")
        init_images = [decode_image(x) for x in req.init_images]
        mask = decode_image(req.mask) if req.mask else None
        pictures, info = self.generate(
            req,
            StableDiffusionProcessingImg2Img,
            "img2img",
            scripts.scripts_img2img,
            init_images=init_images,
            mask=mask,
        )
        if not req.include_init_images:
            req.init_images = req.mask = None
        return models.GenerationResponse(images=pictures, parameters=vars(req), info=info)

    def pnginfoapi(self, req: models.PNGInfoRequest) -> Any:
        info, items = images.read_info_from_image(decode_image(req.image.strip()))
        params = infotext_utils.parse_generation_parameters(info or "")
        script_callbacks.infotext_pasted_callback(info or "", params)
        return models.PNGInfoResponse(info=info or "", items=items, parameters=params)

    def progressapi(self, skip_current_image: bool = False) -> Any:
        if state.job_count == 0:
            return models.ProgressResponse(progress=0, eta_relative=0, state=state.dict(), textinfo=state.textinfo)
        done = min(0.01 + state.progress(), 1)
        elapsed = time.time() - state.time_start
        live_preview.update()
        image = state.current_image
        return models.ProgressResponse(
            progress=done, eta_relative=elapsed / done - elapsed, state=state.dict(), textinfo=state.textinfo,
            current_image=encode_image(image) if image is not None and not skip_current_image else None,
            current_task=progress.current_task,
        )  # fmt: skip

    def interruptapi(self) -> dict[str, Any]:
        state.interrupt()
        return {}

    def skip(self) -> None:
        state.skip()

    def get_config(self) -> dict[str, Any]:
        return dict(opts.data)

    def set_config(self, req: dict[str, Any]) -> None:
        checkpoint = req.get("sd_model_checkpoint")
        if checkpoint is not None and checkpoint not in sd_models.checkpoint_aliases:
            raise RuntimeError(f"model {checkpoint!r} not found")
        for k, v in req.items():
            opts.set(k, v, is_api=True)

    def get_samplers(self) -> Any:
        return [{"name": x.name, "aliases": x.aliases, "options": x.options} for x in sd_samplers.all_samplers]

    def get_sd_models(self) -> Any:
        return [
            models.SDModelItem(
                title=x.title, model_name=x.model_name, hash=x.shorthash, sha256=x.sha256, filename=x.filename,
                config=os.path.splitext(x.filename)[0] + ".yaml",
            )
            for x in sd_models.checkpoints_list.values()
        ]  # fmt: skip

    def get_latent_upscale_modes(self) -> Any:
        return [{"name": x} for x in shared.latent_upscale_modes]

    def get_scripts_list(self) -> Any:
        runners = {"txt2img": scripts.scripts_txt2img, "img2img": scripts.scripts_img2img}
        return models.ScriptsList(**{k: [x.name for x in r.scripts if x.name] for k, r in runners.items()})

    def get_script_info(self) -> Any:
        both = [*scripts.scripts_txt2img.scripts, *scripts.scripts_img2img.scripts]
        return [script_info(x) for x in both if x.controls is not None]
