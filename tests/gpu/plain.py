# mypy: ignore-errors
"""What the fused kernel's cost is held against: softmax attention alone, with the same tiles, loads and stores."""

from __future__ import annotations

import triton
import triton.language as tl

from lib_pladis.kernels.triton_entmax import inverse
from lib_pladis.kernels.triton_kernel import INTEGERS, _apply_parts, _exponentials, _scores
from lib_pladis.kernels.triton_parts import max_parts, sum_parts


@triton.jit(do_not_specialize=INTEGERS)
def plain_kernel(
    query, key_at, value, bias, out, lse,
    q_b, q_h, q_l, q_d,
    k_b, k_h, k_l, k_d,
    v_b, v_h, v_l, v_d,
    m_b, m_h, m_l, m_k,
    o_b, o_h, o_l, o_d,
    queries, keys, to_bits, hidden, unscale,
    UNIT: tl.constexpr, CONTIGUOUS_ROWS: tl.constexpr,
    MASK: tl.constexpr, KEY_MASK: tl.constexpr, CONTIGUOUS_MASK: tl.constexpr,
    PARTS: tl.constexpr, WIDTH: tl.constexpr, BLOCK_M: tl.constexpr,
    DIM: tl.constexpr, D0: tl.constexpr, D1: tl.constexpr,
    VALUE_DIM: tl.constexpr, V0: tl.constexpr, V1: tl.constexpr,
    WIDEN: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1).to(tl.int64)
    batch = tl.program_id(2).to(tl.int64)
    first = (tl.program_id(0) * BLOCK_M).to(tl.int64)
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
    level = top * to_bits
    if MASK != 0:
        level = tl.where(top == -float("inf"), 0.0, level)
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
    total = sum_parts(e0, e1, e2, e3, e4, PARTS)
    if MASK != 0:
        total = tl.maximum(total, 1.0)
    r0, r1 = _apply_parts(e0, e1, e2, e3, e4, value, v_l, v_d, keys, PARTS, WIDTH, VALUE_DIM, V0, V1, BLOCK_M, WIDEN)
    row_scale = inverse(total)
    d0 = tl.arange(0, V0)
    tl.store(
        out + local[:, None] * o_l + d0[None, :] * o_d,
        (r0 * row_scale[:, None]).to(out.dtype.element_ty),
        mask=in_rows[:, None] & (d0[None, :] < VALUE_DIM),
    )
    if V1 > 0:
        d1 = V0 + tl.arange(0, V1)
        tl.store(
            out + local[:, None] * o_l + d1[None, :] * o_d,
            (r1 * row_scale[:, None]).to(out.dtype.element_ty),
            mask=in_rows[:, None] & (d1[None, :] < VALUE_DIM),
        )


def launch(launch, tensors, numbers):
    """`triton_kernel.launch`, of this kernel."""
    known = {"num_warps", "num_stages", *plain_kernel.arg_names}
    constants = {name: value for name, value in launch.constants.items() if name in known}
    plain_kernel[launch.grid](*tensors, *launch.integers, *numbers[:3], **constants)
