# mypy: disallow-untyped-defs=false, disallow-incomplete-defs=false
"""alpha-entmax of rows in parts: p = x^beta, x = max(slope y - tau, 0), sum p = 1, beta = 1 / (alpha - 1).

tau, in its range of -1 to 0, is guessed from what softmax needs anyway and one sum more: it is close to a
polynomial in (sum e^z)^(-1/4) and (sum e^2z)^(-1/4), fitted for each alpha (`triton_fused.GUESSES`). FAST steps follow
without a look at their result, of Newton's method on s(tau)^(-gamma), gamma = 1 / (2 beta), which is
straighter near the root than the s^(1 / beta) of `lib_pladis.math.sparse`. Then the worst row of the block is
looked at, and where it needs them more steps are taken, of the kind that never passes the root.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .triton_parts import at_least, sum_parts, sum_squares


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
def log2(x, FAST_LOG: tl.constexpr):
    """log2 of x >= 0, -inf of 0. Triton's own is right to the last bit, for thirty instructions."""
    if FAST_LOG:
        result = tl.inline_asm_elementwise(
            "lg2.approx.ftz.f32 $0, $1;", "=f,f", [x], dtype=tl.float32, is_pure=True, pack=1
        )
    else:
        result = tl.math.log2(x)
    return result


@triton.jit
def _power(x, beta, HALVES: tl.constexpr, FAST_LOG: tl.constexpr):
    """x^(beta - 1), x >= 0: by multiplication where it is HALVES / 2, by logarithms where HALVES is -1."""
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
def _term(y, tau, slope, beta, HALVES: tl.constexpr, LOG1P: tl.constexpr, FAST_LOG: tl.constexpr):
    """One part's x^beta and x^(beta - 1). With LOG1P tau is counted from -1, where it goes as alpha goes to 1."""
    if LOG1P:
        log_base = _log1p(tl.maximum(slope * y - tau[:, None], -1.0))
        p = tl.exp(beta * log_base)
        derivative = tl.exp((beta - 1.0) * log_base)
    else:
        x = tl.maximum(y * slope - tau[:, None], 0.0)
        derivative = _power(x, beta, HALVES, FAST_LOG)
        p = x * derivative
    return p, derivative


@triton.jit
def terms(y0, y1, y2, y3, y4, tau, slope, beta, HALVES: tl.constexpr, LOG1P: tl.constexpr, FAST_LOG: tl.constexpr,
          PARTS: tl.constexpr):  # fmt: skip
    """x^beta part by part, and the rows' sums of x^(beta - 1), not yet summed across threads."""
    p0, total = _term(y0, tau, slope, beta, HALVES, LOG1P, FAST_LOG)
    p1 = p0
    p2 = p0
    p3 = p0
    p4 = p0
    if PARTS > 1:
        p1, derivative = _term(y1, tau, slope, beta, HALVES, LOG1P, FAST_LOG)
        total += derivative
    if PARTS > 2:
        p2, derivative = _term(y2, tau, slope, beta, HALVES, LOG1P, FAST_LOG)
        total += derivative
    if PARTS > 3:
        p3, derivative = _term(y3, tau, slope, beta, HALVES, LOG1P, FAST_LOG)
        total += derivative
    if PARTS > 4:
        p4, derivative = _term(y4, tau, slope, beta, HALVES, LOG1P, FAST_LOG)
        total += derivative
    return p0, p1, p2, p3, p4, total


@triton.jit
def inverse(x):
    """1 / x, x > 0, without the care that a division takes of its ends."""
    root = tl.math.rsqrt(x)
    return root * root


@triton.jit
def _guess(partition, second, g0, g1, g2, g3, g4):
    """tau of rows whose exponentials and whose exponentials' squares sum to this."""
    a = tl.sqrt(tl.math.rsqrt(partition))
    b = tl.sqrt(tl.math.rsqrt(second))
    return g0 + a * (g1 + g4 * b) + b * (g2 + g3 * b)


@triton.jit
def solve(y0, y1, y2, y3, y4, partition, second, slope, beta, g0, g1, g2, g3, g4, enough,
          GUARD: tl.constexpr, HALVES: tl.constexpr, LOG1P: tl.constexpr, FAST_LOG: tl.constexpr,
          FAST: tl.constexpr, EXACT: tl.constexpr, STEPS: tl.constexpr,
          PARTS: tl.constexpr, WIDTH: tl.constexpr):  # fmt: skip
    """tau of each row.

    y: parts of (rows, WIDTH), a row's largest 0. partition, second: sums of the row's e^(z / temperature) and
    of their squares, both at least 1. enough: a step of tau that need not be followed by another.
    GUARD: a row may have no key at all.
    EXACT: the last step is one that sums the terms themselves, not differences of larger numbers.
    """
    LOW: tl.constexpr = 0.0 if LOG1P else -1.0
    tau = _guess(partition, second, g0, g1, g2, g3, g4)
    tau = tl.minimum(tau, LOW + 0.98)
    step = tau
    for _ in tl.static_range(FAST):
        if HALVES == 2:
            # sum x and sum x^2 from m = max(y, tau / slope), the keys outside the support counted in
            level = tau * (1.0 / slope)
            m0, m1, m2, m3, m4 = at_least(y0, y1, y2, y3, y4, level, PARTS)
            first = sum_parts(m0, m1, m2, m3, m4, PARTS)
            squares = sum_squares(m0, m1, m2, m3, m4, PARTS)
            all_first = first - level * (PARTS * WIDTH)
            derivative = all_first * slope
            mass = (squares - level * (first + all_first)) * (slope * slope)
        else:
            p0, p1, p2, p3, p4, total = terms(y0, y1, y2, y3, y4, tau, slope, beta, HALVES, LOG1P, FAST_LOG, PARTS)
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
        tau = tl.minimum(tau + step, LOW + 0.98)
    if EXACT:
        worst = 1.0e30
    else:
        worst = tl.max(tl.abs(step), 0)
    count = 0
    while (count < STEPS) & (worst > enough):
        p0, p1, p2, p3, p4, total = terms(y0, y1, y2, y3, y4, tau, slope, beta, HALVES, LOG1P, FAST_LOG, PARTS)
        mass = sum_parts(p0, p1, p2, p3, p4, PARTS)
        derivative = tl.sum(total, 1)
        alive = mass > 0
        mass = tl.where(alive, mass, 1.0)
        if HALVES == 2:
            slack = mass - tl.sqrt(mass)
        elif HALVES == 0:
            slack = mass - 1.0
        else:
            slack = -mass * _expm1(tl.log(mass) * (-1.0 / beta))
        move = slack / tl.where(alive, derivative, 1.0)
        tau = tau + move
        worst = tl.max(tl.abs(move), 0)
        count += 1
    # Triton 3.5 to 3.8 fail to compile a loop if its condition alone reads one of its results
    return tl.where(worst < -1.0, 0.0, tau)
