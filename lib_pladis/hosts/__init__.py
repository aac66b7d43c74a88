"""Access to a model's attention, one file per web UI. Neither mathematics nor architectures are known here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lib_pladis.hosts import a1111, forge
from lib_pladis.protocol import HostModel

HOSTS: tuple[Callable[[Any], HostModel | None], ...] = (forge.model_of, a1111.model_of)
"""Each returns the adapter for a model of its web UI, None for others."""


def model_in_use(sd_model: Any) -> HostModel:
    """The adapter for a model that the host has loaded (`p.sd_model`). Raises TypeError if no host knows it."""
    found = next(filter(None, (model_of(sd_model) for model_of in HOSTS)), None)
    if found is None:
        raise TypeError(f"PLADIS: no known web UI has models like this {type(sd_model).__name__}")
    return found
