"""The settings page."""

from __future__ import annotations

from typing import Any

import gradio as gr

from lib_pladis.kernels.choice import NAMES
from lib_pladis.webui.card import CARD

KERNEL = "pladis_backend"
KERNEL_LABEL = "Kernel (auto: the fastest that this machine can run)"
FOLLOW = "pladis_follow_checkpoint"
FOLLOW_LABEL = "Restore the remembered settings when a checkpoint is chosen"
CHECK = "Check my card"
FOUND = "Tests every kernel on this machine in a few minutes; paste the result into an issue"


def register() -> None:
    """Add PLADIS's section to the host's settings."""
    from modules import shared

    shared.opts.add_option(
        KERNEL,
        shared.OptionInfo(
            "auto",
            KERNEL_LABEL,
            _chooser,
            {"choices": list(NAMES)},
            section=("pladis", "PLADIS"),
        ),
    )
    shared.opts.add_option(FOLLOW, shared.OptionInfo(False, FOLLOW_LABEL, section=("pladis", "PLADIS")))


def kernel() -> str:
    """The kernel chosen there; "auto" if this version has no such kernel."""
    from modules import shared

    name = shared.opts.data.get(KERNEL, "auto")
    return name if name in NAMES else "auto"


def follows_checkpoint() -> bool:
    """Whether choosing a checkpoint sets what was remembered for it."""
    from modules import shared

    return bool(shared.opts.data.get(FOLLOW, False))


def _chooser(**given: Any) -> Any:
    """The choice of kernels, which is all that the host knows of, above the button that checks them."""
    radio = gr.Radio(**given)
    button = gr.Button(CHECK, elem_id="pladis_check")
    found = gr.Textbox(label=FOUND, lines=3, interactive=False, show_copy_button=True, elem_id="pladis_checked")
    button.click(CARD.text, [], [found])
    return radio
