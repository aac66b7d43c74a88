"""What is running now: read by the progress routes, written by the samplers."""

from __future__ import annotations

import datetime
import time
from typing import Any

from PIL import Image
from torch import Tensor


class State:
    def __init__(self) -> None:
        self.begin("")
        self.job_count = 0

    def begin(self, job: str = "(unknown)") -> None:
        self.skipped = self.interrupted = self.stopping_generation = False
        self.job = job
        self.job_no = 0
        self.job_count = -1
        self.processing_has_refined_job_count = False
        self.job_timestamp = datetime.datetime.now().strftime("%Y%m%d%H%M%S")
        self.sampling_step = self.sampling_steps = 0
        self.current_latent: Tensor | None = None
        self.current_image: Image.Image | None = None
        self.current_image_sampling_step = -1
        self.id_live_preview = 0
        self.time_start = time.time()

    def end(self) -> None:
        self.job = ""
        self.job_count = 0
        self.current_latent = self.current_image = None

    def nextjob(self) -> None:
        self.job_no += 1
        self.sampling_step, self.current_image_sampling_step = 0, -1

    def skip(self) -> None:
        self.skipped = True

    def interrupt(self) -> None:
        self.interrupted = True

    def progress(self) -> tuple[float, float]:
        """The part done, 0 to 1, over all jobs, and the seconds that are left."""
        if self.job_count <= 0:
            return 0.0, 0.0
        done = (self.job_no + self.sampling_step / max(self.sampling_steps, 1)) / self.job_count
        elapsed = time.time() - self.time_start
        return min(done, 1.0), elapsed / done - elapsed if done else 0.0

    def dict(self) -> dict[str, Any]:
        names = ["skipped", "interrupted", "stopping_generation", "job", "job_count", "job_timestamp", "job_no"]
        return {name: getattr(self, name) for name in [*names, "sampling_step", "sampling_steps"]}
