"""The picture as it is being made: decoded from the latent of the last step, when someone asks."""

from __future__ import annotations

from modules import sd_samplers
from modules.shared import opts, state


def update() -> None:
    """Refresh `state.current_image` when `show_progress_every_n_steps` steps were made since it was."""
    every = opts.show_progress_every_n_steps
    if state.current_latent is None or not opts.live_previews_enable or every < 0:
        return
    if state.current_image is not None and state.sampling_step - state.current_image_sampling_step < every:
        return
    state.current_image_sampling_step = state.sampling_step
    state.current_image = sd_samplers.samples_to_image_grid(state.current_latent)
    state.id_live_preview += 1
