"""Scorers: each gives numbers for a picture and its prompt, higher is better.

`exact` reads the playground's pictures (colour, shape, place of every object). The others are for
pictures of real models and run where their packages are installed; their weights come from where
those packages get them.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from playground.model import scorer

from .prompts import Prompt

Scorer = Callable[[Image.Image, Prompt], dict[str, float]]

MAIN = {
    "exact": ("right", "all right"),
    "clip": ("CLIPScore",),
    "imagereward": ("ImageReward",),
    "hps": ("HPSv2",),
    "vqa": ("VQAScore",),
}
"""What each scorer is judged by."""

EXACT_MORE = ("colour", "shape", "position", "binding", "clean", "fit")
"""What `exact` gives besides."""

PERCENT = MAIN["exact"] + EXACT_MORE
"""Parts of one, shown as percentages."""

MEANING = {
    "right": "objects that have their colour and shape at their place",
    "all right": "pictures in which every object is right and nothing else is there",
    "colour": "objects whose colour is somewhere",
    "shape": "objects whose shape is somewhere",
    "position": "objects at whose place something is",
    "binding": "objects whose colour and shape are in one piece, wherever it is",
    "clean": "pictures with no more pieces than objects",
    "fit": "overlap of the pieces' outlines with the nearest shape's (intersection over union, mean)",
    "CLIPScore": "100 × cosine of picture and prompt (ViT-L/14)",
    "ImageReward": "ImageReward-v1.0, no unit",
    "HPSv2": "100 × cosine of picture and prompt, HPS v2.1",
    "VQAScore": "how likely CLIP-FlanT5-XL says yes when asked whether the picture shows the prompt, 0 to 1",
}
"""What a column of the report says."""

CLIP_MODEL, CLIP_WEIGHTS = "ViT-L-14", "openai"
"""OpenAI's weights were trained with QuickGELU, which newer versions of open_clip must be asked for."""

HPS_VERSION, HPS_MODEL, HPS_WEIGHTS = "v2.1", "ViT-H-14", "xswu/HPSv2"

VQA_MODEL = "clip-flant5-xl"
"""The smaller of the package's two: 3 billion parameters, which leave a GPU some room for the web UI."""

UNUSABLE = (ImportError, OSError, RuntimeError, AttributeError)
"""What importing such a package raises where it lacks a part, or does not fit the releases of what it stands on."""


class Unavailable(RuntimeError):
    """A scorer cannot run here; the message says what is missing."""


def exact(picture: Image.Image, prompt: Prompt) -> dict[str, float]:
    """Of a playground picture, parts of one: `MAIN` and `EXACT_MORE`; `MEANING` says what they are."""
    if prompt.scene is None:
        raise ValueError(f"exact: {prompt.text!r} is not one of the playground's scenes")
    found = scorer.read(picture)
    result = scorer.compare(found, prompt.scene)
    parts = {
        name: float(np.mean(getattr(result, name))) for name in ("right", "colour", "shape", "position", "binding")
    }
    fit = float(np.mean([thing.fit for thing in found])) if found else 0.0
    return {**parts, "all right": float(result.all_right), "clean": float(result.extra == 0), "fit": round(fit, 4)}


def clip() -> Scorer:
    """CLIPScore as the paper gives it: 100 × cosine of picture and prompt (Hessel et al., arXiv 2104.08718)."""
    try:
        import open_clip
        import torch
    except UNUSABLE as error:
        raise Unavailable(f"clip needs open_clip_torch, torch and torchvision ({error})") from error
    try:
        model, _, prepare = open_clip.create_model_and_transforms(
            CLIP_MODEL, pretrained=CLIP_WEIGHTS, force_quick_gelu=True
        )
        tokenize = open_clip.get_tokenizer(CLIP_MODEL)
    except (OSError, RuntimeError) as error:
        raise Unavailable(f"clip: no weights {CLIP_MODEL}/{CLIP_WEIGHTS} ({error})") from error
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = model.to(device).eval()

    @torch.no_grad()
    def score(picture: Image.Image, prompt: Prompt) -> dict[str, float]:
        image = model.encode_image(prepare(picture.convert("RGB"))[None].to(device))
        text = model.encode_text(tokenize([prompt.text]).to(device))
        return {"CLIPScore": round(100 * torch.cosine_similarity(image.float(), text.float()).item(), 4)}

    return score


def imagereward() -> Scorer:
    """ImageReward-v1.0 (Xu et al., arXiv 2304.05977), package image-reward."""
    try:
        import ImageReward
        import torch
    except UNUSABLE as error:
        raise Unavailable(f"imagereward needs the package image-reward, and OpenAI's clip for it ({error})") from error
    try:
        model: Any = ImageReward.load("ImageReward-v1.0")
    except (OSError, RuntimeError) as error:
        raise Unavailable(f"imagereward: no weights ({error})") from error

    @torch.no_grad()
    def score(picture: Image.Image, prompt: Prompt) -> dict[str, float]:
        return {"ImageReward": float(model.score(prompt.text, picture.convert("RGB")))}

    return score


def hps() -> Scorer:
    """HPS v2.1 (Wu et al., arXiv 2306.09341), package hpsv2; 100 × its score.

    With the parts of `hpsv2.score`, which by itself reads its weights again for each picture.
    """
    try:
        import huggingface_hub
        import torch
        from hpsv2 import img_score, utils
    except UNUSABLE as error:  # release 1.2.0 comes without its vocabulary
        raise Unavailable(f"hps needs the package hpsv2, with its vocabulary ({error})") from error
    device = img_score.device
    try:
        path = huggingface_hub.hf_hub_download(HPS_WEIGHTS, utils.hps_version_map[HPS_VERSION])
        img_score.initialize_model()
        model = img_score.model_dict["model"]
        model.load_state_dict(torch.load(path, map_location=device, weights_only=True)["state_dict"])
    except (OSError, RuntimeError) as error:
        raise Unavailable(f"hps: no weights {HPS_WEIGHTS} {HPS_VERSION} ({error})") from error
    prepare, tokenize = img_score.model_dict["preprocess_val"], img_score.get_tokenizer(HPS_MODEL)
    model = model.to(device).eval()

    @torch.no_grad()
    def score(picture: Image.Image, prompt: Prompt) -> dict[str, float]:
        with torch.autocast("cuda", enabled=device == "cuda"):
            found = model(prepare(picture.convert("RGB"))[None].to(device), tokenize([prompt.text]).to(device))
        return {"HPSv2": round(100 * (found["image_features"] @ found["text_features"].T).item(), 4)}

    return score


def vqa() -> Scorer:
    """VQAScore (Lin et al., arXiv 2404.01291), package t2v_metrics, with its question and its answer."""
    try:
        import t2v_metrics
        import torch
        from huggingface_hub.constants import HF_HUB_CACHE
    except UNUSABLE as error:
        raise Unavailable(f"vqa needs the package t2v-metrics, release 1.2 ({error})") from error
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        model: Any = t2v_metrics.VQAScore(model=VQA_MODEL, device=device, cache_dir=HF_HUB_CACHE)
    except (OSError, RuntimeError) as error:
        raise Unavailable(f"vqa: no weights {VQA_MODEL} ({error})") from error

    @torch.no_grad()
    def score(picture: Image.Image, prompt: Prompt) -> dict[str, float]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "picture.png"  # it takes files only
            picture.convert("RGB").save(path)
            with torch.autocast("cpu", torch.bfloat16, enabled=device == "cpu"):  # on CUDA it does so itself
                return {"VQAScore": round(model(images=[str(path)], texts=[prompt.text]).item(), 6)}

    return score


MAKERS: dict[str, Callable[[], Scorer]] = {
    "exact": lambda: exact,
    "clip": clip,
    "imagereward": imagereward,
    "hps": hps,
    "vqa": vqa,
}

REAL = tuple(name for name in MAKERS if name != "exact")
"""Those for pictures of any model."""


@functools.cache
def scorer_of(name: str) -> Scorer:
    """The scorer of that name, loaded once. Raises Unavailable."""
    return MAKERS[name]()


def available(names: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Those of `names` that can run here, and why the others cannot."""
    usable, reasons = [], []
    for name in names:
        try:
            scorer_of(name)
        except Unavailable as error:
            reasons.append(str(error))
        else:
            usable.append(name)
    return usable, reasons


def judge(names: list[str], picture: Image.Image, prompt: Prompt) -> dict[str, float]:
    """All numbers of the named scorers for a picture."""
    numbers: dict[str, float] = {}
    for name in names:
        numbers |= scorer_of(name)(picture, prompt)
    return numbers
