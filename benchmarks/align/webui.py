"""A web UI that makes the pictures: over its HTTP API, started here where none is given."""

from __future__ import annotations

import base64
import contextlib
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playground import server
from playground.client import Client, NoAnswer, Refused

from .point import Point

PICTURE_SECONDS = 3600


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


class WebUI(Client):
    """The API at `url`. Raises WebUIError where the answer is not what it should be."""

    def check(self) -> str:
        """The extension's version. Raises WebUIError where there is no web UI, or no PLADIS in it."""
        try:
            return str(self.request("/pladis/v1/version", timeout=30)["version"])
        except NoAnswer as error:
            raise WebUIError(f"--webui {self.url}: no answer ({error})") from error
        except Refused as error:
            raise WebUIError(f"--webui {self.url}: PLADIS is not installed there (status {error.status})") from error

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
        try:
            reply = self.request("/sdapi/v1/txt2img", body, PICTURE_SECONDS)
        except Refused as error:
            raise WebUIError(f"{self.url}: status {error.status}: {error.reason}") from error
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
        options: dict[str, Any] = self.request("/sdapi/v1/options", timeout=60)
        return options


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
    try:
        server.wait(process, ui.url, "/pladis/v1/version")
    except server.ServerError as error:
        raise WebUIError(f"the playground did not start; its words are in {log}") from error
