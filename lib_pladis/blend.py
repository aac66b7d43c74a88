"""The attention of the current step: what a hook in a host calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lib_pladis import attention
from lib_pladis.report import PassReport
from lib_pladis.settings import Settings


@dataclass(frozen=True)
class Conditioning:
    """What one denoiser call was given; None where the host doesn't say.

    `positive_rows` U-Net rows are positive, all others negative; a row of either kind has
    `positive_tokens` or `negative_tokens` keys of its own.
    """

    positive_rows: int | None = None
    positive_tokens: int | None = None
    negative_tokens: int | None = None

    def own_keys(self, is_positive: bool, keys: int) -> int:
        """How many of `keys` keys are a row's own: the first ones, of which the others are repetitions.

        Forge repeats the shorter prompt's tokens to the length of the longer's. Softmax attention doesn't
        change by that, but α-entmax does: its threshold counts every key.
        """
        own = self.positive_tokens if is_positive else self.negative_tokens
        return own if own and keys % own == 0 else keys


class Blend:
    """λ, α and the rows of the batch for the current step, shared by all hooks of a session."""

    def __init__(self, settings: Settings, backend: str) -> None:
        self.settings = settings
        self.backend = backend
        self.scale = 0.0
        self.alpha = settings.alpha
        self.report: PassReport | None = None
        self.conditioning = Conditioning()
        self._row_cursor: dict[object, int] = {}

    def begin_step(self, report: PassReport, scale: float, alpha: float, conditioning: Conditioning) -> None:
        """Set what holds for this denoiser call."""
        self.report, self.scale, self.alpha = report, scale, alpha
        self.conditioning = conditioning
        self._row_cursor.clear()

    def positive_in_order(self, layer: object, batch: int) -> list[bool] | None:
        """Which rows of this layer's next `batch` are positive, for a host that sends positive rows first.

        One step may take several U-Net calls, each with the next rows; None if the host didn't say.
        """
        if self.conditioning.positive_rows is None:
            return None
        first = self._row_cursor.get(layer, 0)
        self._row_cursor[layer] = first + batch
        return [row < self.conditioning.positive_rows for row in range(first, first + batch)]

    def rows(self, positive: Sequence[bool] | None, batch: int) -> list[int]:
        """The rows to blend in a call with `batch` rows, according to the target; counts the call."""
        assert self.report is not None
        chosen = list(range(batch))
        if self.settings.target != "both":
            if positive is None:
                self.report.because(f"target {self.settings.target}: the host doesn't say which rows are positive")
            wanted = self.settings.target == "positive"
            chosen = [row for row, is_positive in enumerate(positive or ()) if is_positive == wanted]
        self.report.calls_seen += 1
        self.report.calls_blended += bool(chosen)
        self.report.rows_blended += len(chosen)
        return chosen

    def by_own_keys(self, rows: Sequence[int], positive: Sequence[bool] | None, keys: int) -> dict[int, list[int]]:
        """{number of own keys: the rows of that number}; see `Conditioning.own_keys`."""
        groups: dict[int, list[int]] = {}
        for row in rows:
            own = keys if positive is None else self.conditioning.own_keys(positive[row], keys)
            groups.setdefault(own, []).append(row)
        return groups

    def pass_by(self, reason: str) -> None:
        """Count a call that is left to the host's own attention."""
        assert self.report is not None
        self.report.calls_seen += 1
        self.report.because(reason)

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        scale: float | None = None,
    ) -> Tensor:
        """Blended attention with this step's λ and α; shapes as `pladis_attention`."""
        assert self.report is not None
        out = attention.pladis_attention(
            query,
            key,
            value,
            pladis_scale=self.scale,
            alpha=self.alpha,
            temperature=self.settings.temperature,
            attn_mask=attn_mask,
            scale=scale,
            backend=self.backend,
        )
        self.report.kernel = attention.last_backend() or ""
        if self.backend not in ("auto", self.report.kernel):
            self.report.because(f"kernel {self.backend} can't be used here")
        return out

    def change(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        scale: float | None = None,
    ) -> Tensor:
        """Blended minus plain attention: what is added to a layer that another extension computes.

        Exact where that extension adds something to softmax attention, as IP-Adapter does:
        λ S V + (1 − λ) A V + rest = (A V + rest) + (blended − A V).
        """
        plain = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=attn_mask, scale=scale)
        return self.attend(query, key, value, attn_mask, scale) - plain
