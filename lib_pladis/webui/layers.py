"""Whether a selection of layers fits the model that the host has loaded."""

from __future__ import annotations

from typing import Any

from lib_pladis.hosts import model_in_use
from lib_pladis.models.selection import LayerSelection
from lib_pladis.settings import SettingsError


def check_layers(sd_model: Any, layers: str) -> None:
    """Raises SettingsError if `layers` names a cross-attention layer that the loaded model doesn't have."""
    selection = LayerSelection.parse(layers)
    if selection.items:
        try:
            selection.pick(model_in_use(sd_model).layers)
        except ValueError as error:
            raise SettingsError(f"PLADIS Layers (layers): {error}") from error
