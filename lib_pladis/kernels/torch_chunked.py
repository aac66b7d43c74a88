"""PLADIS attention in plain torch operations, a chunk of queries at a time.

Scores are kept transposed, keys x queries: reductions over keys then run along the memory, many
queries at once, and each query's tau or sum is a row that is broadcast without a copy. A chunk has
all heads of a batch entry and as many queries as fit: its products are a batch that keeps all cores
busy. It is small enough to stay in cache (CPU) and large enough to pay for its launches
(accelerators), so the extra memory is fixed whatever the resolution. No sort.

Scores are in bits, log2(e) times the logits, which costs nothing as they are scaled anyway:
2^x is cheaper than e^x.

On a CPU it is looked at which rows are solved. An accelerator would have to stop for that: it takes more steps,
blindly, and once all chunks are on their way all rows are looked at together; if one isn't right, all is done anew
with looks.

Passes over the scores, each a read or a write of all of them, are counted in PASSES.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import Tensor

from lib_pladis.kernels.base import Problem, Result
from lib_pladis.math import newton
from lib_pladis.math.rule import Mix

CHUNK_ELEMENTS = {"cpu": 1280 * 1024}
"""Scores per chunk (heads x keys x queries), by device type. Two fp32 buffers of that size exist, and three of two
thirds of it for alpha other than TWO_BUFFERS."""

CHUNK_ELEMENTS_ACCELERATOR = 6400 * 1024
"""The same where a launch costs more: 50 MiB for the buffers, and 64 MiB with what else a chunk needs. That is a whole
layer of 4,096 queries, batch 2, in SDXL."""

SMALL = 48 * 1024
"""Up to so many scores a call is small: a layer of the playground."""

TWO_BUFFERS = (1.0, 1.5, 2.0)
"""Alpha that take no third."""

HALF_TOLERANCE = 1e-4
"""What a row of the sparse map may sum to beside 1 where queries are half-precision numbers and nobody has looked:
weights that are rounded to such numbers are off by more."""

SMALLEST_CHUNK = 64 * 1024
"""Where an accelerator's memory runs out, chunks get smaller, down to this."""

FEWEST_QUERIES = 256
"""Of a head in a chunk, where it has them: where this and all heads are too much, heads are cut."""

BITS = math.log2(math.e)

PASSES = {1.5: (16, 6), 2.0: (16, 8), 1.25: (24, 14), 1.2: (27, 17), 1.75: (27, 17), 1.05: (22, 16)}
"""By alpha: reads and writes of all scores beside the solver's steps, the last look at the rows' sums counted here,
and in each step."""

_idle: list[dict[str, Tensor]] = []
"""CPU buffers that no call is using, by name: fresh memory costs more than a pass over it."""

KEPT = 1
"""Workspaces kept between calls, for all threads together: one generation runs at a time."""


class Chunked:
    """The kernel that runs everywhere."""

    name = "torch"

    def why_not(self, problem: Problem) -> str:
        """As `base.Kernel`: it takes everything."""
        return ""

    def plan(self, problem: Problem) -> bool:
        """As `base.Kernel`: whether the log-sum-exp is wanted."""
        return problem.lse

    def attend(
        self, launch: bool, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, mix: Mix, scale: float
    ) -> Result:
        """As `base.Kernel`. The result is laid out (B, Lq, H, Dv) in memory, as the hosts want it next."""
        lse = launch
        batch, heads, queries, _ = query.shape
        out = query.new_empty(batch, queries, heads, value.shape[3]).transpose(1, 2)
        row_lse = query.new_empty(batch, heads, queries, dtype=torch.float32) if lse else None
        if not out.numel():
            return Result(out, self.name, lse=row_lse)
        if mix.alpha == 1.5 and not mix.rescale and mask is None and not lse and _is_small(query, key, mix):
            _fill_small(out, query, key, value, mix, scale)
            return Result(out, self.name)
        limit = CHUNK_ELEMENTS.get(query.device.type, CHUNK_ELEMENTS_ACCELERATOR)
        look = looks(query.device)
        tolerance = newton.ROW_SUM_TOLERANCE if query.dtype == torch.float32 else HALF_TOLERANCE
        note = ""
        while True:
            try:
                sums = _fill(out, row_lse, query, key, value, mix, mask, scale, limit, look)
                if not sums or not newton.unsolved(torch.cat(sums), tolerance=tolerance).any():
                    return Result(out, self.name, note, row_lse)
                look = True
            except torch.cuda.OutOfMemoryError:
                if limit <= SMALLEST_CHUNK:
                    raise
                limit = max(limit // 4, SMALLEST_CHUNK)
                note = f"memory ran short: chunks of {limit} scores"


def _is_small(query: Tensor, key: Tensor, mix: Mix) -> bool:
    """Whether it isn't the numbers that take the time, but the operations."""
    few = query.shape[:3].numel() * key.shape[2] <= SMALL
    return few and looks(query.device) and 1e-6 < mix.temperature < 1e6


def _fill_small(out: Tensor, query: Tensor, key: Tensor, value: Tensor, mix: Mix, scale: float) -> None:
    """Alpha 1.5 without a mask in as few operations as can be, queries x keys."""
    logits = torch.matmul(query.float(), (key.float() * scale).transpose(2, 3))
    logits.sub_(logits.amax(-1, keepdim=True))
    root, slope = newton.few_rows(logits, mix.temperature)
    weights = torch.softmax(logits, -1).mul_(mix.dense).addcmul_(root, root, value=mix.scale * slope * slope)
    out.copy_(torch.matmul(weights, value.float()))


def looks(device: torch.device) -> bool:
    """Whether a look at a number costs nothing on this device."""
    return device.type == "cpu"


def _fill(
    out: Tensor,
    row_lse: Tensor | None,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mix: Mix,
    mask: Tensor | None,
    scale: float,
    limit: int,
    look: bool,
) -> list[Tensor]:
    """Write the attention into `out`, and the rows' log-sum-exp into `row_lse`, in chunks of at most `limit` scores.

    Gives the sums of the sparse map's rows, flat, in no order, of chunks that nobody looked at.
    """
    batch, heads, queries, dim = query.shape
    keys, value_dim = value.shape[2:]
    direct = query.device.type in newton.DIRECT
    # half-precision keys lose nothing where the host lets CUDA round fp32 factors to TF32, as A1111 does; scaled ones
    # would
    key, factor = (key.float(), scale * BITS) if direct else (key.float() * (scale * BITS), 1.0)
    value = value.float()
    mask = None if mask is None else mask.expand(batch, heads, queries, keys)
    blend = _rescaled if mix.rescale else _blended
    sums: list[Tensor] = []
    if mix.alpha not in TWO_BUFFERS:
        limit = max(1, limit * 2 // 3)
    with _Workspace(query.device) as workspace:
        for b, h, q in _chunks(batch, heads, queries, max(keys, dim, value_dim), limit, together=direct):
            part_mask = None if mask is None else mask[b, h, q].flatten(0, 1)
            logits, top, dead = _logits(query[b, h, q], key[b, h], factor, part_mask, workspace)
            sparse = _sparse(logits, mix, workspace, look)
            if sparse.sums is not None and not look:
                sums.append(sparse.sums.flatten())
            partition = blend(logits, sparse, dead, value[b, h], mix, workspace, out[b, h, q])
            if row_lse is not None:
                place = row_lse[b, h, q]
                place.copy_(partition.log2_().add_(top).div_(BITS).view(place.shape))
    return sums


def _chunks(
    batch: int, heads: int, queries: int, width: int, limit: int, together: bool = True
) -> Iterator[tuple[slice, slice, slice]]:
    """Cut the batch, then the queries, then the heads, until `width` numbers a query are at most `limit`.

    together: whether entries of the batch may be in one chunk.
    """
    fits = max(1, limit // width)
    batch_step = batch if together and batch * heads * queries <= fits else 1
    head_step = _even(heads, fits // min(queries, FEWEST_QUERIES))
    rows = _even(queries, fits // (batch_step * head_step), 16)
    for b in range(0, batch, batch_step):
        for h in range(0, heads, head_step):
            for q in range(0, queries, rows):
                yield (
                    slice(b, min(b + batch_step, batch)),
                    slice(h, min(h + head_step, heads)),
                    slice(q, min(q + rows, queries)),
                )


def _even(total: int, most: int, multiple: int = 1) -> int:
    """The size of parts of `total`, as few and as even as sizes of at most `most` allow.

    With a multiple, not one of 256: rows that lie so far apart in memory share their places in the cache.
    """
    if total <= most or most <= 1:
        return max(1, min(total, most))
    multiple = min(multiple, most)
    most -= most % multiple
    size = -(-total // -(-total // most))
    size = -(-size // multiple) * multiple
    return size + multiple if multiple > 1 and size % 256 == 0 and size < most else size


class _Workspace:
    """The fp32 buffers of one call. On a CPU they come from, and go back to, those that are kept between calls;
    accelerators keep their memory themselves."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._held: dict[str, Tensor] = {}

    def __enter__(self) -> _Workspace:
        if self.device.type == "cpu":
            with suppress(IndexError):  # another thread may take the last
                self._held = _idle.pop()
        return self

    def __exit__(self, *error: object) -> None:
        if self.device.type == "cpu":
            _idle.append(self._held)
            del _idle[KEPT:]  # in this order no two threads keep too many
        self._held = {}

    def buffer(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """Contents undefined; the same memory for the same name."""
        if self.device.type != "cpu":
            return torch.empty(shape, device=self.device)
        size = math.prod(shape)
        held = self._held.get(name)
        if held is None or held.numel() < size:
            with torch.inference_mode(False):  # usable in and out of that mode
                held = self._held[name] = torch.empty(size)
        return held[:size].view(shape)

    def scores(self, name: str, groups: int, keys: int, queries: int) -> Tensor:
        """(groups, keys, queries), whose rows don't lie apart by a distance at which they share places in a CPU's
        cache."""
        apart = queries + (16 if looks(self.device) and queries % 512 == 0 else 0)
        return self.buffer(name, (groups, keys, apart))[:, :, :queries]


def release_buffers() -> None:
    """Give back what is kept from call to call: at most four times CHUNK_ELEMENTS fp32 numbers."""
    _idle.clear()


def _logits(
    query: Tensor, key: Tensor, factor: float, mask: Tensor | None, workspace: _Workspace
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Shifted logits in bits, which are `factor` times the products, transposed: (G, keys, queries), by how much they
    were, and which queries have no key left: (G, 1, queries). query: (B, H, queries, D). key: (B, H, keys, D), fp32.
    mask: (G, queries, keys)."""
    batch, heads, queries, _ = query.shape
    logits = workspace.scores("logits", batch * heads, key.shape[2], queries)
    for entry, part in _entries(key):
        rows = query[entry].float().transpose(1, 2)
        if factor == 1.0:
            torch.bmm(key[entry], rows, out=logits[part])
        else:  # beta 0: what was there counts for nothing
            torch.baddbmm(logits[part], key[entry], rows, beta=0, alpha=factor, out=logits[part])
    if mask is not None:
        _apply_mask_(logits, mask.transpose(1, 2))
    top = logits.amax(1, keepdim=True)
    logits.sub_(top)
    if mask is None:
        return logits, top, None
    dead = top == -math.inf
    return logits.masked_fill_(dead, 0.0), top, dead


@dataclass
class _Sparse:
    """lambda entmax(z / temperature) as weights times factor. sums: as `newton.Solution`."""

    weights: Tensor
    factor: Tensor | float
    sums: Tensor | None = None


def _sparse(logits: Tensor, mix: Mix, workspace: _Workspace, look: bool) -> _Sparse:
    """The logits are left as they are."""
    work = workspace.scores("work", *logits.shape)
    if mix.alpha == 1.0:
        weights = torch.mul(logits, 1.0 / mix.temperature, out=work).exp2_()
        return _Sparse(weights, mix.scale / newton.row_sums(weights, 1))
    solution = newton.solve(
        logits,
        mix.alpha,
        1,
        temperature=mix.temperature * BITS,
        work=work,
        spare=None if mix.alpha in TWO_BUFFERS else workspace.scores("spare", *logits.shape),
        look=look,
    )
    return _Sparse(solution.weights, mix.scale * solution.factor, solution.sums)


def _blended(
    logits: Tensor,
    sparse: _Sparse,
    dead: Tensor | None,
    value: Tensor,
    mix: Mix,
    workspace: _Workspace,
    target: Tensor,
) -> Tensor:
    """lambda entmax V + (1 - lambda) softmax V in one product, into `target`; gives sum(e).

    With e = exp(z - max z): (1 - lambda) / sum(e) * (e + lambda sum(e) / (1 - lambda) entmax), which
    saves a pass, as the result has fewer columns than there are keys.
    """
    weights = sparse.weights
    partition = newton.row_sums(logits.exp2_(), 1)
    if mix.dense == 0.0:
        row_scale = torch.full_like(partition, 1.0).mul_(sparse.factor)
    else:
        weights = logits.addcmul_(weights, partition * (sparse.factor / mix.dense))
        row_scale = mix.dense / partition
    if dead is not None:
        row_scale.masked_fill_(dead, 0.0)
    for entry, part in _entries(value):
        product = _product("product", weights[part], value[entry], workspace)
        if target.device.type in newton.DIRECT:
            torch.mul(product, row_scale[part].transpose(1, 2), out=target[entry])
        else:
            target[entry].copy_(product.mul_(row_scale[part].transpose(1, 2)))
    return partition


def _rescaled(
    logits: Tensor,
    sparse: _Sparse,
    dead: Tensor | None,
    value: Tensor,
    mix: Mix,
    workspace: _Workspace,
    target: Tensor,
) -> Tensor:
    """The same with each query's output brought back towards its dense norm, so the dense one is needed as well."""
    factor = torch.full_like(logits[:, :1], 1.0).mul_(sparse.factor)
    partition = newton.row_sums(logits.exp2_(), 1)
    for entry, part in _entries(value):
        out = _product("product", sparse.weights[part], value[entry], workspace).mul_(factor[part].transpose(1, 2))
        dense = _product("dense", logits[part], value[entry], workspace).div_(partition[part].transpose(1, 2))
        out.add_(dense, alpha=1.0 - mix.scale)
        norm = out.norm(dim=-1, keepdim=True)
        stretch = dense.norm(dim=-1, keepdim=True).div_(norm).mul_(mix.rescale).add_(1.0 - mix.rescale)
        out.mul_(stretch.masked_fill_(norm == 0, 1.0))
        if mix.change:
            out.sub_(dense)
        if dead is not None:
            out.masked_fill_(dead[part].transpose(1, 2), 0.0)
        target[entry].copy_(out)
    return partition


def _entries(value: Tensor) -> Iterator[tuple[int, slice]]:
    """Each batch entry with its heads' places among those of all: several entries' don't make a batch of products."""
    batch, heads = value.shape[:2]
    for entry in range(batch):
        yield entry, slice(entry * heads, (entry + 1) * heads)


def _product(name: str, weights: Tensor, value: Tensor, workspace: _Workspace) -> Tensor:
    """weights^T V: (H, keys, queries) and (H, keys, Dv) to (H, queries, Dv), in a buffer of that name."""
    product = workspace.buffer(name, (weights.shape[0], weights.shape[2], value.shape[2]))
    return torch.bmm(weights.transpose(1, 2), value, out=product)


def _apply_mask_(logits: Tensor, mask: Tensor) -> None:
    """Bool: True takes part, False gives -inf. Float: added, in bits."""
    if mask.dtype == torch.bool:
        logits.masked_fill_(~mask, -math.inf)
    else:
        logits.add_(mask, alpha=BITS)
