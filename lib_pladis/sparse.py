"""The sparse map of PLADIS: alpha-entmax for 1 <= alpha <= 2, exact, without a sort.

alpha-entmax of a row z (Peters, Niculae & Martins, ACL 2019, equation 9) is

    p_i = max((alpha - 1) z_i - tau, 0) ^ (1 / (alpha - 1)),   tau such that sum_i p_i = 1.

alpha = 1 is softmax (the limit), alpha = 2 is sparsemax. With beta = 1 / (alpha - 1) and
s(tau) = sum_i max((alpha - 1) z_i - tau, 0)^beta, tau is found by Newton's method on the norm

    g(tau) = s(tau)^(1 / beta) - 1,

which is convex and decreasing in tau as s is, has the same root, and is much closer to a straight
line: a step is

    tau += (s / s') (1 - s^(-1 / beta)),   s' = sum_i max((alpha - 1) z_i - tau, 0)^(beta - 1).

From the left of the root a step never passes it; from the right one step leads to the left. tau
lies in [(alpha - 1) max z - 1, (alpha - 1) max z), and a step that leaves it is held at its end.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

ROW_SUM_TOLERANCE = 2e-6
"""Rows whose sum differs from 1 by no more than this count as solved."""

MAX_STEPS = 60
"""Steps taken at most. Three to five are usual; rows of ties and spread magnitudes take more."""


def entmax(scores: Tensor, alpha: float, dim: int = -1) -> Tensor:
    """alpha-entmax of `scores` along `dim`.

    scores: any shape, fp16, bf16, fp32 or fp64; -inf marks a masked entry.
    alpha: 1 (softmax) to 2 (sparsemax), any value between.
    Returns a tensor of the shape and dtype of `scores`, computed in fp32 (fp64 for fp64 scores).
    Rows are >= 0 and sum to 1 within 1e-5 before they are cast. A fully masked row, all -inf, gives
    zeros. A row with a NaN gives NaN. Not differentiable: the result carries no gradient.
    Raises ValueError for an alpha outside the range, for scores without elements along `dim`, for
    other dtypes.
    """
    check_alpha(alpha)
    if not isinstance(scores, Tensor) or scores.dtype not in _COMPUTE_DTYPE:
        got = scores.dtype if isinstance(scores, Tensor) else type(scores).__name__
        raise ValueError(f"scores: got {got}, allowed: a tensor of fp16, bf16, fp32 or fp64")
    if scores.dim() == 0 or scores.shape[dim] == 0:
        raise ValueError(f"scores: got shape {tuple(scores.shape)}, allowed: 1 or more entries along dim {dim}")
    with torch.no_grad():
        shifted = scores.to(_COMPUTE_DTYPE[scores.dtype], copy=True)
        dead = shift_(shifted, dim)
        if alpha == 1:
            result = torch.softmax(shifted, dim)
        else:
            base, power, weight = solve(shifted, float(alpha), dim)
            result = base.pow_(power).mul_(weight)
        return result.masked_fill_(dead, 0.0).to(scores.dtype)


def check_alpha(alpha: object) -> None:
    """ValueError unless `alpha` is a number from 1 to 2."""
    number = isinstance(alpha, (int, float)) and not isinstance(alpha, bool)
    if not number or not 1.0 <= alpha <= 2.0:  # type: ignore[operator]
        raise ValueError(f"alpha: got {alpha!r}, allowed: a number from 1 to 2")


def shift_(logits: Tensor, dim: int) -> Tensor:
    """Subtract each row's maximum in place; rows of -inf alone become zeros.

    Returns which rows those were: bool, of size 1 along `dim`.
    """
    top = logits.amax(dim, keepdim=True)
    dead = top == -math.inf
    logits.sub_(top).masked_fill_(dead, 0.0)
    return dead


def solve(
    shifted: Tensor,
    alpha: float,
    dim: int,
    *,
    slope: float | None = None,
    partition: Tensor | None = None,
    work: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, int, float]:
    """Solve for tau, and return (base, power, weight) with alpha-entmax = weight * base ** power.

    shifted: fp32 or fp64 logits, every row's maximum 0 (-inf allowed); left as they are.
    alpha: 1 < alpha <= 2.
    slope: what the logits are multiplied by; alpha - 1 over the temperature; default alpha - 1.
    partition: sum_i exp(shifted_i), if known, of size 1 along `dim`: gives a better first tau.
    work: two tensors like `shifted` that are overwritten; `base` is the first of them.
    """
    slope = alpha - 1.0 if slope is None else slope
    if work is None:
        work = (torch.empty_like(shifted), torch.empty_like(shifted))
    if alpha == 1.5:
        return _solve_square(shifted, dim, slope, partition, work), 2, slope * slope
    if alpha == 2.0:
        return _solve_linear(shifted, dim, slope, partition, work), 1, slope
    return _solve_general(shifted, alpha, dim, slope, partition, work), 1, 1.0


def _solve_square(
    z: Tensor, dim: int, slope: float, partition: Tensor | None, work: tuple[Tensor, Tensor]
) -> Tensor:
    """alpha = 1.5: p = (slope u)^2, u = max(z + offset, 0), offset = -tau / slope."""
    base, square = work
    square_slope = slope * slope
    offset = _first_offset(z, 0.5, dim, slope, partition)
    for step in range(MAX_STEPS):
        torch.add(z, offset, out=base).relu_()
        mass = torch.mul(base, base, out=square).sum(dim, keepdim=True).mul_(square_slope)
        if _converged(mass, step):
            break
        slack = mass - mass.sqrt()
        offset.sub_(slack.div_(base.sum(dim, keepdim=True).mul_(square_slope))).clamp_(max=1 / slope)
    return base


def _solve_linear(
    z: Tensor, dim: int, slope: float, partition: Tensor | None, work: tuple[Tensor, Tensor]
) -> Tensor:
    """alpha = 2: p = slope u, u = max(z + offset, 0). Newton here is Michelot's algorithm, which ends exactly."""
    base, inside = work
    offset = _first_offset(z, 1.0, dim, slope, partition)
    for step in range(MAX_STEPS):
        torch.add(z, offset, out=base).relu_()
        mass = base.sum(dim, keepdim=True).mul_(slope)
        if _converged(mass, step):
            break
        count = torch.sign(base, out=inside).sum(dim, keepdim=True)
        offset.sub_((mass - 1).div_(count.mul_(slope))).clamp_(max=1 / slope)
    return base


def _solve_general(
    z: Tensor, alpha: float, dim: int, slope: float, partition: Tensor | None, work: tuple[Tensor, Tensor]
) -> Tensor:
    """1 < alpha < 2: p = exp(beta log(1 + v)), v = slope z + shift, shift = -tau - 1.

    log1p keeps its accuracy as alpha goes to 1, where v goes to 0 and beta to infinity; there
    one step from any start gives softmax.
    """
    power, log_base = work
    beta = 1.0 / (alpha - 1.0)
    shift = _first_offset(z, alpha - 1.0, dim, slope, partition).mul_(slope).sub_(1)
    if partition is not None:
        shift = torch.expm1(partition.log().mul_(1.0 - alpha))
    for step in range(MAX_STEPS):
        torch.add(shift, z, alpha=slope, out=log_base).clamp_(min=-1).log1p_()
        mass = torch.mul(log_base, beta, out=power).exp_().sum(dim, keepdim=True)
        if _converged(mass, step):
            break
        slack = mass.log().div_(-beta).expm1_().mul_(mass)
        derivative = log_base.mul_(beta - 1).exp_().sum(dim, keepdim=True)
        shift.add_(slack.div_(derivative)).clamp_(max=0)
    return power


def _first_offset(z: Tensor, order: float, dim: int, slope: float, partition: Tensor | None) -> Tensor:
    """-tau / slope to begin with: the bound 1 / slope, or softmax's largest weight as entmax's.

    (-tau)^beta is the largest weight of the row; 1 / partition is softmax's. They are equal for
    ties, and for alpha going to 1.
    """
    if partition is None:
        return torch.full_like(z.narrow(dim, 0, 1), 1 / slope)
    return partition.pow(-order).div_(slope)


def _converged(mass: Tensor, step: int) -> bool:
    """Whether all rows sum to 1. Asking an accelerator makes it wait, so it is asked less often."""
    if mass.device.type != "cpu" and (step < 4 or step % 2):
        return False
    error = (mass - 1).abs_().amax().item() if mass.numel() else 0.0
    return not error > ROW_SUM_TOLERANCE


_COMPUTE_DTYPE = {
    torch.float16: torch.float32,
    torch.bfloat16: torch.float32,
    torch.float32: torch.float32,
    torch.float64: torch.float64,
}
