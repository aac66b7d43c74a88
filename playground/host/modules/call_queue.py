"""Running a generation for the page: one at a time, with its progress, its errors shown as text."""

from __future__ import annotations

import html
import time
from collections.abc import Callable
from typing import Any

from modules import errors, progress, shared


def wrap_gradio_gpu_call(func: Callable[..., Any], extra_outputs: list[Any]) -> Callable[..., Any]:
    """`func(id_task, ...)` → outputs, the last of them HTML."""

    def wrapped(id_task: str, *args: Any) -> list[Any]:
        start = time.perf_counter()
        progress.pending_tasks[id_task] = time.time()
        with shared.queue_lock:
            shared.state.begin(job=id_task)
            progress.start_task(id_task)
            try:
                res = list(func(id_task, *args))
            except Exception as e:  # noqa: BLE001
                errors.report("Error completing request", exc_info=True)
                res = [*extra_outputs, f"<div class='error'>{html.escape(f'{type(e).__name__}: {e}')}</div>"]
            finally:
                shared.state.end()
                progress.finish_task(id_task)
        seconds = time.perf_counter() - start
        res[-1] += f"<div class='performance'><p class='time'>Time taken: {seconds:.1f} sec.</p></div>"
        return res

    return wrapped
