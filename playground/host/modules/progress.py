"""What is running and how far it is: the tasks, the live preview, and the page's /internal/progress."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastapi import FastAPI
from PIL import Image
from pydantic import BaseModel

from modules import images, sd_samplers, shared
from modules.shared import state

current_task: str | None = None
pending_tasks: dict[str, float] = {}
finished_tasks: deque[str] = deque(maxlen=16)


@contextmanager
def task(id_task: str, job: str) -> Iterator[None]:
    """One generation: it waits for its turn, and is what the progress routes tell of."""
    global current_task
    pending_tasks[id_task] = time.time()
    with shared.queue_lock:
        pending_tasks.pop(id_task, None)
        current_task = id_task
        state.begin(job=job)
        try:
            yield
        finally:
            state.end()
            current_task = None
            finished_tasks.append(id_task)


def live_preview() -> Image.Image | None:
    """The picture as it is now: `state.current_image`, made anew if there was a step since it was made."""
    if state.current_latent is not None and state.current_image_sampling_step != state.sampling_step:
        state.current_image_sampling_step = state.sampling_step
        state.current_image = sd_samplers.samples_to_image_grid(state.current_latent)
        state.id_live_preview += 1
    return state.current_image


class ProgressRequest(BaseModel):
    id_task: str
    id_live_preview: int = -1


def progressapi(req: ProgressRequest) -> dict[str, Any]:
    active, queued = req.id_task == current_task, req.id_task in pending_tasks
    res: dict[str, Any] = {"active": active, "queued": queued, "completed": req.id_task in finished_tasks}
    if active:
        res["progress"], res["eta"] = state.progress()
        image = live_preview()
        if image is not None and state.id_live_preview != req.id_live_preview:
            res["id_live_preview"] = state.id_live_preview
            res["live_preview"] = f"data:image/png;base64,{images.encode_base64(image)}"
    return res


def setup_progress_api(app: FastAPI) -> None:
    app.post("/internal/progress")(progressapi)
