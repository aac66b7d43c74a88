"""How one gets at a model's attention, one file a web UI. Neither mathematics nor architectures are known here."""

from __future__ import annotations

from typing import Any

from lib_pladis.hosts.a1111 import A1111Model
from lib_pladis.hosts.forge import ForgeModel
from lib_pladis.protocol import HostModel

HOSTS: tuple[type[HostModel], ...] = (ForgeModel, A1111Model)
"""All that are known; the first that knows a model takes it. One line makes a host."""


def model_in_use(sd_model: Any) -> HostModel:
    """The adapter for a model that the host has loaded (`p.sd_model`). Raises TypeError for one that no host knows."""
    for host in HOSTS:
        if host.knows(sd_model):
            return host.of(sd_model)
    raise TypeError(f"PLADIS: no known web UI has models like this {type(sd_model).__name__}")
