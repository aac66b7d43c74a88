# mypy: disallow-untyped-defs=false, disallow-incomplete-defs=false
"""PLADIS attention as one Triton kernel: scores, both maps, blend and P V without leaving the chip.

One program computes BLOCK_M queries of a head. It holds their scores with all keys in registers, in up to five parts
(see `triton_entmax`), in base 2: y = log2(e) (z - max z). A text has few keys, so there is no loop over blocks of keys;
the only loop takes more Newton steps if the first ones were not enough.

The head dimension is one tile of a power of two, or two of them if that needs less padding.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .triton_entmax import inverse, log2, max_parts, solve, sum_parts, sum_squares, terms


@triton.jit
def _load(pointer, offsets, inside, MASKED: tl.constexpr):
    """A tile of memory; zeros where `inside` is False."""
    if MASKED:
        tile = tl.load(pointer + offsets, mask=inside, other=0)
    else:
        tile = tl.load(pointer + offsets)
    return tile


@triton.jit
def _product(a, b, start, WIDEN: tl.constexpr):
    """start + a b in fp32, without TF32."""
    if WIDEN:
        a = a.to(tl.float32)
        b = b.to(tl.float32)
    return tl.dot(a, b, start, input_precision="ieee")


@triton.jit
def _scores(q0, q1, key, bias, stride_kn, stride_kd, stride_mm, stride_mn, local, hidden, unscale, keys, first_part,
            PART: tl.constexpr, PARTS: tl.constexpr, WIDTH: tl.constexpr,
            MASK: tl.constexpr, KEY_MASK: tl.constexpr, CONTIGUOUS_MASK: tl.constexpr,
            HEAD_DIM: tl.constexpr, BLOCK_D0: tl.constexpr, BLOCK_D1: tl.constexpr, BLOCK_M: tl.constexpr,
            WIDEN: tl.constexpr):  # fmt: skip
    """q k^T + mask / scale of one part, (BLOCK_M, WIDTH); from PARTS on, the first part. The mask is the initial value
    of the accumulator: added afterwards it would impose its own register layout on everything that follows."""
    if PART >= PARTS:
        z = first_part
    else:
        LAST: tl.constexpr = PART == PARTS - 1
        columns = PART * WIDTH + tl.arange(0, WIDTH)
        in_keys = columns < keys
        if CONTIGUOUS_MASK:
            stride_mn = 1
        if MASK == 0:
            z = tl.zeros([BLOCK_M, WIDTH], dtype=tl.float32)
        else:
            if KEY_MASK:
                entries = _load(bias, columns * stride_mn, in_keys, LAST)
            else:
                entries = _load(bias, local[:, None] * stride_mm + columns[None, :] * stride_mn, in_keys[None, :], LAST)
            if MASK == 1:
                z = tl.where(entries != 0, 0.0, hidden)
            else:
                z = entries.to(tl.float32) * unscale
            if KEY_MASK:
                z = tl.zeros([BLOCK_M, WIDTH], dtype=tl.float32) + z[None, :]
        d0 = tl.arange(0, BLOCK_D0)
        offsets = columns[None, :] * stride_kn + d0[:, None] * stride_kd
        inside = in_keys[None, :] & (d0[:, None] < HEAD_DIM)
        z = _product(q0, _load(key, offsets, inside, LAST or BLOCK_D0 > HEAD_DIM), z, WIDEN)
        if BLOCK_D1 > 0:
            d1 = BLOCK_D0 + tl.arange(0, BLOCK_D1)
            offsets = columns[None, :] * stride_kn + d1[:, None] * stride_kd
            inside = in_keys[None, :] & (d1[:, None] < HEAD_DIM)
            z = _product(q1, _load(key, offsets, inside, LAST or BLOCK_D0 + BLOCK_D1 > HEAD_DIM), z, WIDEN)
        if LAST:
            z = tl.where(in_keys[None, :], z, -float("inf"))
    return z


@triton.jit
def _exponentials(y0, y1, y2, y3, y4, factor):
    """2^(factor y), part by part."""
    e0 = tl.math.exp2(y0 * factor)
    e1 = tl.math.exp2(y1 * factor)
    e2 = tl.math.exp2(y2 * factor)
    e3 = tl.math.exp2(y3 * factor)
    e4 = tl.math.exp2(y4 * factor)
    return e0, e1, e2, e3, e4


@triton.jit
def _add_product(r, w, value, stride_vn, stride_vd, keys, PART: tl.constexpr, PARTS: tl.constexpr, WIDTH: tl.constexpr,
                 HEAD_DIM: tl.constexpr, START: tl.constexpr, BLOCK_V: tl.constexpr, WIDEN: tl.constexpr):  # fmt: skip
    """r + w V of one part; from PARTS on, r."""
    if PART < PARTS:
        columns = PART * WIDTH + tl.arange(0, WIDTH)
        d = START + tl.arange(0, BLOCK_V)
        offsets = columns[:, None] * stride_vn + d[None, :] * stride_vd
        inside = (columns[:, None] < keys) & (d[None, :] < HEAD_DIM)
        tile = _load(value, offsets, inside, PART == PARTS - 1 or START + BLOCK_V > HEAD_DIM)
        r = _product(w.to(value.dtype.element_ty), tile, r, WIDEN)
    return r


@triton.jit
def _apply(w0, w1, w2, w3, w4, value, stride_vn, stride_vd, keys, PARTS: tl.constexpr, WIDTH: tl.constexpr,
           HEAD_DIM: tl.constexpr, START: tl.constexpr, BLOCK_V: tl.constexpr, BLOCK_M: tl.constexpr,
           WIDEN: tl.constexpr):  # fmt: skip
    """The columns of w V from START on, (BLOCK_M, BLOCK_V)."""
    r = tl.zeros([BLOCK_M, BLOCK_V], dtype=tl.float32)
    r = _add_product(r, w0, value, stride_vn, stride_vd, keys, 0, PARTS, WIDTH, HEAD_DIM, START, BLOCK_V, WIDEN)
    r = _add_product(r, w1, value, stride_vn, stride_vd, keys, 1, PARTS, WIDTH, HEAD_DIM, START, BLOCK_V, WIDEN)
    r = _add_product(r, w2, value, stride_vn, stride_vd, keys, 2, PARTS, WIDTH, HEAD_DIM, START, BLOCK_V, WIDEN)
    r = _add_product(r, w3, value, stride_vn, stride_vd, keys, 3, PARTS, WIDTH, HEAD_DIM, START, BLOCK_V, WIDEN)
    return _add_product(r, w4, value, stride_vn, stride_vd, keys, 4, PARTS, WIDTH, HEAD_DIM, START, BLOCK_V, WIDEN)


@triton.jit
def _apply_tiles(w0, w1, w2, w3, w4, value, stride_vn, stride_vd, keys, PARTS: tl.constexpr, WIDTH: tl.constexpr,
                 HEAD_DIM: tl.constexpr, BLOCK_V0: tl.constexpr, BLOCK_V1: tl.constexpr, BLOCK_M: tl.constexpr,
                 WIDEN: tl.constexpr):  # fmt: skip
    """w V in two tiles, (BLOCK_M, BLOCK_V0) and (BLOCK_M, BLOCK_V1); the first tile twice if there is no second."""
    r0 = _apply(
        w0, w1, w2, w3, w4, value, stride_vn, stride_vd, keys, PARTS, WIDTH, HEAD_DIM, 0, BLOCK_V0, BLOCK_M, WIDEN
    )
    r1 = r0
    if BLOCK_V1 > 0:
        r1 = _apply(
            w0, w1, w2, w3, w4, value, stride_vn, stride_vd, keys,
            PARTS, WIDTH, HEAD_DIM, BLOCK_V0, BLOCK_V1, BLOCK_M, WIDEN,
        )  # fmt: skip
    return r0, r1


INTEGERS = [
    f"stride_{tensor}{axis}"
    for tensor, axes in (("q", "bhmd"), ("k", "bhnd"), ("v", "bhnd"), ("m", "bhmn"), ("o", "bhmd"))
    for axis in axes
] + ["queries", "keys"]  # fmt: skip
"""The integer arguments. They are not specialized: compiling a kernel for each length of prompt would take too long."""


@triton.jit(do_not_specialize=INTEGERS)
def pladis_kernel(
    query, key_at, value, bias, out, lse,
    stride_qb, stride_qh, stride_qm, stride_qd,
    stride_kb, stride_kh, stride_kn, stride_kd,
    stride_vb, stride_vh, stride_vn, stride_vd,
    stride_mb, stride_mh, stride_mm, stride_mn,
    stride_ob, stride_oh, stride_om, stride_od,
    queries, keys,
    to_bits, hidden, one, unscale, pladis_scale, dense_scale, largest, rescale, inverse_temperature, slope,
    beta, g0, g1, g2, g3, g4, top, enough,
    UNIT: tl.constexpr, CONTIGUOUS_ROWS: tl.constexpr,
    MASK: tl.constexpr, KEY_MASK: tl.constexpr, CONTIGUOUS_MASK: tl.constexpr,
    PARTS: tl.constexpr, WIDTH: tl.constexpr, BLOCK_M: tl.constexpr,
    HEAD_DIM: tl.constexpr, BLOCK_D0: tl.constexpr, BLOCK_D1: tl.constexpr,
    HEAD_DIM_V: tl.constexpr, BLOCK_V0: tl.constexpr, BLOCK_V1: tl.constexpr,
    TEMPERED: tl.constexpr, HALVES: tl.constexpr, FAST_LOG: tl.constexpr,
    FAST: tl.constexpr, EXACT: tl.constexpr, STEPS: tl.constexpr, KEEP: tl.constexpr,
    RESCALE: tl.constexpr, CHANGE: tl.constexpr, LSE: tl.constexpr, WIDEN: tl.constexpr,
):  # fmt: skip
    """Program (i, h, b): queries from i BLOCK_M on, of head h of batch entry b.

    out: (B, H, Lq, Dv) in any layout. lse: (B, H, Lq), contiguous, natural logarithm; stored if LSE.
    to_bits: scale log2(e). unscale: 1 / scale. hidden: -inf, what a bool mask adds. one: 1, unknown to the compiler, so
    that it does not keep the first exponentials. pladis_scale, dense_scale, largest: `Mix.factors`.
    """
    head = tl.program_id(1).to(tl.int64)
    batch = tl.program_id(2).to(tl.int64)
    first = (tl.program_id(0) * BLOCK_M).to(tl.int64)
    # strides are in units of UNIT elements: with 8 the compiler knows that rows are aligned to 16 bytes
    stride_qm = stride_qm * UNIT
    stride_kn = stride_kn * UNIT
    stride_vn = stride_vn * UNIT
    stride_om = stride_om * UNIT
    if CONTIGUOUS_ROWS:
        stride_qd = 1
        stride_kd = 1
        stride_vd = 1
        stride_od = 1
    query += (batch * UNIT) * stride_qb + (head * UNIT) * stride_qh + first * stride_qm
    key_at += (batch * UNIT) * stride_kb + (head * UNIT) * stride_kh
    value += (batch * UNIT) * stride_vb + (head * UNIT) * stride_vh
    out += (batch * UNIT) * stride_ob + (head * UNIT) * stride_oh + first * stride_om
    if MASK != 0:
        bias += batch * stride_mb + head * stride_mh + first * stride_mm
    local = tl.arange(0, BLOCK_M)
    left = queries - tl.program_id(0) * BLOCK_M
    in_rows = local < left
    mask_rows = tl.minimum(local, left - 1)

    d0 = tl.arange(0, BLOCK_D0)
    q0 = tl.load(
        query + local[:, None] * stride_qm + d0[None, :] * stride_qd,
        mask=in_rows[:, None] & (d0[None, :] < HEAD_DIM),
        other=0.0,
    )
    q1 = q0
    if BLOCK_D1 > 0:
        d1 = BLOCK_D0 + tl.arange(0, BLOCK_D1)
        q1 = tl.load(
            query + local[:, None] * stride_qm + d1[None, :] * stride_qd,
            mask=in_rows[:, None] & (d1[None, :] < HEAD_DIM),
            other=0.0,
        )
    y0 = _scores(
        q0, q1, key_at, bias, stride_kn, stride_kd, stride_mm, stride_mn, mask_rows, hidden, unscale, keys, q0,
        0, PARTS, WIDTH, MASK, KEY_MASK, CONTIGUOUS_MASK, HEAD_DIM, BLOCK_D0, BLOCK_D1, BLOCK_M, WIDEN,
    )  # fmt: skip
    y1 = _scores(
        q0, q1, key_at, bias, stride_kn, stride_kd, stride_mm, stride_mn, mask_rows, hidden, unscale, keys, y0,
        1, PARTS, WIDTH, MASK, KEY_MASK, CONTIGUOUS_MASK, HEAD_DIM, BLOCK_D0, BLOCK_D1, BLOCK_M, WIDEN,
    )  # fmt: skip
    y2 = _scores(
        q0, q1, key_at, bias, stride_kn, stride_kd, stride_mm, stride_mn, mask_rows, hidden, unscale, keys, y0,
        2, PARTS, WIDTH, MASK, KEY_MASK, CONTIGUOUS_MASK, HEAD_DIM, BLOCK_D0, BLOCK_D1, BLOCK_M, WIDEN,
    )  # fmt: skip
    y3 = _scores(
        q0, q1, key_at, bias, stride_kn, stride_kd, stride_mm, stride_mn, mask_rows, hidden, unscale, keys, y0,
        3, PARTS, WIDTH, MASK, KEY_MASK, CONTIGUOUS_MASK, HEAD_DIM, BLOCK_D0, BLOCK_D1, BLOCK_M, WIDEN,
    )  # fmt: skip
    y4 = _scores(
        q0, q1, key_at, bias, stride_kn, stride_kd, stride_mm, stride_mn, mask_rows, hidden, unscale, keys, y0,
        4, PARTS, WIDTH, MASK, KEY_MASK, CONTIGUOUS_MASK, HEAD_DIM, BLOCK_D0, BLOCK_D1, BLOCK_M, WIDEN,
    )  # fmt: skip

    row_max = max_parts(y0, y1, y2, y3, y4)
    if MASK == 0:
        level = row_max * to_bits
    else:
        level = tl.where(row_max == -float("inf"), 0.0, row_max * to_bits)
    y0 = y0 * to_bits - level[:, None]
    y1 = y1 * to_bits - level[:, None]
    y2 = y2 * to_bits - level[:, None]
    y3 = y3 * to_bits - level[:, None]
    y4 = y4 * to_bits - level[:, None]
    e0, e1, e2, e3, e4 = _exponentials(y0, y1, y2, y3, y4, 1.0)
    partition = sum_parts(e0, e1, e2, e3, e4, PARTS)
    if MASK != 0:
        partition = tl.maximum(partition, 1.0)
    if LSE:
        row_lse = (level + log2(partition, FAST_LOG)) * 0.6931471805599453
        if MASK != 0:
            row_lse = tl.where(row_max == -float("inf"), row_max, row_lse)
        lse += (batch * tl.num_programs(1) + head) * queries + first
        tl.store(lse + local, row_lse, mask=in_rows)

    if TEMPERED:
        s0, s1, s2, s3, s4 = _exponentials(y0, y1, y2, y3, y4, inverse_temperature)
        total = tl.maximum(sum_parts(s0, s1, s2, s3, s4, PARTS), 1.0)
        second = sum_squares(s0, s1, s2, s3, s4, PARTS)
    else:
        total = partition
        second = sum_squares(e0, e1, e2, e3, e4, PARTS)
    if MASK != 0:
        second = tl.maximum(second, 1.0)
    tau = solve(
        y0, y1, y2, y3, y4, total, second, slope, beta, g0, g1, g2, g3, g4, top, enough,
        MASK != 0, HALVES, FAST_LOG, FAST, EXACT, STEPS, PARTS, WIDTH,
    )  # fmt: skip
    p0, p1, p2, p3, p4, _ = terms(y0, y1, y2, y3, y4, tau, slope, beta, HALVES, FAST_LOG, PARTS)
    if not KEEP:  # computed again: the registers were needed while solving for tau
        e0, e1, e2, e3, e4 = _exponentials(y0, y1, y2, y3, y4, one)

    if RESCALE:
        a0, a1 = _apply_tiles(
            p0, p1, p2, p3, p4, value, stride_vn, stride_vd, keys,
            PARTS, WIDTH, HEAD_DIM_V, BLOCK_V0, BLOCK_V1, BLOCK_M, WIDEN,
        )  # fmt: skip
        r0, r1 = _apply_tiles(
            e0, e1, e2, e3, e4, value, stride_vn, stride_vd, keys,
            PARTS, WIDTH, HEAD_DIM_V, BLOCK_V0, BLOCK_V1, BLOCK_M, WIDEN,
        )  # fmt: skip
        r0 = r0 * inverse(partition)[:, None]
        a0 = a0 * pladis_scale + r0 * dense_scale
        norm = tl.sum(a0 * a0, 1)
        dense_norm = tl.sum(r0 * r0, 1)
        if BLOCK_V1 > 0:
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
        # (lambda partition p + (1 - lambda) e) / partition, divided after the product with the values
        of_p = (pladis_scale * partition)[:, None]
        w0 = p0 * of_p + e0 * dense_scale
        w1 = p1 * of_p + e1 * dense_scale
        w2 = p2 * of_p + e2 * dense_scale
        w3 = p3 * of_p + e3 * dense_scale
        w4 = p4 * of_p + e4 * dense_scale
        r0, r1 = _apply_tiles(
            w0, w1, w2, w3, w4, value, stride_vn, stride_vd, keys,
            PARTS, WIDTH, HEAD_DIM_V, BLOCK_V0, BLOCK_V1, BLOCK_M, WIDEN,
        )  # fmt: skip
        row_scale = (largest * inverse(partition))[:, None]
        r0 = r0 * row_scale
        r1 = r1 * row_scale

    d0 = tl.arange(0, BLOCK_V0)
    tl.store(
        out + local[:, None] * stride_om + d0[None, :] * stride_od,
        r0.to(out.dtype.element_ty),
        mask=in_rows[:, None] & (d0[None, :] < HEAD_DIM_V),
    )
    if BLOCK_V1 > 0:
        d1 = BLOCK_V0 + tl.arange(0, BLOCK_V1)
        tl.store(
            out + local[:, None] * stride_om + d1[None, :] * stride_od,
            r1.to(out.dtype.element_ty),
            mask=in_rows[:, None] & (d1[None, :] < HEAD_DIM_V),
        )
