"""What a session needs to know of a host's model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from lib_pladis.blend import Blend
from lib_pladis.layers import LayerName


@dataclass
class Installed:
    """Outcome of an installation: layers hooked, those of them chained, and those left alone (with owner)."""

    hooked: list[LayerName] = field(default_factory=list)
    chained: list[LayerName] = field(default_factory=list)
    foreign: dict[LayerName, str] = field(default_factory=dict)


class HostModel(Protocol):
    """The cross-attention layers of the model now in use. Made anew for each step; cheap until `install`."""

    kind: str

    @property
    def layers(self) -> Mapping[LayerName, Any]:
        """All cross-attention layers, by name."""

    def same_as(self, other: HostModel) -> bool:
        """Whether `other` stands for the very same loaded model."""

    def serves(self, other: HostModel) -> bool:
        """Whether this object's hooks are all in place where `other` would put its own."""

    def install(self, names: Sequence[LayerName], blend: Blend) -> Installed:
        """Hook these layers so that they call `blend`."""

    def remove(self) -> None:
        """Take off what `install` put on, and nothing else; safe to call twice."""
