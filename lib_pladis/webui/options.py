"""The settings page."""

from __future__ import annotations

import gradio as gr

from lib_pladis.kernels.choice import NAMES


def register() -> None:
    """Add PLADIS's section to the host's settings."""
    from modules import shared

    shared.opts.add_option(
        "pladis_backend",
        shared.OptionInfo(
            "auto",
            "Kernel (auto: the fastest that this machine can run)",
            gr.Radio,
            {"choices": list(NAMES)},
            section=("pladis", "PLADIS"),
        ),
    )
