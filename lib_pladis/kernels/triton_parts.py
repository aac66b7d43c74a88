# mypy: disallow-untyped-defs=false, disallow-incomplete-defs=false
"""Rows of scores held as up to five parts of equal width, and the alpha-entmax of such rows.

Equal parts add up element by element before a row is summed across threads, so that a row of 77 keys costs
five parts of 16 columns and one exchange between threads, where one tile would be 128 wide. Triton before
3.3 has no tuples of tensors: the parts are written out, and those past PARTS are never looked at.
"""

from __future__ import annotations

import triton
import triton.language as tl

MOST_PARTS = 5


@triton.jit
def sum_parts(a0, a1, a2, a3, a4, PARTS: tl.constexpr):
    """The rows' sums."""
    total = a0
    if PARTS > 1:
        total += a1
    if PARTS > 2:
        total += a2
    if PARTS > 3:
        total += a3
    if PARTS > 4:
        total += a4
    return tl.sum(total, 1)


@triton.jit
def sum_squares(a0, a1, a2, a3, a4, PARTS: tl.constexpr):
    """The rows' sums of squares."""
    total = a0 * a0
    if PARTS > 1:
        total += a1 * a1
    if PARTS > 2:
        total += a2 * a2
    if PARTS > 3:
        total += a3 * a3
    if PARTS > 4:
        total += a4 * a4
    return tl.sum(total, 1)


@triton.jit
def max_parts(a0, a1, a2, a3, a4, PARTS: tl.constexpr):
    """The rows' maxima."""
    top = a0
    if PARTS > 1:
        top = tl.maximum(top, a1)
    if PARTS > 2:
        top = tl.maximum(top, a2)
    if PARTS > 3:
        top = tl.maximum(top, a3)
    if PARTS > 4:
        top = tl.maximum(top, a4)
    return tl.max(top, 1)


@triton.jit
def at_least(y0, y1, y2, y3, y4, tau, PARTS: tl.constexpr):
    """max(y, tau), part by part."""
    x0 = tl.maximum(y0, tau[:, None])
    x1 = x0
    x2 = x0
    x3 = x0
    x4 = x0
    if PARTS > 1:
        x1 = tl.maximum(y1, tau[:, None])
    if PARTS > 2:
        x2 = tl.maximum(y2, tau[:, None])
    if PARTS > 3:
        x3 = tl.maximum(y3, tau[:, None])
    if PARTS > 4:
        x4 = tl.maximum(y4, tau[:, None])
    return x0, x1, x2, x3, x4


@triton.jit
def product(a, b, start, WIDEN: tl.constexpr):
    """start + a b in fp32, without TF32."""
    if WIDEN:
        a = a.to(tl.float32)
        b = b.to(tl.float32)
    return tl.dot(a, b, start, input_precision="ieee")
