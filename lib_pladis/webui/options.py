"""The settings page."""

from __future__ import annotations

import gradio as gr

from lib_pladis.kernels.choice import NAMES

KERNEL = "pladis_backend"
KERNEL_LABEL = "Kernel (auto: the fastest that this machine can run)"


def register() -> None:
    """Add PLADIS's section to the host's settings."""
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
