# mypy: disallow-untyped-defs=false, disallow-incomplete-defs=false
"""PLADIS attention in one Triton kernel: scores, both maps, blend and P V without leaving the chip.

One program holds the scores of BLOCK_M queries with all keys (up to 512, padded to a power of two)
in registers. The head dimension is walked in blocks, so that any of 40, 64, 80, 128, 160 fits in
shared memory and little is padded. tau is found by the Newton steps of `lib_pladis.sparse`, on all
rows of the block at once, until the worst has converged.

Needs Triton 2.1 or later, and a CUDA or ROCm device, or TRITON_INTERPRET=1 for Triton's interpreter.
Only this file imports Triton, and it is imported only when the kernel is used.
"""

from __future__ import annotations

import math
import os

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..sparse import FIRST_TAU, MAX_STEPS, ROW_SUM_TOLERANCE

SOFTMAX, SQUARE, LINEAR, GENERAL = 0, 1, 2, 3
"""How the sparse map is solved: alpha 1, 1.5, 2, and any other between 1 and 2."""

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
"""Triton's interpreter keeps bf16 as bits and would multiply those: it is given fp32."""

SHARED_BYTES = 32 * 1024
"""Largest block of keys or values. Turing and AMD cards have 64 KiB for both operands of a product."""

NO_MASK, BOOL_MASK, FLOAT_MASK = 0, 1, 2


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    pladis_scale: float,
    alpha: float,
    temperature: float,
    attn_mask: Tensor | None,
    scale: float,
) -> Tensor:
    """(lambda alpha-entmax(z / temperature) + (1 - lambda) softmax(z)) V, z = scale Q K^T + mask.

    Shapes of `scaled_dot_product_attention`, any strides, at most 512 keys. Scores, tau and both
    maps are fp32; the blended weights are cast to the dtype of value for P V, as fused softmax
    attention does. The result is laid out (B, Lq, H, Dv) in memory.
    """
    batch, heads, queries, head_dim = query.shape
    keys, value_dim = value.shape[2:]
    out = query.new_empty(batch, queries, heads, value_dim).transpose(1, 2)
    if out.numel() == 0:
        return out
    mask, mask_kind = query, NO_MASK
    mask_strides: tuple[int, ...] = (0, 0, 0, 0)
    if attn_mask is not None:
        mask_kind = BOOL_MASK if attn_mask.dtype == torch.bool else FLOAT_MASK
        mask = attn_mask.view(torch.uint8) if mask_kind == BOOL_MASK else attn_mask
        mask_strides = mask.expand(batch, heads, queries, keys).stride()
    block_m, block_n, num_warps = _tile(keys)
    block_d, block_v = (_block_of(dim, block_n * query.element_size()) for dim in (head_dim, value_dim))
    slope = max(alpha - 1.0, 1e-9) / temperature
    with torch.cuda.device_of(query):  # Triton launches on the current device
        _pladis_kernel[(triton.cdiv(queries, block_m), batch * heads)](
            query,
            key,
            value,
            mask,
            out,
            *query.stride(),
            *key.stride(),
            *value.stride(),
            *mask_strides,
            *out.stride(),
            heads,
            queries,
            keys,
            scale,
            pladis_scale,
            1.0 / temperature,
            slope,
            1.0 / max(alpha - 1.0, 1e-9),
            math.sqrt(ROW_SUM_TOLERANCE / keys) / slope,
            FIRST=FIRST_TAU,
            TOLERANCE=ROW_SUM_TOLERANCE,
            STEPS=MAX_STEPS,
            SOLVER={1.0: SOFTMAX, 1.5: SQUARE, 2.0: LINEAR}.get(alpha, GENERAL),
            MASK=mask_kind,
            HEAD_DIM=head_dim,
            VALUE_DIM=value_dim,
            BLOCK_M=block_m,
            BLOCK_N=block_n,
            BLOCK_D=block_d,
            BLOCK_V=block_v,
            WIDEN=query.dtype == torch.bfloat16 and INTERPRETED,
            num_warps=num_warps,
            num_stages=2 if block_n * block_d * query.element_size() <= SHARED_BYTES // 2 else 1,
        )
    return out


def _tile(keys: int) -> tuple[int, int, int]:
    """Queries and keys per program, and warps: about 64 scores a thread."""
    block_n = max(16, triton.next_power_of_2(keys))
    block_m = 64 if block_n <= 128 else 32
    return block_m, block_n, 4 if block_n <= 256 else 8


def _block_of(dim: int, column_bytes: int) -> int:
    """How much of a head dimension is taken at a time: what pads least, of blocks that leave room in shared memory."""
    blocks = [block for block in (64, 32) if block * column_bytes <= SHARED_BYTES]
    return min(blocks or [16], key=lambda block: -(-dim // block) * block)


@triton.jit
def _dot(a, b, WIDEN: tl.constexpr):
    """a b in fp32, without TF32."""
    if WIDEN:
        a = a.to(tl.float32)
        b = b.to(tl.float32)
    return tl.dot(a, b, allow_tf32=False)


@triton.jit
def _log1p(x):
    """log(1 + x), x >= -1, accurate near 0: 2 artanh(x / (2 + x)) by its series where that is short."""
    s = x / (2.0 + x)
    s2 = s * s
    near = 2.0 * s * (1.0 + s2 * (1.0 / 3 + s2 * (1.0 / 5 + s2 * (1.0 / 7 + s2 * (1.0 / 9)))))
    return tl.where(tl.abs(x) < 0.3, near, tl.log(1.0 + x))


@triton.jit
def _expm1(x):
    """exp(x) - 1, accurate near 0."""
    near = x * (1.0 + x / 2 * (1.0 + x / 3 * (1.0 + x / 4 * (1.0 + x / 5 * (1.0 + x / 6)))))
    return tl.where(tl.abs(x) < 0.25, near, tl.exp(x) - 1.0)


@triton.jit
def _entmax(
    z,
    slope,
    beta,
    enough,
    SOLVER: tl.constexpr,
    BLOCK_M: tl.constexpr,
    FIRST: tl.constexpr,
    TOLERANCE: tl.constexpr,
    STEPS: tl.constexpr,
):
    """alpha-entmax of the rows of z, whose maxima are 0 (a row of -inf gives zeros).

    The steps and when they may stop are those of `lib_pladis.sparse`; `enough` is the step of tau
    that is small enough for SOLVER 1. Triton 3.5 to 3.8 fail to compile a loop whose condition alone
    reads a result of it: hence the `worst < -1.0`, never true, after each.
    """
    radius = 1.0 / slope
    step = 0
    worst = 1.0e30
    if SOLVER == 1:
        offset = tl.zeros([BLOCK_M], dtype=tl.float32) - FIRST * radius
        while (step < STEPS) & (worst > enough):
            u = tl.maximum(z + offset[:, None], 0.0)
            first = tl.sum(u, 1)
            second = tl.sum(u * u, 1)
            delta = (second - radius * tl.sqrt(second)) / tl.where(first > 0, first, 1.0)
            offset = offset - delta
            worst = tl.max(tl.abs(delta), 0)
            step += 1
        offset = tl.where(worst < -1.0, 0.0, offset)
        u = tl.maximum(z + offset[:, None], 0.0) * slope
        p = u * u
    elif SOLVER == 2:
        offset = tl.zeros([BLOCK_M], dtype=tl.float32) - FIRST * radius
        while (step < STEPS) & (worst > TOLERANCE * radius):
            u = tl.maximum(z + offset[:, None], 0.0)
            count = tl.sum(tl.where(u > 0, 1.0, 0.0), 1)
            excess = tl.where(count > 0, tl.sum(u, 1) - radius, 0.0)
            offset = offset - excess / tl.maximum(count, 1.0)
            worst = tl.max(tl.abs(excess), 0)
            step += 1
        offset = tl.where(worst < -1.0, 0.0, offset)
        p = tl.maximum(z + offset[:, None], 0.0) * slope
    else:
        shift = tl.zeros([BLOCK_M], dtype=tl.float32)
        while (step < STEPS) & (worst > TOLERANCE):
            log_base = _log1p(tl.maximum(slope * z + shift[:, None], -1.0))
            mass = tl.sum(tl.exp(beta * log_base), 1)
            derivative = tl.sum(tl.exp((beta - 1.0) * log_base), 1)
            alive = mass > 0
            mass = tl.where(alive, mass, 1.0)
            slack = -mass * _expm1(tl.log(mass) * (-1.0 / beta))
            shift = shift - slack / tl.where(alive, derivative, 1.0)
            worst = tl.max(tl.abs(mass - 1.0), 0)
            step += 1
        shift = tl.where(worst < -1.0, 0.0, shift)
        p = tl.exp(beta * _log1p(tl.maximum(slope * z + shift[:, None], -1.0)))
    return p


@triton.jit
def _pladis_kernel(
    query,
    key,
    value,
    mask,
    out,
    q_b, q_h, q_l, q_d,
    k_b, k_h, k_l, k_d,
    v_b, v_h, v_l, v_d,
    m_b, m_h, m_l, m_k,
    o_b, o_h, o_l, o_d,
    heads,
    queries,
    keys,
    scale,
    pladis_scale,
    inverse_temperature,
    slope,
    beta,
    enough,
    FIRST: tl.constexpr,
    TOLERANCE: tl.constexpr,
    STEPS: tl.constexpr,
    SOLVER: tl.constexpr,
    MASK: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    VALUE_DIM: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_V: tl.constexpr,
    WIDEN: tl.constexpr,
):  # fmt: skip
    batch = (tl.program_id(1) // heads).to(tl.int64)
    head = (tl.program_id(1) % heads).to(tl.int64)
    query += batch * q_b + head * q_h
    key += batch * k_b + head * k_h
    value += batch * v_b + head * v_h
    out += batch * o_b + head * o_h

    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tl.arange(0, BLOCK_N)
    in_rows = rows[:, None] < queries
    in_keys = columns < keys
    long_rows = rows.to(tl.int64)

    z = tl.zeros([BLOCK_M, BLOCK_N], dtype=tl.float32)
    for start in range(0, HEAD_DIM, BLOCK_D):
        dims = start + tl.arange(0, BLOCK_D)
        q = tl.load(
            query + long_rows[:, None] * q_l + dims[None, :] * q_d,
            mask=in_rows & (dims[None, :] < HEAD_DIM),
            other=0.0,
        )
        k = tl.load(
            key + columns[None, :] * k_l + dims[:, None] * k_d,
            mask=in_keys[None, :] & (dims[:, None] < HEAD_DIM),
            other=0.0,
        )
        z += _dot(q, k, WIDEN)
    z *= scale
    if MASK != 0:
        mask += batch * m_b + head * m_h
        entries = tl.load(
            mask + long_rows[:, None] * m_l + columns[None, :] * m_k,
            mask=in_rows & in_keys[None, :],
            other=0,
        )
        if MASK == 1:
            z = tl.where(entries != 0, z, -float("inf"))
        else:
            z += entries.to(tl.float32)
    z = tl.where(in_keys[None, :], z, -float("inf"))

    top = tl.max(z, 1)
    z -= tl.where(top == -float("inf"), 0.0, top)[:, None]
    if SOLVER == 0:
        sparse = tl.exp(z * inverse_temperature)
        total = tl.sum(sparse, 1)
        sparse *= (1.0 / tl.where(total > 0, total, 1.0))[:, None]
    else:
        sparse = _entmax(z, slope, beta, enough, SOLVER, BLOCK_M, FIRST, TOLERANCE, STEPS)
    dense = tl.exp(z)
    partition = tl.sum(dense, 1)
    weights = pladis_scale * sparse
    weights += dense * ((1.0 - pladis_scale) / tl.where(partition > 0, partition, 1.0))[:, None]

    for start in range(0, VALUE_DIM, BLOCK_V):
        dims = start + tl.arange(0, BLOCK_V)
        in_dims = dims[None, :] < VALUE_DIM
        v = tl.load(
            value + columns[:, None] * v_l + dims[None, :] * v_d,
            mask=in_keys[:, None] & in_dims,
            other=0.0,
        )
        result = _dot(weights.to(v.dtype), v, WIDEN)
        tl.store(
            out + long_rows[:, None] * o_l + dims[None, :] * o_d,
            result.to(out.dtype.element_ty),
            mask=in_rows & in_dims,
        )
