"""The settings page."""

from __future__ import annotations

import sys
from typing import Any, Optional

import gradio as gr

from lib_pladis.kernels.choice import NAMES

KERNEL = "pladis_backend"
KERNEL_LABEL = "Kernel (auto: the fastest that this machine can run)"


def register() -> None:
    """Add PLADIS's section to the host's settings, and to what its API lists.

    To be called when the script is loaded: later, under `--nowebui`, the API is there already.
    """
    from modules import shared

    shared.opts.add_option(
        KERNEL,
        shared.OptionInfo(
            "auto",
            KERNEL_LABEL,
            gr.Radio,
            {"choices": list(NAMES)},
            section=("pladis", "PLADIS"),
        ),
    )
    _list_in_api(KERNEL, shared.opts.data_labels[KERNEL])


def _list_in_api(key: str, info: Any) -> None:
    """Add the option to the model of the answer to `GET /sdapi/v1/options`.

    The host makes that model of the options known when `modules.api` is first imported, which some extensions do
    while scripts are loaded (Forge's built-in ControlNet, for one), and reads it when it makes the route, after them.
    """
    models = sys.modules.get("modules.api.models")
    known = getattr(models, "OptionsModel", None)
    if known is None or key in getattr(known, "model_fields", getattr(known, "__fields__", {})):
        return
    from pydantic import Field, create_model

    field: Any = (Optional[str], Field(default=info.default, description=info.label))  # noqa: UP045 - pydantic 1
    vars(models)["OptionsModel"] = create_model("Options", __base__=known, **{key: field})
