"""What a generation really did, pass by pass, for the log, `p.comment` and `GET /pladis/v1/report`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class PassReport:
    """One run of the sampler over one model (a refiner or another hires checkpoint starts a new one).

    `calls_seen` counts calls of hooked cross-attention layers, `calls_blended` those whose output was
    blended for at least one row of the batch, `rows_blended` these rows; `steps` counts denoiser calls.
    """

    stage: str  # "first" or "hires"
    model_kind: str  # "sd1", "sd2", "sdxl", ... or "unknown"
    layers_found: int
    scale: float
    alpha: float
    layers_hooked: list[str] = field(default_factory=list)
    layers_chained: list[str] = field(default_factory=list)
    steps: int = 0
    steps_blended: int = 0
    step_scales: list[float] = field(default_factory=list)
    calls_seen: int = 0
    calls_blended: int = 0
    rows_blended: int = 0
    kernel: str = ""
    why_not: list[str] = field(default_factory=list)

    def because(self, reason: str) -> bool:
        """Note once why something was left to the host's own attention; True if it is news."""
        if reason in self.why_not:
            return False
        self.why_not.append(reason)
        return True

    def line(self) -> str:
        """The log line of this pass."""
        stage = " (hires)" if self.stage == "hires" else ""
        if not self.calls_blended:
            return f"PLADIS{stage}: not applied: {'; '.join(self.why_not) or 'no cross-attention call was seen'}"
        text = (
            f"PLADIS{stage}: λ={self.scale:.2f} α={self.alpha:.2f} on {len(self.layers_hooked)} of "
            f"{self.layers_found} cross-attention layers, {self.calls_blended} calls in "
            f"{self.steps_blended} of {self.steps} steps ({self.model_kind}, kernel {self.kernel})"
        )
        return text + (f"; {'; '.join(self.why_not)}" if self.why_not else "")


@dataclass
class Report:
    """The last generation: its settings and its passes, or why there were none."""

    enabled: bool = False
    settings: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    why_idle: str = ""
    passes: list[PassReport] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)
