"""The checkpoint in use, found without causing the web UI to load one, and whether a selection of layers fits it."""

from __future__ import annotations

import os
import re
from typing import Any

from lib_pladis.hosts import model_in_use
from lib_pladis.hosts.base import model_kind
from lib_pladis.models.selection import LayerSelection
from lib_pladis.settings import SettingsError
from lib_pladis.suggestion import JOINT, NOT_LOADED, UNETS, Model


def in_use() -> Model:
    """The chosen checkpoint; its family is NOT_LOADED while another one, or none, is loaded."""
    from modules import shared

    chosen = bare(shared.opts.data.get("sd_model_checkpoint") or "")
    model = _loaded()
    info = getattr(model, "sd_checkpoint_info", None)
    names = {bare(str(getattr(info, key, ""))) for key in ("title", "name", "model_name", "short_title", "filename")}
    if info is None or (chosen and chosen not in names):
        return Model(NOT_LOADED, chosen)
    return Model(_family(model), chosen or bare(str(info.name)), str(getattr(info, "shorthash", None) or ""))


def _loaded() -> Any:
    """The model in memory. A1111's `shared.sd_model` would load one; its `model_data` doesn't."""
    from modules import sd_models, shared

    data = getattr(sd_models, "model_data", None)
    return getattr(shared, "sd_model", None) if data is None else getattr(data, "sd_model", None)


def _family(model: Any) -> str:
    """The family by the host's flags; otherwise by the class's name, in lower case if it is one of ours."""
    name = model_kind(model, model)
    return name.lower() if name.lower() in {**UNETS, **JOINT} else name


def bare(title: str) -> str:
    """A checkpoint's file name without folder, hash and extension: `xl/model.safetensors [abc]` is `model`."""
    name = re.sub(r"\s*\[[0-9a-f]+\]$", "", title).replace("\\", "/").rsplit("/", 1)[-1]
    stem, extension = os.path.splitext(name)
    return stem if extension.lower() in (".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".gguf", ".sft") else name


def check_layers(sd_model: Any, layers: str) -> None:
    """Raises SettingsError if `layers` names a cross-attention layer that the loaded model doesn't have."""
    selection = LayerSelection.parse(layers)
    if selection.items:
        try:
            selection.pick(model_in_use(sd_model).layers)
        except ValueError as error:
            raise SettingsError(f"PLADIS Layers (layers): {error}") from error
