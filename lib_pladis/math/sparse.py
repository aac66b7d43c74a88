"""The sparse map of PLADIS: alpha-entmax for 1 <= alpha <= 2, exact, without a sort.

alpha-entmax of a row z (Peters, Niculae & Martins, ACL 2019, equation 9) is

    p_i = max((alpha - 1) z_i - tau, 0) ^ beta,   beta = 1 / (alpha - 1),   sum_i p_i = 1.

alpha = 1 is softmax (the limit), alpha = 2 is sparsemax. tau is found by Newton's method: with

    s(tau) = sum_i max((alpha - 1) z_i - tau, 0)^beta,   g(tau) = s(tau)^(1 / beta) - 1,

g is convex and decreasing as s is, has the same root, and is much closer to a straight line. A step is

    tau += (s / s') (1 - s^(-1 / beta)),   s' = sum_i max((alpha - 1) z_i - tau, 0)^(beta - 1).

From the left of the root a step never passes it; from the right one step leads to the left, and not
below the bound (alpha - 1) max z - 1: with u the row's largest term s <= u s' and s^(1 / beta) >= u,
so the step back is at most 1 - u.
"""

from __future__ import annotations

import contextlib
import math

import torch
from torch import Tensor

ROW_SUM_TOLERANCE = 4e-6
"""Rows whose sum differs from 1 by no more than this count as solved."""

ROW_SUM_TOLERANCE_FP64 = 1e-12
"""The same for fp64 scores."""

MAX_STEPS = 60
"""Steps taken at most. Three to five are usual; near-ties of many magnitudes take more."""

FIRST_TAU = -0.8
"""First tau, in its range of -1 to 0. Needs about as few steps as a guess from softmax."""

LARGEST_POWER = 10
"""Up to this 1 / (alpha - 1), where it is whole, p is had by multiplication: alpha 1.25, 1.2, 1.1 ..."""

MANY_ROWS = 1024
"""From how many rows beside each other they are summed as a product with ones."""

_COMPUTE_DTYPE = {
    torch.float16: torch.float32,
    torch.bfloat16: torch.float32,
    torch.float32: torch.float32,
    torch.float64: torch.float64,
}


def entmax(scores: Tensor, alpha: float, dim: int = -1) -> Tensor:
    """alpha-entmax of `scores` along `dim`.

    scores: any shape, fp16, bf16, fp32 or fp64; -inf marks a masked entry.
    alpha: 1 (softmax) to 2 (sparsemax), any value between.
    Returns a tensor of the shape and dtype of `scores`, computed in fp32 (fp64 for fp64 scores).
    Rows are >= 0 and sum to 1 within 1e-5 before they are cast. A fully masked row, all -inf, gives
    zeros. A row with a NaN gives NaN. Not differentiable: the result carries no gradient.
    Raises ValueError for an alpha outside the range, for other dtypes, and for a `dim` that the
    scores lack or that is empty.
    """
    check_alpha(alpha)
    if not isinstance(scores, Tensor) or scores.dtype not in _COMPUTE_DTYPE:
        got = scores.dtype if isinstance(scores, Tensor) else type(scores).__name__
        raise ValueError(f"scores: got {got}, allowed: a tensor of fp16, bf16, fp32 or fp64")
    rank = scores.dim()
    if isinstance(dim, bool) or not isinstance(dim, int) or not -rank <= dim < rank:
        raise ValueError(f"dim: got {dim!r}, allowed: a dimension of shape {tuple(scores.shape)}")
    if scores.shape[dim] == 0:
        raise ValueError(f"scores: got shape {tuple(scores.shape)}, allowed: entries along {dim}")
    if not scores.numel():
        return scores.detach().clone()
    with torch.no_grad(), without_autocast(scores.device.type):
        shifted = scores.to(_COMPUTE_DTYPE[scores.dtype], copy=True)
        dead = shift_(shifted, dim)
        if alpha == 1:
            result = torch.softmax(shifted, dim)
        else:
            result, weight = solve(shifted, float(alpha), dim)
            result.mul_(weight)
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


def without_autocast(device_type: str) -> contextlib.AbstractContextManager[None]:
    """Autocast, which the web UIs sample under, would do the fp32 products in half precision."""
    try:
        enabled = torch.is_autocast_enabled(device_type)
    except TypeError:  # torch before 2.4 asks for one device type only
        enabled = torch.is_autocast_cpu_enabled() if device_type == "cpu" else torch.is_autocast_enabled()
    except RuntimeError:  # a device type that has no autocast
        enabled = False
    return torch.autocast(device_type, enabled=False) if enabled else contextlib.nullcontext()


def solve(
    shifted: Tensor,
    alpha: float,
    dim: int,
    *,
    temperature: float = 1.0,
    work: Tensor | None = None,
    spare: Tensor | None = None,
) -> tuple[Tensor, float]:
    """alpha-entmax(shifted / temperature) along `dim`, as (result, weight): their product is it.

    shifted: fp32 or fp64 logits, the maximum of every row 0, -inf allowed; left as they are.
    alpha: 1 < alpha <= 2. temperature: above 0.
    work, spare: tensors like `shifted`; the result is written to `work`. alpha 1.5 and 2 need no `spare`.
    """
    work = torch.empty_like(shifted) if work is None else work
    slope = (alpha - 1.0) / temperature
    if alpha == 1.5:
        return _solve_square(shifted, dim, slope, work), slope * slope
    if alpha == 2.0:
        return _solve_linear(shifted, dim, slope, work), slope
    spare = torch.empty_like(shifted) if spare is None else spare
    beta = 1.0 / (alpha - 1.0)
    whole = abs(beta - round(beta)) < 1e-9 and 3 <= round(beta) <= LARGEST_POWER
    if whole and 1e-25 < slope**beta < 1e25:
        return _solve_power(shifted, round(beta), dim, slope, work, spare)
    return _solve_general(shifted, beta, dim, slope, work, spare), 1.0


def _tolerance(z: Tensor) -> float:
    return ROW_SUM_TOLERANCE_FP64 if z.dtype == torch.float64 else ROW_SUM_TOLERANCE


def row_sums(tensor: Tensor, dim: int) -> Tensor:
    """Sums along `dim`, which is kept. On a CPU, of many rows that lie across the memory, as a product with
    ones: about two thirds of the time of torch's sum, which is quicker on few."""
    if tensor.device.type == "cpu" and tensor.dim() == 3 and dim == 1 and tensor.shape[2] >= MANY_ROWS:
        return torch.bmm(tensor.new_ones(1, 1, tensor.shape[1]).expand(len(tensor), 1, -1), tensor)
    return tensor.sum(dim, keepdim=True)


def _solve_square(z: Tensor, dim: int, slope: float, work: Tensor) -> Tensor:
    """alpha = 1.5: p = (slope u)^2, u = max(z, tau) - tau, tau in units of z. Returns u^2.

    Moving tau by delta changes slope^2 sum(u^2) by at most n (slope delta)^2 more than the
    straight line foresees: each of the n keys gives at most (slope delta)^2. Once that is small
    the step is taken without looking at its sum.
    """
    radius = 1.0 / slope
    keys = z.shape[dim]
    enough = radius * math.sqrt(_tolerance(z) / keys)
    tau = torch.full_like(z.narrow(dim, 0, 1), FIRST_TAU * radius)
    for step in range(MAX_STEPS):
        torch.maximum(z, tau, out=work)
        first = row_sums(work, dim).sub_(tau, alpha=keys)
        second = row_sums(_squared_distance_(work, tau), dim)
        delta = second.sub_(second.sqrt(), alpha=radius).div_(first)
        tau.add_(delta)
        if _look(z, step) and not _any_above(delta, enough):
            break
    return _squared_distance_(torch.maximum(z, tau, out=work), tau)


def _solve_linear(z: Tensor, dim: int, slope: float, work: Tensor) -> Tensor:
    """alpha = 2: p = slope u, u = max(z - tau, 0), tau in units of z. Returns u.

    Newton's method is Michelot's algorithm here: exact as soon as the support is.
    """
    radius = 1.0 / slope
    tau = torch.full_like(z.narrow(dim, 0, 1), FIRST_TAU * radius)
    for step in range(MAX_STEPS):
        torch.sub(z, tau, out=work).relu_()
        excess = row_sums(work, dim).sub_(radius)
        if _look(z, step) and not _any_above(excess, _tolerance(z) * radius):
            return work
        tau.add_(excess.div_(row_sums(work.sign_(), dim)))
    return torch.sub(z, tau, out=work).relu_()


def _solve_power(z: Tensor, beta: int, dim: int, slope: float, work: Tensor, spare: Tensor) -> tuple[Tensor, float]:
    """beta = 1 / (alpha - 1) a whole number from 3: p = (slope u)^beta by multiplication, u = max(z, tau) - tau.

    Returns (u^beta, slope^beta).
    """
    radius = 1.0 / slope
    whole = radius**beta
    tau = torch.full_like(z.narrow(dim, 0, 1), FIRST_TAU * radius)
    for step in range(MAX_STEPS):
        torch.maximum(z, tau, out=work).sub_(tau)
        torch.mul(work, work, out=spare)
        for _ in range(beta - 3):
            spare.mul_(work)
        derivative = row_sums(spare, dim)
        mass = row_sums(work.mul_(spare), dim)
        if _look(z, step) and not _any_above(mass - whole, _tolerance(z) * whole):
            break
        tau.add_(mass.sub_(mass.pow(1.0 - 1.0 / beta).mul_(radius)).div_(derivative))
    return work, slope**beta


def _solve_general(z: Tensor, beta: float, dim: int, slope: float, work: Tensor, spare: Tensor) -> Tensor:
    """1 < alpha < 2: p = u^beta = exp(beta log(1 + v)), u = max(1 + v, 0), v = slope z + shift, shift = -tau - 1.

    Returns p. log1p keeps its accuracy as alpha goes to 1, where v goes to 0 and beta to infinity; in
    that limit one step from anywhere gives softmax. Elsewhere u itself is cheaper, kept at the least
    number whose logarithm is quick: its power beta is 0 from beta = 1.2.
    """
    by_log1p = not 1.2 <= beta <= LARGEST_POWER
    bits = beta / math.log(2.0) if by_log1p else beta
    tiny = torch.finfo(z.dtype).tiny
    shift = torch.zeros_like(z.narrow(dim, 0, 1))
    for step in range(MAX_STEPS):
        if by_log1p:
            torch.add(shift, z, alpha=slope, out=spare).clamp_(min=-1).log1p_()
            torch.mul(spare, bits, out=work).exp2_()
        else:
            torch.add(shift + 1, z, alpha=slope, out=spare).clamp_(min=tiny)
            torch.log2(spare, out=work).mul_(bits).exp2_()
        mass = row_sums(work, dim)
        if _look(z, step) and not _any_above(mass - 1, _tolerance(z)):
            break
        slack = mass.log().div_(-beta).expm1_().mul_(mass)
        if by_log1p:
            spare.mul_(bits - 1.0 / math.log(2.0)).exp2_()
        else:
            torch.div(work, spare, out=spare)
        shift.add_(slack.div_(row_sums(spare, dim)))
    return work


def _squared_distance_(work: Tensor, tau: Tensor) -> Tensor:
    """(work - tau)^2 in place, in one pass where torch has it."""
    if work.device.type in ("cpu", "cuda"):
        return torch.ops.aten.mse_loss.out(work, tau.expand_as(work), 0, out=work)
    return work.sub_(tau).square_()


def _look(tensor: Tensor, step: int) -> bool:
    """Whether to look at the rows' errors after this step: an accelerator has to stop for it."""
    return step >= 2 if tensor.device.type == "cpu" else step >= 4 and step % 2 == 0


def _any_above(error: Tensor, bound: float) -> bool:
    """Whether a row's error is above `bound`; rows with NaN never are, and hold up no others.

    Without their signs: after a step no row is right of its root by more than rounding.
    """
    largest = error.amax().item()
    return largest > bound or (math.isnan(largest) and bool((error > bound).any().item()))
