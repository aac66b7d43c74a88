# mypy: disallow-untyped-defs=false, disallow-incomplete-defs=false
"""alpha-entmax of rows in up to five parts: p = x^beta, x = max(slope y - tau, 0), sum p = 1, beta = 1 / (alpha - 1).

Parts have equal width and are added element by element before a row is summed across threads: 77 keys need five parts
of 16 columns and one reduction, where a single tile would be 128 wide. Triton before 3.3 has no tuples of tensors, so
the parts are separate variables. Those from PARTS on are aliases of the first: the compiler computes them once, and
drops what is not used.

tau lies between -1 and 0. The first guess is a polynomial in (sum e^z)^(-1/4) and (sum e^2z)^(-1/4), fitted for each
alpha (`triton_fused.GUESSES`); softmax needs the first sum anyway. Then FAST Newton steps are taken without checking,
on s(tau)^(-gamma) with gamma = 1 / (2 beta), which is closer to a line near the root than the s^(1 / beta) of
`lib_pladis.math.newton`. If the last step of any row of the block was larger than `enough`, more steps follow, on
s^(1 / beta): these never pass the root from the left.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def add_parts(a0, a1, a2, a3, a4, PARTS: tl.constexpr):
    """The sum of the parts, element by element."""
    total = a0
    if PARTS > 1:
        total += a1
    if PARTS > 2:
        total += a2
    if PARTS > 3:
        total += a3
    if PARTS > 4:
        total += a4
    return total


@triton.jit
def sum_parts(a0, a1, a2, a3, a4, PARTS: tl.constexpr):
    """The sum of each row."""
    return tl.sum(add_parts(a0, a1, a2, a3, a4, PARTS), 1)


@triton.jit
def sum_squares(a0, a1, a2, a3, a4, PARTS: tl.constexpr):
    """The sum of squares of each row."""
    return sum_parts(a0 * a0, a1 * a1, a2 * a2, a3 * a3, a4 * a4, PARTS)


@triton.jit
def max_parts(a0, a1, a2, a3, a4):
    """The maximum of each row."""
    top = tl.maximum(tl.maximum(a0, a1), tl.maximum(tl.maximum(a2, a3), a4))
    return tl.max(top, 1)


@triton.jit
def log2(x, FAST_LOG: tl.constexpr):
    """log2 of x >= 0, -inf for 0. FAST_LOG: one approximate instruction in place of Triton's thirty."""
    if FAST_LOG:
        result = tl.inline_asm_elementwise(
            "lg2.approx.ftz.f32 $0, $1;", "=f,f", [x], dtype=tl.float32, is_pure=True, pack=1
        )
    else:
        result = tl.math.log2(x)
    return result


@triton.jit
def inverse(x):
    """1 / x for x > 0, without the special cases of a division."""
    root = tl.math.rsqrt(x)
    return root * root


@triton.jit
def _power(x, beta, HALVES: tl.constexpr, FAST_LOG: tl.constexpr):
    """x^(beta - 1) for x >= 0: by multiplications if beta - 1 is HALVES / 2, by logarithms if HALVES is -1."""
    if HALVES == -1:
        result = tl.math.exp2((beta - 1.0) * log2(x, FAST_LOG))
    elif HALVES == 0:
        result = tl.where(x > 0, 1.0, 0.0)
    elif HALVES == 1:
        result = tl.sqrt(x)
    else:
        result = x
        for _ in tl.static_range(HALVES // 2 - 1):
            result = result * x
        if HALVES % 2 == 1:
            result = result * tl.sqrt(x)
    return result


@triton.jit
def _term(y, tau, slope, beta, HALVES: tl.constexpr, FAST_LOG: tl.constexpr):
    """x^beta and x^(beta - 1) of one part."""
    x = tl.maximum(y * slope - tau[:, None], 0.0)
    derivative = _power(x, beta, HALVES, FAST_LOG)
    return x * derivative, derivative


@triton.jit
def terms(y0, y1, y2, y3, y4, tau, slope, beta, HALVES: tl.constexpr, FAST_LOG: tl.constexpr, PARTS: tl.constexpr):
    """x^beta of each part, and the element-wise sum of the parts' x^(beta - 1)."""
    p0, d0 = _term(y0, tau, slope, beta, HALVES, FAST_LOG)
    p1, d1 = _term(y1, tau, slope, beta, HALVES, FAST_LOG)
    p2, d2 = _term(y2, tau, slope, beta, HALVES, FAST_LOG)
    p3, d3 = _term(y3, tau, slope, beta, HALVES, FAST_LOG)
    p4, d4 = _term(y4, tau, slope, beta, HALVES, FAST_LOG)
    return p0, p1, p2, p3, p4, add_parts(d0, d1, d2, d3, d4, PARTS)


@triton.jit
def _guess(partition, second, g0, g1, g2, g3, g4):
    """The first guess of tau, from the sums of a row's exponentials and of their squares."""
    a = tl.sqrt(tl.math.rsqrt(partition))
    b = tl.sqrt(tl.math.rsqrt(second))
    return g0 + a * (g1 + g4 * b) + b * (g2 + g3 * b)


@triton.jit
def solve(y0, y1, y2, y3, y4, partition, second, slope, beta, g0, g1, g2, g3, g4, top, enough,
          GUARD: tl.constexpr, HALVES: tl.constexpr, FAST_LOG: tl.constexpr, FAST: tl.constexpr, EXACT: tl.constexpr,
          STEPS: tl.constexpr, PARTS: tl.constexpr, WIDTH: tl.constexpr):  # fmt: skip
    """tau of each row.

    y: parts of (rows, WIDTH), the maximum of a row is 0. partition, second: sums of the row's e^(z / temperature) and
    of their squares, both at least 1. top: the largest tau, that of a row of equal keys. enough: see
    `triton_fused.step_enough`. GUARD: rows may be fully masked. EXACT: at least one step is taken on sums of the terms
    themselves, which don't cancel.
    """
    tau = tl.minimum(_guess(partition, second, g0, g1, g2, g3, g4), top)
    step = tau
    for _ in tl.static_range(FAST):
        if HALVES == 2:
            # sum x and sum x^2 from m = max(y, tau / slope), including keys outside the support
            level = (tau * (1.0 / slope))[:, None]
            m0 = tl.maximum(y0, level)
            m1 = tl.maximum(y1, level)
            m2 = tl.maximum(y2, level)
            m3 = tl.maximum(y3, level)
            m4 = tl.maximum(y4, level)
            level = tau * (1.0 / slope)
            first = sum_parts(m0, m1, m2, m3, m4, PARTS)
            squares = sum_squares(m0, m1, m2, m3, m4, PARTS)
            all_first = first - level * (PARTS * WIDTH)
            derivative = all_first * slope
            mass = (squares - level * (first + all_first)) * (slope * slope)
        else:
            p0, p1, p2, p3, p4, total = terms(y0, y1, y2, y3, y4, tau, slope, beta, HALVES, FAST_LOG, PARTS)
            mass = sum_parts(p0, p1, p2, p3, p4, PARTS)
            derivative = tl.sum(total, 1)
        if GUARD:
            mass = tl.maximum(mass, 1.0e-12)
            derivative = tl.maximum(derivative, 1.0e-12)
        if HALVES == 0:
            step = (mass - 1.0) * inverse(derivative)
        else:
            if HALVES == 2:
                inverse_root = tl.sqrt(tl.math.rsqrt(mass))
            else:
                inverse_root = tl.math.exp2(log2(mass, FAST_LOG) * (-0.5 / beta))
            step = (mass - mass * inverse_root) * (2.0 * inverse(derivative))
        tau = tl.minimum(tau + step, top)
    if EXACT:
        worst = 1.0e30
    else:
        worst = tl.max(tl.abs(step), 0)
    count = 0
    while (count < STEPS) & (worst > enough):
        p0, p1, p2, p3, p4, total = terms(y0, y1, y2, y3, y4, tau, slope, beta, HALVES, FAST_LOG, PARTS)
        mass = sum_parts(p0, p1, p2, p3, p4, PARTS)
        derivative = tl.sum(total, 1)
        has_support = mass > 0
        mass = tl.where(has_support, mass, 1.0)
        slack = mass - tl.math.exp2(tl.math.log2(mass) * (1.0 - 1.0 / beta))
        move = slack / tl.where(has_support, derivative, 1.0)
        tau = tau + move
        worst = tl.max(tl.abs(move), 0)
        count += 1
    # Triton 3.5 to 3.8 fail to compile a loop of which only the condition reads a result; worst is never below -1
    return tl.where(worst < -1.0, 0.0, tau)
