"""/internal/progress: what the page polls while a picture is made."""

from __future__ import annotations

import base64
import time
from collections import deque

from fastapi import FastAPI
from pydantic import BaseModel

from modules import images, live_preview, shared

current_task: str | None = None
pending_tasks: dict[str, float] = {}
finished_tasks: deque[str] = deque(maxlen=16)


def start_task(id_task: str) -> None:
    global current_task
    current_task = id_task
    pending_tasks.pop(id_task, None)


def finish_task(id_task: str) -> None:
    global current_task
    current_task = None
    finished_tasks.append(id_task)


class ProgressRequest(BaseModel):
    id_task: str = None
    id_live_preview: int = -1
    live_preview: bool = True


class ProgressResponse(BaseModel):
    active: bool
    queued: bool
    completed: bool
    progress: float = None
    eta: float = None
    live_preview: str = None
    id_live_preview: int = None
    textinfo: str = None


def progressapi(req: ProgressRequest) -> ProgressResponse:
    active, queued = req.id_task == current_task, req.id_task in pending_tasks
    res = ProgressResponse(
        active=active, queued=queued, completed=req.id_task in finished_tasks, id_live_preview=req.id_live_preview
    )
    if not active:
        res.textinfo = "In queue" if queued else "Waiting..."
        return res
    state = shared.state
    res.progress, res.textinfo = state.progress(), state.textinfo
    if res.progress > 0:
        elapsed = time.time() - state.time_start
        res.eta = elapsed / res.progress - elapsed
    if req.live_preview:
        live_preview.update()
        if state.current_image is not None and state.id_live_preview != req.id_live_preview:
            png = base64.b64encode(images.encode_png(state.current_image)).decode("ascii")
            res.live_preview, res.id_live_preview = f"data:image/png;base64,{png}", state.id_live_preview
    return res


def setup_progress_api(app: FastAPI) -> None:
    app.add_api_route("/internal/progress", progressapi, methods=["POST"], response_model=ProgressResponse)
    app.add_api_route("/internal/ping", lambda: {}, methods=["GET"])
