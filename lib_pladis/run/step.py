"""One call of the host's denoiser: what the host says of it, and what holds for the attention in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lib_pladis import attention
from lib_pladis.joint import joint
from lib_pladis.kernels.base import Result, TokenWeights, Want
from lib_pladis.kernels.choice import PLAIN, Kernels
from lib_pladis.kernels.look import token_weights
from lib_pladis.math.rule import Mix
from lib_pladis.math.sparse import without_autocast
from lib_pladis.models.base import LayerName
from lib_pladis.run.probe import Probe
from lib_pladis.run.report import PassReport

Positive = tuple[bool, ...] | None
"""Of each row of a batch, whether it is conditioned on the positive prompt; None where that can't be known."""


Prompts = tuple[tuple["str | None", ...], tuple["str | None", ...]]
"""The prompt of each row of the positive and the negative conditions; None for one that changes from step to step."""


@dataclass(frozen=True)
class Texts:
    """The text conditions of a step, (rows, tokens, channels); None where the host doesn't say. And what they were made
    of, for those who ask."""

    positive: Tensor | None = None
    negative: Tensor | None = None
    prompts: Callable[[], Prompts] = lambda: ((), ())

    def tokens(self, positive: bool) -> int | None:
        """How many tokens a row of this kind has of its own."""
        texts = self.positive if positive else self.negative
        return None if texts is None else texts.shape[1]


@dataclass(frozen=True)
class Step:
    """One call of the denoiser: its number from 0, how many are expected, and which pass it belongs to.

    `texts` is asked for when the network runs, so that what other extensions put in the prompts' place is seen.
    `size`: of the latents, (h, w), where the host says.
    """

    index: int
    total: int
    hires: bool = False
    texts: Callable[[], Texts] = Texts
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Now:
    """What holds for the attention in one call of the denoiser. Made once a step, never changed.

    What happens is written to `report`.
    """

    step: Step
    mix: Mapping[LayerName, Mix]
    target: str  # "both", "positive" or "negative"
    kernels: Kernels
    report: PassReport
    probe: Probe | None = None

    def rows(self, batch: int, positive: Callable[[], Positive]) -> list[int]:
        """The rows to blend in a call with `batch` rows; counts the call."""
        rows = list(range(batch))
        if self.target != "both":
            known = positive()
            if known is None:
                self.report.because(f"target {self.target}: which rows are positive can't be known here")
            rows = [row for row, is_positive in enumerate(known or ()) if is_positive == (self.target == "positive")]
        self.report.calls_seen += 1
        self.report.calls_blended += bool(rows)
        self.report.rows_blended += len(rows)
        return rows

    def pass_by(self, reason: str) -> None:
        """Count a call that is left to the host's own attention."""
        self.report.calls_seen += 1
        self.report.because(reason)

    def attend(
        self,
        layer: LayerName,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None = None,
        scale: float | None = None,
    ) -> Tensor:
        """Blended attention of a layer; shapes as `pladis_attention`."""
        return self._attend(self.mix[layer], query, key, value, mask, scale)

    def change(
        self,
        layer: LayerName,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None = None,
        scale: float | None = None,
    ) -> Tensor:
        """Blended minus plain attention: what is added to a layer that another extension computes.

        Exact where that extension adds something to softmax attention, as IP-Adapter does:
        λ S V + (1 − λ) A V + rest = (A V + rest) + (blended − A V).
        """
        return self._attend(replace(self.mix[layer], change=True), query, key, value, mask, scale)

    def attend_joint(
        self,
        layer: LayerName,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        text: Sequence[slice],
        image: slice,
        mask: Tensor | None = None,
        scale: float | None = None,
    ) -> Tensor:
        """Attention of which only a part is blended anew: `image` queries on each row's `text` keys, as `joint`."""
        result = joint(self.kernels, query, key, value, self.mix[layer], text, image, mask, scale)
        return result.out if result.kernel == PLAIN else self._noted(result)

    def _attend(
        self, mix: Mix, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float | None
    ) -> Tensor:
        return self._noted(attention.attend(self.kernels, query, key, value, mix, mask, scale))

    def _noted(self, result: Result) -> Tensor:
        """The output; the kernel goes into the report."""
        self.report.kernel = result.kernel
        self.report.kernel_note = result.note or self.report.kernel_note
        if self.kernels.wanted not in ("auto", result.kernel):
            self.report.because(f"kernel {self.kernels.wanted} can't be used here")
        return result.out

    def watch(
        self,
        layer: LayerName,
        picture: int,
        number: int,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None = None,
        scale: float | None = None,
        part: tuple[Sequence[slice], slice] | None = None,
    ) -> Tensor:
        """Show one row's attention in a layer to the probe, of `picture` and that `number` of its prompt's parts; gives
        zeros in place of its output. part: of a joint attention, the text keys and the picture's queries."""
        with torch.no_grad(), without_autocast(query.device.type):
            if part is None:
                factor = query.shape[-1] ** -0.5 if scale is None else scale
                columns = tuple(range(key.shape[2]))
                weights: TokenWeights | None = token_weights(query, key, self.mix[layer], mask, factor, columns)
            else:
                (text,), image = part
                want = Want(tuple(range(text.start, text.stop)))
                mix = self.mix[layer]
                weights = joint(self.kernels, query, key, value, mix, part[0], image, mask, scale, want).token_weights
        if self.probe is not None and weights is not None:
            self.probe.add(layer, picture, number, weights)
        return value.new_zeros(*query.shape[:3], value.shape[3])
