"""A web UI that makes the pictures: over its HTTP API, started here where none is given."""

from __future__ import annotations

import base64
import contextlib
import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from playground import server

from .point import Point

START_SECONDS, PICTURE_SECONDS = 900, 3600


class WebUIError(RuntimeError):
    """The web UI refused a request, or did something else than it was asked."""


@dataclass(frozen=True)
class Drawing:
    """What all pictures of a run have in common; names as in the web UI's API."""

    steps: int
    sampler: str
    scheduler: str
    width: int
    height: int
    negative: str


class WebUI:
    """The API at `url`. Raises WebUIError where the answer is not what it should be."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def check(self) -> str:
        """The extension's version. Raises WebUIError where there is no web UI, or no PLADIS in it."""
        try:
            answer = requests.get(f"{self.url}/pladis/v1/version", timeout=30)
        except requests.RequestException as error:
            raise WebUIError(f"--webui {self.url}: no answer ({error})") from error
        if answer.status_code != 200:
            raise WebUIError(f"--webui {self.url}: PLADIS is not installed there (status {answer.status_code})")
        return str(answer.json()["version"])

    def model(self) -> str:
        """The checkpoint in use."""
        return str(self._options().get("sd_model_checkpoint"))

    def is_playground(self) -> bool:
        return bool(self._options().get("playground"))

    def txt2img(self, prompt: str, seed: int, count: int, point: Point, drawing: Drawing) -> list[bytes]:
        """PNGs of seeds `seed` … `seed + count - 1`.

        Whether PLADIS was at work is read off each picture's own parameters, and must be what was asked.
        """
        body = {
            "prompt": prompt,
            "negative_prompt": drawing.negative,
            "seed": seed,
            "batch_size": count,
            "steps": drawing.steps,
            "cfg_scale": point.cfg,
            "sampler_name": drawing.sampler,
            "scheduler": drawing.scheduler,
            "width": drawing.width,
            "height": drawing.height,
            "alwayson_scripts": {"PLADIS": {"args": [point.arguments]}},
        }
        answer = requests.post(f"{self.url}/sdapi/v1/txt2img", json=body, timeout=PICTURE_SECONDS)
        if answer.status_code != 200:
            raise WebUIError(f"{self.url}: status {answer.status_code}: {_reason(answer)}")
        reply = answer.json()
        info = json.loads(reply["info"])
        sampler = info.get("sampler_name", drawing.sampler)
        if sampler != drawing.sampler:  # web UIs take their first one where they don't know this
            raise WebUIError(f"{self.url}: sampler {drawing.sampler!r} was asked, {sampler!r} drew")
        texts = info["infotexts"][-count:]
        for text in texts:
            if ("PLADIS scale:" in text) == point.is_off:
                state = "off" if point.is_off else "on"
                raise WebUIError(f"{self.url}: PLADIS should have been {state}, but the picture says otherwise: {text}")
        return [base64.b64decode(image.split(",", 1)[-1]) for image in reply["images"][-count:]]

    def _options(self) -> dict[str, Any]:
        return requests.get(f"{self.url}/sdapi/v1/options", timeout=60).json()


def _reason(answer: requests.Response) -> str:
    try:
        values = answer.json()
    except ValueError:
        return answer.text[:300]
    return str(values.get("detail") or values.get("errors") or values)[:600]


@contextlib.contextmanager
def playgrounds(count: int, folder: Path, checkpoint: str | None) -> Iterator[list[WebUI]]:
    """`count` playgrounds of one thread each (the first start makes their environment), stopped at the end.

    Their output goes to `folder`/playground-N.log. Raises WebUIError where one does not start.
    """
    arguments = ["--threads", "1", *(["--checkpoint", checkpoint] if checkpoint else [])]
    started: list[tuple[subprocess.Popen[bytes], WebUI, Path]] = []
    try:
        for index in range(count):
            log = folder / f"playground-{index}.log"
            with log.open("wb") as output:
                process, url = server.start(*arguments, output=output, OMP_NUM_THREADS="1")
            started.append((process, WebUI(url), log))
            if index == 0:  # it makes the environment that the others need
                _wait(*started[0])
        for one in started:
            _wait(*one)
        yield [ui for _, ui, _ in started]
    finally:
        for process, _, _ in started:
            server.stop(process)


def _wait(process: subprocess.Popen[bytes], ui: WebUI, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(WebUIError):
            ui.check()
            return
        time.sleep(0.5)
    raise WebUIError(f"the playground did not start; its words are in {log}")
