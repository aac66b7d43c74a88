"""Answers the calls of hooked layers, in any host: which rows are blended, by which kernel, and what happens on
failure."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lib_pladis import attention
from lib_pladis.facts import Conditions, Step, selection
from lib_pladis.joint import joint, text_weights
from lib_pladis.kernels.choice import PLAIN, Kernels
from lib_pladis.kernels.look import TokenWeights, token_weights
from lib_pladis.kernels.proof import first_line
from lib_pladis.math.rule import Mix
from lib_pladis.math.sparse import without_autocast
from lib_pladis.models.base import LayerName
from lib_pladis.protocol import Attend, Call, TextAndImage
from lib_pladis.run.probe import Probe
from lib_pladis.run.report import PassReport


@dataclass(frozen=True)
class Now:
    """The state of the attention in one call of the denoiser; implements `protocol.Now`. Made once a step, never
    changed. What happens is written to `report`."""

    step: Step
    mix: Mix
    target: str  # "both", "positive" or "negative"
    kernels: Kernels
    report: PassReport
    probe: Probe | None = None

    @property
    def asks_rows(self) -> bool:
        return self.target != "both" or self.probe is not None

    def conditions(self) -> Conditions:
        return self.step.conditions()

    def note_reason(self, reason: str) -> bool:
        """Note in the report why something is not as expected. Returns True the first time."""
        return self.report.note_reason(reason)

    def note_text(self, keys: Sequence[int], length: int) -> None:
        self.report.note_text(keys, length)

    def skip_call(self, reason: str) -> None:
        self.report.calls_seen += 1
        self.note_reason(reason)

    def skip_layer(self, layer: LayerName, owner: str) -> None:
        self.report.calls_seen += 1
        self.report.leave(layer, owner)

    def answer(self, layer: LayerName, call: Call) -> Tensor:
        """The output of a hooked layer: blended in the selected rows, the host's own in the others; the host's own in
        all rows if blending fails. Exceptions of the host's own attention propagate."""
        rows = self._rows(call)
        self.report.calls_seen += 1
        if self.probe is not None and rows:
            self._look(layer, call, rows)
        whole = len(rows) == call.batch
        own = None if whole and not call.adds else call.own()
        if own is not None and not rows:
            return own
        try:
            blended = call.blended(None if whole else rows, self._attend(call.adds))
            if own is not None:
                blended = _put(blended.to(own.dtype), own, tuple(rows), call.adds)
        except Exception as error:  # noqa: BLE001 (a device may raise anything; the picture must not be lost)
            if self.report.fail(first_line(error)):
                traceback.print_exc()
            return call.own() if own is None else own
        self.report.calls_blended += 1
        self.report.rows_blended += len(rows)
        return blended

    def _rows(self, call: Call) -> list[int]:
        """The rows of a call to blend."""
        if self.target == "both":
            return list(range(call.batch))
        known = call.facts.rows
        if known is None:
            self.note_reason(
                f"Apply to {self.target}: which prompt is positive can't be known here, so nothing is blended"
            )
        return [row for row, is_positive in enumerate(known or ()) if is_positive == (self.target == "positive")]

    def _attend(self, adds: bool) -> Attend:
        """Blended attention; minus plain attention, if the result is added to what another extension computes.

        That is exact if the extension adds something to softmax attention, as IP-Adapter does: λ S V + (1 − λ) A V +
        rest = (A V + rest) + (blended − A V).
        """
        kernels, mix, report = self.kernels, self.mix, self.report

        def attend(
            query: Tensor,
            key: Tensor,
            value: Tensor,
            mask: Tensor | None,
            scale: float | None,
            tokens: TextAndImage | None,
        ) -> Tensor:
            if tokens is None:
                result = attention.attend(kernels, query, key, value, replace(mix, change=adds), mask, scale)
            else:
                result = joint(kernels, query, key, value, mix, tokens.text, tokens.image, mask, scale, own=tokens.own)
            if tokens is None or result.kernel != PLAIN:
                report.kernel = result.kernel
                report.kernel_note = result.note or report.kernel_note
                if kernels.wanted not in ("auto", result.kernel):
                    report.note_reason(f"kernel {kernels.wanted} can't be used here")
            return result.out

        return attend

    def _look(self, layer: LayerName, call: Call, rows: Sequence[int]) -> None:
        """Let the probe read where the blended rows of the positive prompt attend. The output is not changed."""
        assert self.probe is not None
        with self.probe.clock():
            try:
                for row, picture, number in self.probe.rows(layer, call.facts.rows, call.by_subprompt):
                    if row in rows:
                        call.blended([row], self._watch(layer, picture, number))
            except Exception as error:  # noqa: BLE001 (the picture must not be lost)
                self.probe.note_reason(f"{type(error).__name__}: {error}")

    def _watch(self, layer: LayerName, picture: int, number: int) -> Attend:
        """Passes one row's attention to the probe, for `picture` and the subprompt of that `number`; returns zeros in
        place of its output."""

        def watch(
            query: Tensor,
            key: Tensor,
            value: Tensor,
            mask: Tensor | None,
            scale: float | None,
            tokens: TextAndImage | None,
        ) -> Tensor:
            with torch.no_grad(), without_autocast(query.device.type):
                factor = query.shape[-1] ** -0.5 if scale is None else scale
                if tokens is None:
                    weights: TokenWeights | None = token_weights(query, key, self.mix, mask, factor)
                else:
                    (text,) = tokens.text
                    weights = text_weights(query, key, value, self.mix, text, tokens.image, mask, factor)
            if self.probe is not None and weights is not None:
                self.probe.add(layer, picture, number, weights)
            return value.new_zeros(*query.shape[:3], value.shape[3])

        return watch


def _put(blended: Tensor, own: Tensor, rows: tuple[int, ...], add: bool) -> Tensor:
    """A copy of `own` with `blended` in, or added to, these rows."""
    index = selection(rows, own.device)
    out = own.clone()
    out[index] = out[index] + blended if add else blended
    return out
