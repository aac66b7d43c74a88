"""The adapter for the model that the host has loaded."""

from __future__ import annotations

from typing import Any

from lib_pladis.hosts.a1111 import A1111Model
from lib_pladis.hosts.forge import ForgeModel, PlainAttention, torch_attention
from lib_pladis.hosts.protocol import HostModel
from lib_pladis.layers import LayerSelection
from lib_pladis.settings import SettingsError


def check_layers(sd_model: Any, layers: str) -> None:
    """Raises SettingsError if `layers` names a cross-attention layer that the loaded model doesn't have."""
    selection = LayerSelection.parse(layers)
    if selection.items:
        try:
            selection.pick(host_model(sd_model).layers)
        except ValueError as error:
            raise SettingsError(f"PLADIS Layers (layers): {error}") from error


def host_model(sd_model: Any) -> HostModel:
    """The adapter for the model that the host has loaded."""
    if hasattr(sd_model, "forge_objects"):
        return ForgeModel(sd_model, _forge_attention())
    from modules import shared
    from modules.hypernetworks import hypernetwork

    return A1111Model(
        sd_model,
        project_context=lambda context: hypernetwork.apply_hypernetworks(shared.loaded_hypernetworks, context),
        upcast=lambda: bool(getattr(shared.opts, "upcast_attn", False)),
    )


def _forge_attention() -> PlainAttention:
    try:
        from backend.attention import attention_function
    except ImportError:
        try:
            from ldm_patched.ldm.modules.attention import optimized_attention as attention_function
        except ImportError:
            return torch_attention
    return attention_function
