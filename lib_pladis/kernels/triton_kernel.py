# mypy: disallow-untyped-defs=false, disallow-incomplete-defs=false
"""PLADIS attention as one Triton kernel: scores, both maps, blend and P V without leaving the chip.

One program holds the scores of BLOCK_M queries with all keys in registers, as up to five parts (see
`triton_parts`), in bits: y = log2(e) (z - max z). The text's keys are few, so nothing is streamed and no
loop is left but the one that takes more Newton steps where the first ones were not enough.

The head dimension is a tile of a power of two and, where that pads less, a second one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl
from torch import Tensor

from .triton_entmax import inverse, log2, solve, terms
from .triton_parts import max_parts, product, sum_parts, sum_squares

if TYPE_CHECKING:
    from .triton_fused import Launch


@triton.jit
def _load(pointer, offsets, inside, MASKED: tl.constexpr):
    """A tile; zeros where it is not inside."""
    if MASKED:
        tile = tl.load(pointer + offsets, mask=inside, other=0)
    else:
        tile = tl.load(pointer + offsets)
    return tile


@triton.jit
def _scores(q0, q1, key, bias, k_l, k_d, m_l, m_k, local, hidden, unscale, keys,
            MASK: tl.constexpr, KEY_MASK: tl.constexpr, CONTIGUOUS_MASK: tl.constexpr,
            PART: tl.constexpr, WIDTH: tl.constexpr, LAST: tl.constexpr,
            DIM: tl.constexpr, D0: tl.constexpr, D1: tl.constexpr, BLOCK_M: tl.constexpr,
            WIDEN: tl.constexpr):  # fmt: skip
    """q k^T + mask / scale of one part: (BLOCK_M, WIDTH). The mask is what the product starts from: added
    afterwards it would bring its own layout into every line that follows."""
    columns = PART * WIDTH + tl.arange(0, WIDTH)
    in_keys = columns < keys
    if MASK == 0:
        z = tl.zeros([BLOCK_M, WIDTH], dtype=tl.float32)
    else:
        if CONTIGUOUS_MASK:
            m_k = 1
        if KEY_MASK:
            entries = _load(bias, columns * m_k, in_keys, LAST)
        else:
            entries = _load(bias, local[:, None] * m_l + columns[None, :] * m_k, in_keys[None, :], LAST)
        if MASK == 1:
            start = tl.where(entries != 0, 0.0, hidden)
        else:
            start = entries.to(tl.float32) * unscale
        if KEY_MASK:
            z = tl.zeros([BLOCK_M, WIDTH], dtype=tl.float32) + start[None, :]
        else:
            z = start
    d0 = tl.arange(0, D0)
    offsets = columns[None, :] * k_l + d0[:, None] * k_d
    inside = in_keys[None, :] & (d0[:, None] < DIM)
    z = product(q0, _load(key, offsets, inside, LAST or D0 > DIM), z, WIDEN)
    if D1 > 0:
        d1 = D0 + tl.arange(0, D1)
        offsets = columns[None, :] * k_l + d1[:, None] * k_d
        inside = in_keys[None, :] & (d1[:, None] < DIM)
        z = product(q1, _load(key, offsets, inside, LAST or D0 + D1 > DIM), z, WIDEN)
    if LAST:
        z = tl.where(in_keys[None, :], z, -float("inf"))
    return z


@triton.jit
def _exponentials(y0, y1, y2, y3, y4, factor, PARTS: tl.constexpr):
    """2^(factor y), part by part."""
    e0 = tl.math.exp2(y0 * factor)
    e1 = e0
    e2 = e0
    e3 = e0
    e4 = e0
    if PARTS > 1:
        e1 = tl.math.exp2(y1 * factor)
    if PARTS > 2:
        e2 = tl.math.exp2(y2 * factor)
    if PARTS > 3:
        e3 = tl.math.exp2(y3 * factor)
    if PARTS > 4:
        e4 = tl.math.exp2(y4 * factor)
    return e0, e1, e2, e3, e4


@triton.jit
def _apply(w, value, r0, r1, v_l, v_d, keys, PART: tl.constexpr, WIDTH: tl.constexpr, LAST: tl.constexpr,
           DIM: tl.constexpr, V0: tl.constexpr, V1: tl.constexpr, WIDEN: tl.constexpr):  # fmt: skip
    """The results so far, with w V of one part added; r1 is used where there is a second tile."""
    columns = PART * WIDTH + tl.arange(0, WIDTH)
    in_keys = columns < keys
    w = w.to(value.dtype.element_ty)
    d0 = tl.arange(0, V0)
    offsets = columns[:, None] * v_l + d0[None, :] * v_d
    inside = in_keys[:, None] & (d0[None, :] < DIM)
    r0 = product(w, _load(value, offsets, inside, LAST or V0 > DIM), r0, WIDEN)
    if V1 > 0:
        d1 = V0 + tl.arange(0, V1)
        offsets = columns[:, None] * v_l + d1[None, :] * v_d
        inside = in_keys[:, None] & (d1[None, :] < DIM)
        r1 = product(w, _load(value, offsets, inside, LAST or V0 + V1 > DIM), r1, WIDEN)
    return r0, r1


@triton.jit
def _apply_parts(w0, w1, w2, w3, w4, value, v_l, v_d, keys, PARTS: tl.constexpr, WIDTH: tl.constexpr,
                 DIM: tl.constexpr, V0: tl.constexpr, V1: tl.constexpr, BLOCK_M: tl.constexpr,
                 WIDEN: tl.constexpr):  # fmt: skip
    """w V: two tiles of (BLOCK_M, V0) and (BLOCK_M, V1)."""
    r0 = tl.zeros([BLOCK_M, V0], dtype=tl.float32)
    r1 = r0
    if V1 > 0:
        r1 = tl.zeros([BLOCK_M, V1], dtype=tl.float32)
    r0, r1 = _apply(w0, value, r0, r1, v_l, v_d, keys, 0, WIDTH, PARTS == 1, DIM, V0, V1, WIDEN)
    if PARTS > 1:
        r0, r1 = _apply(w1, value, r0, r1, v_l, v_d, keys, 1, WIDTH, PARTS == 2, DIM, V0, V1, WIDEN)
    if PARTS > 2:
        r0, r1 = _apply(w2, value, r0, r1, v_l, v_d, keys, 2, WIDTH, PARTS == 3, DIM, V0, V1, WIDEN)
    if PARTS > 3:
        r0, r1 = _apply(w3, value, r0, r1, v_l, v_d, keys, 3, WIDTH, PARTS == 4, DIM, V0, V1, WIDEN)
    if PARTS > 4:
        r0, r1 = _apply(w4, value, r0, r1, v_l, v_d, keys, 4, WIDTH, PARTS == 5, DIM, V0, V1, WIDEN)
    return r0, r1


INTEGERS = [
    f"{tensor}_{axis}" for tensor, axes in (("q", "bhld"), ("k", "bhld"), ("v", "bhld"), ("m", "bhlk"), ("o", "bhld"))
    for axis in axes
] + ["queries", "keys"]  # fmt: skip
"""Not compiled for by value: a kernel for each prompt's length is not worth its seconds."""


@triton.jit(do_not_specialize=INTEGERS)
def pladis_kernel(
    query, key_at, value, bias, out, lse,
    q_b, q_h, q_l, q_d,
    k_b, k_h, k_l, k_d,
    v_b, v_h, v_l, v_d,
    m_b, m_h, m_l, m_k,
    o_b, o_h, o_l, o_d,
    queries, keys,
    to_bits, hidden, unscale, pladis_scale, dense_scale, largest, rescale, inverse_temperature, slope,
    beta, g0, g1, g2, g3, g4, enough,
    UNIT: tl.constexpr, CONTIGUOUS_ROWS: tl.constexpr, FAR: tl.constexpr,
    MASK: tl.constexpr, KEY_MASK: tl.constexpr, CONTIGUOUS_MASK: tl.constexpr,
    PARTS: tl.constexpr, WIDTH: tl.constexpr, BLOCK_M: tl.constexpr,
    DIM: tl.constexpr, D0: tl.constexpr, D1: tl.constexpr,
    VALUE_DIM: tl.constexpr, V0: tl.constexpr, V1: tl.constexpr,
    TEMPERED: tl.constexpr, SOFTMAX: tl.constexpr, HALVES: tl.constexpr, LOG1P: tl.constexpr, FAST_LOG: tl.constexpr,
    FAST: tl.constexpr, EXACT: tl.constexpr, STEPS: tl.constexpr,
    RESCALE: tl.constexpr, CHANGE: tl.constexpr, LSE: tl.constexpr, WIDEN: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1).to(tl.int64)
    batch = tl.program_id(2).to(tl.int64)
    first = (tl.program_id(0) * BLOCK_M).to(tl.int64)
    if FAR:  # offsets inside one head need 64 bits
        q_l = q_l.to(tl.int64)
        k_l = k_l.to(tl.int64)
        v_l = v_l.to(tl.int64)
        m_l = m_l.to(tl.int64)
        o_l = o_l.to(tl.int64)
        q_d = q_d.to(tl.int64)
        k_d = k_d.to(tl.int64)
        v_d = v_d.to(tl.int64)
        m_k = m_k.to(tl.int64)
    # strides come in units: a multiple of 8 says that a row starts where 16 bytes can be read at once
    q_l = q_l * UNIT
    k_l = k_l * UNIT
    v_l = v_l * UNIT
    o_l = o_l * UNIT
    if CONTIGUOUS_ROWS:
        q_d = 1
        k_d = 1
        v_d = 1
        o_d = 1
    query += (batch * UNIT) * q_b + (head * UNIT) * q_h + first * q_l
    key_at += (batch * UNIT) * k_b + (head * UNIT) * k_h
    value += (batch * UNIT) * v_b + (head * UNIT) * v_h
    out += (batch * UNIT) * o_b + (head * UNIT) * o_h + first * o_l
    if MASK != 0:
        bias += batch * m_b + head * m_h + first * m_l
    local = tl.arange(0, BLOCK_M)
    left = queries - tl.program_id(0) * BLOCK_M
    in_rows = local < left
    mask_rows = tl.minimum(local, left - 1)

    d0 = tl.arange(0, D0)
    q0 = tl.load(
        query + local[:, None] * q_l + d0[None, :] * q_d, mask=in_rows[:, None] & (d0[None, :] < DIM), other=0.0
    )
    q1 = q0
    if D1 > 0:
        d1 = D0 + tl.arange(0, D1)
        q1 = tl.load(
            query + local[:, None] * q_l + d1[None, :] * q_d, mask=in_rows[:, None] & (d1[None, :] < DIM), other=0.0
        )
    y0 = _scores(
        q0, q1, key_at, bias, k_l, k_d, m_l, m_k, mask_rows, hidden, unscale, keys,
        MASK, KEY_MASK, CONTIGUOUS_MASK, 0, WIDTH, PARTS == 1, DIM, D0, D1, BLOCK_M, WIDEN,
    )  # fmt: skip
    y1 = y0
    y2 = y0
    y3 = y0
    y4 = y0
    if PARTS > 1:
        y1 = _scores(
            q0, q1, key_at, bias, k_l, k_d, m_l, m_k, mask_rows, hidden, unscale, keys,
            MASK, KEY_MASK, CONTIGUOUS_MASK, 1, WIDTH, PARTS == 2, DIM, D0, D1, BLOCK_M, WIDEN,
        )  # fmt: skip
    if PARTS > 2:
        y2 = _scores(
            q0, q1, key_at, bias, k_l, k_d, m_l, m_k, mask_rows, hidden, unscale, keys,
            MASK, KEY_MASK, CONTIGUOUS_MASK, 2, WIDTH, PARTS == 3, DIM, D0, D1, BLOCK_M, WIDEN,
        )  # fmt: skip
    if PARTS > 3:
        y3 = _scores(
            q0, q1, key_at, bias, k_l, k_d, m_l, m_k, mask_rows, hidden, unscale, keys,
            MASK, KEY_MASK, CONTIGUOUS_MASK, 3, WIDTH, PARTS == 4, DIM, D0, D1, BLOCK_M, WIDEN,
        )  # fmt: skip
    if PARTS > 4:
        y4 = _scores(
            q0, q1, key_at, bias, k_l, k_d, m_l, m_k, mask_rows, hidden, unscale, keys,
            MASK, KEY_MASK, CONTIGUOUS_MASK, 4, WIDTH, PARTS == 5, DIM, D0, D1, BLOCK_M, WIDEN,
        )  # fmt: skip

    top = max_parts(y0, y1, y2, y3, y4, PARTS)
    if MASK == 0:
        level = top * to_bits
    else:
        level = tl.where(top == -float("inf"), 0.0, top * to_bits)
    y0 = y0 * to_bits - level[:, None]
    if PARTS > 1:
        y1 = y1 * to_bits - level[:, None]
    if PARTS > 2:
        y2 = y2 * to_bits - level[:, None]
    if PARTS > 3:
        y3 = y3 * to_bits - level[:, None]
    if PARTS > 4:
        y4 = y4 * to_bits - level[:, None]
    e0, e1, e2, e3, e4 = _exponentials(y0, y1, y2, y3, y4, 1.0, PARTS)
    partition = sum_parts(e0, e1, e2, e3, e4, PARTS)
    if MASK != 0:
        partition = tl.maximum(partition, 1.0)
    if LSE:
        row_lse = (level + log2(partition, FAST_LOG)) * 0.6931471805599453
        if MASK != 0:
            row_lse = tl.where(top == -float("inf"), top, row_lse)
        lse += (batch * tl.num_programs(1) + head) * queries + first
        tl.store(lse + local, row_lse, mask=in_rows)

    if TEMPERED:
        s0, s1, s2, s3, s4 = _exponentials(y0, y1, y2, y3, y4, inverse_temperature, PARTS)
        total = tl.maximum(sum_parts(s0, s1, s2, s3, s4, PARTS), 1.0)
        second = sum_squares(s0, s1, s2, s3, s4, PARTS)
    else:
        s0 = e0
        s1 = e1
        s2 = e2
        s3 = e3
        s4 = e4
        total = partition
        second = sum_squares(e0, e1, e2, e3, e4, PARTS)
    if SOFTMAX:
        p0 = s0 * inverse(total)[:, None]
        p1 = s1 * inverse(total)[:, None]
        p2 = s2 * inverse(total)[:, None]
        p3 = s3 * inverse(total)[:, None]
        p4 = s4 * inverse(total)[:, None]
    else:
        if MASK != 0:
            second = tl.maximum(second, 1.0)
        tau = solve(
            y0, y1, y2, y3, y4, total, second, slope, beta, g0, g1, g2, g3, g4, enough,
            MASK != 0, HALVES, LOG1P, FAST_LOG, FAST, EXACT, STEPS, PARTS, WIDTH,
        )  # fmt: skip
        p0, p1, p2, p3, p4, _ = terms(y0, y1, y2, y3, y4, tau, slope, beta, HALVES, LOG1P, FAST_LOG, PARTS)

    if RESCALE:
        a0, a1 = _apply_parts(
            p0, p1, p2, p3, p4, value, v_l, v_d, keys, PARTS, WIDTH, VALUE_DIM, V0, V1, BLOCK_M, WIDEN
        )
        r0, r1 = _apply_parts(
            e0, e1, e2, e3, e4, value, v_l, v_d, keys, PARTS, WIDTH, VALUE_DIM, V0, V1, BLOCK_M, WIDEN
        )
        r0 = r0 * inverse(partition)[:, None]
        a0 = a0 * pladis_scale + r0 * dense_scale
        norm = tl.sum(a0 * a0, 1)
        dense_norm = tl.sum(r0 * r0, 1)
        if V1 > 0:
            r1 = r1 * inverse(partition)[:, None]
            a1 = a1 * pladis_scale + r1 * dense_scale
            norm += tl.sum(a1 * a1, 1)
            dense_norm += tl.sum(r1 * r1, 1)
        factor = (1.0 - rescale) + rescale * tl.sqrt(dense_norm / tl.maximum(norm, 1.0e-30))
        if CHANGE:
            r0 = a0 * factor[:, None] - r0
            r1 = a1 * factor[:, None] - r1
        else:
            r0 = a0 * factor[:, None]
            r1 = a1 * factor[:, None]
    else:
        # (lambda partition p + (1 - lambda) e) / partition: the division waits for the result
        of_p = (pladis_scale * partition)[:, None]
        w0 = p0 * of_p + e0 * dense_scale
        w1 = w0
        w2 = w0
        w3 = w0
        w4 = w0
        if PARTS > 1:
            w1 = p1 * of_p + e1 * dense_scale
        if PARTS > 2:
            w2 = p2 * of_p + e2 * dense_scale
        if PARTS > 3:
            w3 = p3 * of_p + e3 * dense_scale
        if PARTS > 4:
            w4 = p4 * of_p + e4 * dense_scale
        r0, r1 = _apply_parts(
            w0, w1, w2, w3, w4, value, v_l, v_d, keys, PARTS, WIDTH, VALUE_DIM, V0, V1, BLOCK_M, WIDEN
        )
        row_scale = (largest * inverse(partition))[:, None]
        r0 = r0 * row_scale
        r1 = r1 * row_scale

    d0 = tl.arange(0, V0)
    tl.store(
        out + local[:, None] * o_l + d0[None, :] * o_d,
        r0.to(out.dtype.element_ty),
        mask=in_rows[:, None] & (d0[None, :] < VALUE_DIM),
    )
    if V1 > 0:
        d1 = V0 + tl.arange(0, V1)
        tl.store(
            out + local[:, None] * o_l + d1[None, :] * o_d,
            r1.to(out.dtype.element_ty),
            mask=in_rows[:, None] & (d1[None, :] < VALUE_DIM),
        )


def launch(launch: Launch, tensors: tuple[Tensor, ...], numbers: tuple[float, ...]) -> None:
    """Run the kernel on the tensors' device, one program for each entry of the grid; arguments in its order."""
    with torch.cuda.device_of(tensors[0]):  # Triton launches on the current device
        pladis_kernel[launch.grid](*tensors, *launch.integers, *numbers, *launch.solver, **launch.constants)
