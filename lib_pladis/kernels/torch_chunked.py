"""PLADIS attention in plain torch operations, a chunk of queries at a time.

Scores are stored transposed, (keys, queries): a reduction over keys then processes adjacent queries
together, and each query's tau or sum broadcasts without a copy. A chunk holds all heads of a batch
entry and as many queries as fit. It fits into the cache of a CPU and is large enough to hide the
launch overhead of an accelerator, so the extra memory does not depend on the resolution. No sort.

Logits are in base 2, multiplied by log2(e), from the product to the log-sum-exp: they are scaled
anyway, and 2^x is cheaper than e^x.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import suppress
from itertools import product

import torch
from torch import Tensor

from lib_pladis import limits
from lib_pladis.kernels.base import AttentionInputs, Problem, Result
from lib_pladis.math import newton
from lib_pladis.math.rule import Mix

FEWEST_QUERIES = 256
"""Minimum number of queries of a head in a chunk. If these of all heads don't fit, the heads are split."""

TWO_BUFFERS = (1.0, 1.5, 2.0)
"""Values of alpha that need two buffers of scores; others need three."""

_idle: list[dict[str, Tensor]] = []
"""CPU buffers that no call is using, by name: allocating memory costs more than a pass over it."""


class Chunked:
    """The kernel that runs everywhere."""

    name = "torch"

    def why_not(self, problem: Problem) -> str:
        """As `base.Kernel`: it computes every problem."""
        return ""

    def plan(self, problem: Problem) -> bool:
        """As `base.Kernel`: whether the log-sum-exp is returned."""
        return problem.lse

    def attend(self, launch: bool, inputs: AttentionInputs) -> Result:
        """As `base.Kernel`. The result is laid out (B, Lq, H, Dv) in memory, as the hosts use it next."""
        query = inputs.query
        batch, heads, queries, _ = query.shape
        out = query.new_empty(batch, queries, heads, inputs.value.shape[3]).transpose(1, 2)
        row_lse = query.new_empty(batch, heads, queries, dtype=torch.float32) if launch else None
        if not out.numel():
            return Result(out, self.name, lse=row_lse)
        limit, note = limits.CHUNK_BYTES.get(query.device.type, limits.CHUNK_BYTES_ACCELERATOR), ""
        while True:
            try:
                _fill(out, row_lse, inputs, limit)
                return Result(out, self.name, note, row_lse)
            except torch.cuda.OutOfMemoryError:
                if limit <= limits.SMALLEST_CHUNK_BYTES:
                    raise
                limit = max(limit // 4, limits.SMALLEST_CHUNK_BYTES)
                note = f"memory ran short: chunks of {limit / 2**20:.1f} MiB"


def release_buffers() -> None:
    """Free the buffers that are kept between calls, about CHUNK_BYTES."""
    _idle.clear()


def _fill(out: Tensor, row_lse: Tensor | None, inputs: AttentionInputs, limit: int) -> None:
    """Write the attention into `out`, and the rows' log-sum-exp into `row_lse`, in chunks of at most `limit` bytes."""
    query, key, value, mask, mix, scale = inputs
    batch, heads, queries, dim = query.shape
    keys, value_dim = value.shape[2:]
    direct = query.device.type in limits.DIRECT
    # A1111 lets CUDA round fp32 factors to TF32: half-precision keys are exact in it, keys times the scale are not. So
    # the scale is an argument of baddbmm
    key, scale = (key.float(), scale * newton.BITS) if direct else (key.float() * (scale * newton.BITS), 1.0)
    value = value.float()
    if mask is not None:
        mask = (~mask if mask.dtype == torch.bool else mask).expand(batch, heads, queries, keys).transpose(2, 3)
    tolerance = limits.tolerance_of(query.dtype)
    numbers = (2 if mix.alpha in TWO_BUFFERS else 3) * keys, (2 if mix.rescale else 1) * max(dim, value_dim)
    with _Workspace(query.device) as workspace:
        for b, h, q in _chunks(batch, heads, queries, *numbers, limit // 4, together=direct):
            part_mask = None if mask is None else mask[b, h, :, q]
            logits, top, fully_masked = _logits(query[b, h, q], key[b, h], scale, part_mask, workspace)
            sparse, factor = _sparse(logits, mix, tolerance, workspace)
            partition = _blend(out[b, h, q], logits, sparse, factor, fully_masked, value[b, h], mix)
            if row_lse is not None:
                row_lse[b, h, q] = partition.log2_().add_(top).div_(newton.BITS)[:, :, 0]


def _chunks(
    batch: int, heads: int, queries: int, scores: int, products: int, limit: int, together: bool = True
) -> Iterable[tuple[slice, ...]]:
    """Split the batch, then the queries, then the heads, until a chunk has at most `limit` numbers.

    scores: numbers per query for each entry of the batch. products: numbers per query for one entry at a time.
    together: whether a chunk may hold several entries of the batch.
    """
    fits = max(1, limit // (scores + products))
    batch_step = batch if together and heads * queries * (batch * scores + products) <= limit else 1
    head_step = heads if batch_step > 1 else _even(heads, fits // min(queries, FEWEST_QUERIES))
    rows = queries if batch_step > 1 else _even(queries, fits // head_step, 16)
    steps = ((batch, batch_step), (heads, head_step), (queries, rows))
    return product(*([slice(at, min(at + step, total)) for at in range(0, total, step)] for total, step in steps))


def _even(total: int, most: int, multiple: int = 1) -> int:
    """Size of the parts of `total`: as few and as even as possible, each at most `most`.

    With `multiple`, a multiple of it but not of 256: rows at such distances in memory map to the same cache lines.
    """
    if total <= most or most <= 1:
        return max(1, min(total, most))
    multiple = min(multiple, most)
    most -= most % multiple
    size = -(-total // -(-total // most))
    size = -(-size // multiple) * multiple
    return size + multiple if multiple > 1 and size % 256 == 0 and size < most else size


class _Workspace:
    """The fp32 buffers of one call, by name. On a CPU they are reused between calls; on an accelerator torch's own
    allocator does that."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.cpu = device, limits.is_cpu(device)
        self._held: dict[str, Tensor] = {}

    def __enter__(self) -> _Workspace:
        with suppress(IndexError):  # another thread may have taken the last
            self._held = _idle.pop() if self.cpu else {}
        return self

    def __exit__(self, *error: object) -> None:
        if self.cpu:
            _idle[:] = [self._held]  # one call's, however many threads there are

    def buffer(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """Contents undefined; the same memory for the same name."""
        size = math.prod(shape)
        have = self._held[name].numel() if name in self._held else 0
        if have < size or (have > size and not self.cpu):
            self._held.pop(name, None)
            with torch.inference_mode(False):  # usable inside and outside of inference mode
                self._held[name] = torch.empty(size, device=self.device)
        return self._held[name][:size].view(shape)

    def scores(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """(B, H, keys, queries), with rows padded on a CPU so that they don't map to the same cache lines."""
        *rows, queries = shape
        apart = queries + (16 if self.cpu and queries % 512 == 0 else 0)
        return self.buffer(name, (*rows, apart))[..., :queries]


def _logits(
    query: Tensor, key: Tensor, scale: float, mask: Tensor | None, workspace: _Workspace
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Returns the logits minus their maximum, (B, H, keys, queries); the maximum, (B, H, 1, queries); and which rows
    are fully masked, None without a mask. Logits are `scale` times the products, in base 2.

    query: (B, H, queries, D). key: (B, H, keys, D), fp32. mask: (B, H, keys, queries), bool with True for masked
    keys, or float, which is added.
    """
    logits = workspace.scores("logits", (*key.shape[:3], query.shape[2]))
    for entry in range(len(key)):  # a transposed output of several entries is no batch for bmm
        factors = key[entry], query[entry].float().transpose(1, 2)
        if scale == 1.0:
            torch.bmm(*factors, out=logits[entry])
        else:  # beta 0 ignores the output's old contents
            torch.baddbmm(logits[entry], *factors, beta=0, alpha=scale, out=logits[entry])
        del factors  # before the next ones
    if mask is not None and mask.dtype == torch.bool:
        logits.masked_fill_(mask, -math.inf)
    elif mask is not None:
        logits.add_(mask, alpha=newton.BITS)
    top = logits.amax(2, keepdim=True)
    logits.sub_(top)
    if mask is None:
        return logits, top, None
    fully_masked = top == -math.inf
    return logits.masked_fill_(fully_masked, 0.0), top, fully_masked


def _sparse(logits: Tensor, mix: Mix, tolerance: float, workspace: _Workspace) -> tuple[Tensor, Tensor | float]:
    """The sparse map, as weights and a factor for them. The logits are not changed."""
    work = workspace.scores("work", logits.shape)
    if mix.alpha == 1.0:
        weights = torch.mul(logits, 1.0 / mix.temperature, out=work).exp2_()
        return weights, 1.0 / weights.sum(2, keepdim=True)
    return newton.solve(
        logits,
        mix.alpha,
        2,
        temperature=mix.temperature * newton.BITS,
        tolerance=tolerance,
        work=work,
        spare=None if mix.alpha in TWO_BUFFERS else workspace.scores("spare", logits.shape),
    )


def _blend(
    out: Tensor,
    logits: Tensor,
    sparse: Tensor,
    factor: Tensor | float,
    fully_masked: Tensor | None,
    value: Tensor,
    mix: Mix,
) -> Tensor:
    """Write the attention into `out`, from the logits, which are overwritten, and the sparse map. Returns sum(e).

    With e = exp(z - max z), lambda entmax + (1 - lambda) softmax is (1 - lambda) / sum(e) times
    e + lambda sum(e) / (1 - lambda) entmax. The first factor is applied after the product with the values, which has
    fewer columns than there are keys. Rescaling needs the dense result too.
    """
    partition = logits.exp2_().sum(2, keepdim=True)
    if mix.rescale or mix.dense == 0.0:
        weights, row_scale = sparse, torch.full_like(partition, mix.scale).mul_(factor)
    else:
        weights = logits.addcmul_(sparse, partition * (mix.scale / mix.dense * factor))
        row_scale = mix.dense / partition
    if fully_masked is not None:
        row_scale.masked_fill_(fully_masked, 0.0)
    for entry in range(len(value)):
        result = torch.bmm(weights[entry].transpose(1, 2), value[entry])
        scale = row_scale[entry].transpose(1, 2)
        direct = not mix.rescale and out.device.type in limits.DIRECT
        result = torch.mul(result, scale, out=out[entry] if direct else result)
        if mix.rescale:
            dense = torch.bmm(logits[entry].transpose(1, 2), value[entry]).div_(partition[entry].transpose(1, 2))
            if fully_masked is not None:
                dense.masked_fill_(fully_masked[entry].transpose(1, 2), 0.0)
            result.add_(dense, alpha=1.0 - mix.scale)
            norm = result.norm(dim=-1, keepdim=True)
            stretch = dense.norm(dim=-1, keepdim=True).div_(norm).mul_(mix.rescale).add_(1.0 - mix.rescale)
            result.mul_(stretch.masked_fill_(norm == 0, 1.0))
            if mix.change:
                result.sub_(dense)
        if not direct:
            out[entry].copy_(result)
        del result, scale  # before the next ones
    return partition
