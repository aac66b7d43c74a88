"""What a generation did, pass by pass, for the log, `p.comment` and `GET /pladis/v1/report`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from lib_pladis.models.base import LayerName

FAILED = "the web UI's own attention was used where PLADIS failed"


@dataclass
class PassReport:
    """One run of the sampler over one model (a refiner or another hires checkpoint starts a new one).

    `calls_seen` counts calls of hooked cross-attention layers, `calls_blended` those whose output was
    blended for at least one row of the batch, `rows_blended` these rows, `calls_failed` those in which blending failed
    and the web UI's own attention stood in; `steps` counts denoiser calls.
    """

    stage: str  # "first" or "hires"
    model_kind: str  # "sd1", "sd2", "sdxl", "sd3" or the class of its network
    layers_found: int
    scale: float
    alpha: float
    temperature: float = 1.0
    rescale: float = 0.0
    layers_hooked: list[str] = field(default_factory=list)
    layers_chained: list[str] = field(default_factory=list)
    steps: int = 0
    steps_blended: int = 0
    step_scales: list[float] = field(default_factory=list)
    calls_seen: int = 0
    calls_blended: int = 0
    rows_blended: int = 0
    calls_failed: int = 0
    kernel: str = ""
    kernel_note: str = ""  # why not a quicker one, or how it went
    architecture: str = ""  # "U-Net", "Flux", "Anima", ...; "" if none is known
    text_keys: list[int] = field(default_factory=list)  # of a transformer: how many keys were the prompts' own
    text_length: int = 0  # and how many the text has with its padding
    reasons: dict[str, int] = field(default_factory=dict)
    alone: dict[str, list[LayerName]] = field(default_factory=dict)  # layers of other extensions, by owner

    def leave(self, layer: LayerName, owner: str) -> None:
        """Note a layer whose attention belongs to another extension."""
        names = self.alone.setdefault(owner, [])
        if layer not in names:
            names.append(layer)
        for hooked in (self.layers_hooked, self.layers_chained):
            if str(layer) in hooked:
                hooked.remove(str(layer))

    def note_reason(self, reason: str) -> bool:
        """Note why something was left to the host's own attention, and how often. Returns True the first time."""
        self.reasons[reason] = self.reasons.get(reason, 0) + 1
        return self.reasons[reason] == 1

    def fail(self, reason: str) -> bool:
        """Count a call in which blending failed. Returns True if the reason is new."""
        self.calls_failed += 1
        return self.note_reason(f"{FAILED}: {reason}")

    @property
    def failure(self) -> str:
        """The message for the user about calls in which blending failed."""
        reasons = [reason for reason in self.why_not if reason.startswith(FAILED)]
        return f"{self.calls_failed} of {self.calls_seen} attention calls: {'; '.join(reasons)}"

    def note_text(self, keys: Sequence[int], length: int) -> None:
        """Note how many keys were the prompts' own, out of the text's keys."""
        self.text_keys = sorted({*self.text_keys, *keys})
        self.text_length = max(self.text_length, length)

    @property
    def why_not(self) -> list[str]:
        """The reasons, each with its count."""
        return [reason + (f" ({count} times)" if count > 1 else "") for reason, count in list(self.reasons.items())]

    def line(self) -> str:
        """The log line of this pass."""
        stage = " (hires)" if self.stage == "hires" else ""
        if not self.calls_blended:
            return f"PLADIS{stage}: not applied: {'; '.join(self.why_not) or 'no cross-attention call was seen'}"
        others = (("T", self.temperature, 1.0), ("φ", self.rescale, 0.0))
        rest = "".join(f" {letter}={value:.2f}" for letter, value, usual in others if value != usual)
        text = (
            f"PLADIS{stage}: λ={self.scale:.2f} α={self.alpha:.2f}{rest} on {len(self.layers_hooked)} of "
            f"{self.layers_found} {self._attention} layers, {self.calls_blended} calls in "
            f"{self.steps_blended} of {self.steps} steps "
            f"({self._model}, kernel {self.kernel}{f', {self.kernel_note}' if self.kernel_note else ''})"
        )
        return text + (f"; {'; '.join(self.why_not)}" if self.why_not else "")

    @property
    def _attention(self) -> str:
        return "joint-attention" if self.layers_hooked and self.layers_hooked[0][0] in "js" else "cross-attention"

    @property
    def _model(self) -> str:
        if not self.text_keys:
            return self.model_kind
        few, many = self.text_keys[0], self.text_keys[-1]
        return f"{self.architecture}, {few if few == many else f'{few} to {many}'} of {self.text_length} text keys"

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        values = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in ("reasons", "alone")}
        return {**values, "why_not": self.why_not}


@dataclass
class Report:
    """One generation: its settings and passes, or why there were none, and the generations inside it."""

    enabled: bool = False
    settings: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    why_idle: str = ""
    passes: list[PassReport] = field(default_factory=list)
    nested: list[Report] = field(default_factory=list)
    pairs: list[tuple[int, int]] = field(default_factory=list)
    """With `compare`: each picture and its plain one, as indices into the images."""
    why_not_compared: str = ""
    look: str = ""
    """With `look`: its cost, or why there is none."""

    @property
    def says_something(self) -> bool:
        """Whether anything was asked, refused or done."""
        return bool(self.error or self.passes or self.why_idle or any(inner.says_something for inner in self.nested))

    def __str__(self) -> str:
        return "\n".join(each.line() for each in self.passes) or f"PLADIS: not applied: {self.error or self.why_idle}"

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON types. Inner generations that were only prepared are left out."""
        return {
            "enabled": self.enabled,
            "settings": self.settings,
            "error": self.error,
            "why_idle": self.why_idle,
            "passes": [each.as_dict() for each in self.passes],
            "pairs": [list(pair) for pair in self.pairs],
            "why_not_compared": self.why_not_compared,
            "look": self.look,
            "nested": [inner.as_dict() for inner in self.nested if inner.says_something],
        }
