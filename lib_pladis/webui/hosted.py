"""Whether PLADIS can run in this web UI, and what it changes of it."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

NEEDED = {
    "paths_internal": ("data_path",),
    "script_callbacks": ("on_app_started", "on_before_ui", "on_cfg_denoiser", "on_script_unloaded"),
    "scripts": ("AlwaysVisible", "Script", "scripts_data"),
    "shared": ("OptionInfo", "cmd_opts", "opts"),
    "ui_components": ("InputAccordion",),
}
"""The attributes of the host's `modules` that the extension needs at import."""

PATCHES = {
    "modules.api.api.Api.init_script_args": "wrapped: the host ignores a bad request, or fails while drawing it; "
    "restored when scripts are unloaded",
    "modules.localization.localizations": "our texts are added under the names of other extensions' tables; the host "
    "rebuilds it whenever it loads scripts",
    "xyz_grid.axis_options": "our axes are added; the host rebuilds it whenever it loads scripts",
}
"""What the extension changes in the host while it is loaded, why, and how it is undone. During a generation also
`p.sample` and `p.init` of its own `p`, and the hooks of `hosts/` in the model; in SD.Next `set_pipeline_args` and, for
each pass, `torch.nn.functional.scaled_dot_product_attention`. All of these are restored with the generation's end."""


def why_not() -> str:
    """What PLADIS needs and this web UI lacks, in a sentence; "" if there is nothing."""
    missing = []
    for name, wanted in NEEDED.items():
        try:
            module: Any = import_module(f"modules.{name}")
        except ImportError:
            module = None
        missing += [f"modules.{name}.{each}" for each in wanted if not hasattr(module, each)]
    processing = getattr(sys.modules.get("modules.processing"), "StableDiffusionProcessing", None)
    if processing is not None and not hasattr(processing, "sample"):
        missing.append("StableDiffusionProcessing.sample")
    return (
        f"it does nothing in this web UI, which it doesn't know: there is no {', no '.join(missing)}" if missing else ""
    )


def is_sdnext() -> bool:
    """Whether this is SD.Next, whose models are diffusers pipelines."""
    from modules import script_callbacks

    return hasattr(script_callbacks, "on_after_process") and find_spec("modules.processing_diffusers") is not None


WHY_NOT = why_not()


def runs_from(script: str) -> bool:
    """Whether PLADIS runs here, and from the folder of this script: the extension may be installed twice."""
    return not WHY_NOT and Path(script).resolve().parents[1] == Path(__file__).resolve().parents[2]
