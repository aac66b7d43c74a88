"""A running web UI, seen from outside: over HTTP, as an API client sees it."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import urlencode

from PIL import Image

from playground.client import Client, Refused

PROMPT = "a red circle left of a blue square"
LONG = "a green star, " + "plain calm quiet still slow soft warm cold dark light " * 9


@dataclass
class Picture:
    """One answer of txt2img or img2img."""

    images: list[str]
    info: dict[str, Any]
    report: dict[str, Any]

    @cached_property
    def pixels(self) -> list[bytes]:
        return [decode(image).tobytes() for image in self.images]

    @property
    def infotext(self) -> str:
        return self.info["infotexts"][0]

    @property
    def beside(self) -> dict[str, Any]:
        """What PLADIS tells of what stands beside the pictures."""
        return self.info["extra_generation_params"].get("PLADIS beside", {"pairs": [], "looks": []})

    @property
    def passes(self) -> list[dict[str, Any]]:
        return self.report["passes"]


def decode(image: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(image.split(",")[-1]))).convert("RGB")


def encode(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


class WebUI(Client):
    """Client of one host; `size` is the side of the test pictures in pixels."""

    def __init__(self, url: str, size: int = 64, steps: int = 4) -> None:
        super().__init__(url)
        self.size, self.steps = size, steps
        self.changed_options: dict[str, Any] = {}

    def txt2img(self, args: Any = None, **fields: Any) -> Picture:
        return self._generate("txt2img", args, fields)

    def img2img(self, args: Any = None, **fields: Any) -> Picture:
        return self._generate("img2img", args, fields)

    def _generate(self, kind: str, args: Any, fields: dict[str, Any]) -> Picture:
        body: dict[str, Any] = {
            "prompt": PROMPT,
            "negative_prompt": "blurred",
            "steps": self.steps,
            "width": self.size,
            "height": self.size,
            "seed": 7,
            "cfg_scale": 7,
            "sampler_name": "Euler",
            **fields,
        }
        if args is not None:
            body["alwayson_scripts"] = {"PLADIS": {"args": args if isinstance(args, list) else [args]}}
        answer = self.request(f"/sdapi/v1/{kind}", body)
        self.last = Picture(answer["images"], json.loads(answer["info"]), self.report())
        return self.last

    def look(self, **part: str) -> dict[str, Any]:
        """The look at the last generation, which had one."""
        (name,) = {name for *_, name, _ in self.last.beside["looks"]}
        return self.request("/pladis/v1/look?" + urlencode({"name": name, **part}))

    def report(self) -> dict[str, Any]:
        return self.request("/pladis/v1/report")

    def set_option(self, name: str, value: Any) -> None:
        self.changed_options.setdefault(name, self.options.get(name))
        self.request("/sdapi/v1/options", {name: value})

    def restore_options(self) -> None:
        if self.changed_options:
            self.request("/sdapi/v1/options", self.changed_options)
            self.changed_options.clear()

    @cached_property
    def options(self) -> dict[str, Any]:
        return self.request("/sdapi/v1/options")

    @cached_property
    def models(self) -> list[str]:
        return [model["title"] for model in self.request("/sdapi/v1/sd-models")]

    @cached_property
    def layers(self) -> list[str]:
        """The names of all layers of the model in use at first."""
        names: list[str] = self.txt2img([True]).passes[0]["layers_hooked"]
        return names

    @property
    def unet(self) -> bool:
        """Whether that model is a U-Net, not a transformer."""
        return self.layers[0][0] in "dmu"

    @cached_property
    def samplers(self) -> list[str]:
        return [sampler["name"] for sampler in self.request("/sdapi/v1/samplers")]

    @cached_property
    def kind(self) -> str:
        """ "playground", "a1111", "forge", "neo" or "reforge", by the options that only that host has."""
        if self.options.get("playground"):
            return "playground"
        if "forge_additional_modules_anima" in self.options:
            return "neo"
        if "forge_preset" in self.options or "forge_inference_memory" in self.options:
            return "forge"
        if any(name.startswith("reforge_") for name in self.options):
            return "reforge"
        return "a1111"

    @property
    def is_forge(self) -> bool:
        """Forge or one of its descendants."""
        return self.kind in ("forge", "neo", "reforge")

    @cached_property
    def hires(self) -> dict[str, Any]:
        """Fields of a request with Hires. fix of 3 steps: of latents where this host can, to sides that it can do."""
        latent = self.names("/sdapi/v1/latent-upscale-modes")
        return {
            "enable_hr": True,
            "hr_cfg": 7,  # Forge's own, 1 by default; other hosts ignore both
            "hr_additional_modules": ["Use same choices"],
            "hr_scale": 2 if self.kind == "neo" else 1.5,  # Neo's sides are multiples of 64
            "hr_upscaler": latent[0] if latent else "None",
            "denoising_strength": 0.6,
            "hr_second_pass_steps": 3,
        }

    def names(self, path: str) -> list[str]:
        """Names listed at a route that not every host has; [] where it is missing."""
        try:
            return [entry["name"] for entry in self.request(path)]
        except Refused:
            return []
