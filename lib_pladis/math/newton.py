"""The threshold of alpha-entmax by Newton's method, for all rows of a tensor at once.

With u_i = max((alpha - 1) z_i - tau, 0) and beta = 1 / (alpha - 1), tau is where s(tau) = sum_i u_i^beta is 1.

    g(tau) = s(tau)^(1 / beta) - 1

is convex and decreasing as s is, has the same root, and is much closer to a straight line. A step is

    tau += (s / s') (y + bend y^2),   y = 1 - s^(-1 / beta),   s' = sum_i u_i^(beta - 1).

Newton's step (bend 0) never passes the root from the left; from the right it leads to the left of the root. The first
steps are longer by `bend`, a correction for the curvature of g. The root lies between (alpha - 1) max z - 1, where one
key has all weight, and (alpha - 1) max z - n^(-1 / beta), where all n keys have the same; tau is kept between these.

A fixed number of steps solves nearly all rows. The remaining rows are gathered and solved separately.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lib_pladis import limits

BITS = math.log2(math.e)

FIRST_TAU = -0.7
"""First value of tau, which lies between -1 and 0."""

BENT_STEPS = 3
"""Number of steps with `bend`."""

BEND = 0.2
"""Largest bend. Fitted to rows of 77 and 231 keys: normal, Laplace and uniform distributions of many widths, rows with
one dominant key, and rows of nearly equal keys. It affects the number of steps, never the result."""

FEW = 0.25
"""Unsolved rows are gathered if they are at most this share of all rows."""

MANY_SCORES = 64 * 1024
"""Number of scores from which gathering rows is faster than further steps on all of them."""


def solve(
    shifted: Tensor,
    alpha: float,
    dim: int,
    *,
    temperature: float = 1.0,
    tolerance: float | None = None,
    work: Tensor | None = None,
    spare: Tensor | None = None,
) -> tuple[Tensor, float]:
    """alpha-entmax(shifted / temperature) along `dim`, as weights and a factor for them.

    shifted: fp32 or fp64 logits with a maximum of 0 in every row, -inf allowed; not changed.
    alpha: 1 < alpha <= 2. temperature: 1e-6 to 1e6. tolerance: of a row's sum; by default that of the dtype.
    work, spare: buffers like `shifted`; the weights are written to `work`. alpha 1.5 and 2 need no `spare`.
    """
    beta = 1.0 / (alpha - 1.0)
    near = round(beta)
    beta, kind = (near, _Rows) if near in (1, 2) and abs(beta - near) < 1e-9 else (beta, _Logarithms)
    work = torch.empty_like(shifted) if work is None else work
    if spare is None and kind is _Logarithms:
        spare = torch.empty_like(shifted)
    rows = kind(shifted, work, spare, dim, beta, (alpha - 1.0) / temperature)
    tau = torch.full_like(shifted.narrow(dim, 0, 1), min(max(rows.first, rows.lowest), rows.highest))
    bend = min(BEND, 0.3 * (beta - 1.0))
    for step in range(first_steps(shifted.device, alpha, rows.keys)):
        rows.step_(tau, bend if step < BENT_STEPS else 0.0)
    rows.finish_(tau, limits.tolerance_of(shifted.dtype) if tolerance is None else tolerance)
    return work, 1.0 / rows.whole


def first_steps(device: torch.device, alpha: float, keys: int) -> int:
    """Number of Newton steps before checking which rows are solved. The check synchronizes an accelerator, so more
    steps are taken there, and usually no row remains."""
    if limits.is_cpu(device):
        return 3
    return 4 if alpha <= 1.5 and keys <= 128 else 6


class _Rows:
    """Solves rows of logits z along `dim` for alpha 1.5 and 2 (sparsemax, where Newton's method is Michelot's
    algorithm).

    Here u = max(z - tau, 0) has the unit of z: it is `unit` = temperature / (alpha - 1) times the u above.
    """

    def __init__(self, z: Tensor, work: Tensor, spare: Tensor | None, dim: int, beta: float, slope: float) -> None:
        self.z, self.work, self.spare, self.dim, self.beta, self.slope = z, work, spare, dim, beta, slope
        self.keys = z.shape[dim]
        self.unit = 1.0 / slope
        self.slope_of_tau = 1.0
        self.centred = False  # whether z is shifted so that tau is near 0, where floating point is finest
        self.first = FIRST_TAU * self.unit
        self.means = beta == 2 and z.device.type in limits.SUMS_IN_ONE_READ
        self.lowest, self.highest = -self.unit, -self.unit * self.keys ** (-1.0 / beta)

    @property
    def whole(self) -> float:
        """The sum of u^beta in a solved row."""
        return self.unit**self.beta

    def mass(self, tau: Tensor) -> Tensor:
        """Write u^beta into `work`; returns its row sums."""
        if self.beta == 1:
            return self._sum(torch.sub(self.z, tau, out=self.work).relu_())
        return self._sum_of_squares(torch.maximum(self.z, tau, out=self.work), tau)

    def terms(self, tau: Tensor) -> tuple[Tensor, Tensor]:
        """Row sums of u^beta and of u^(beta - 1), or both as means; overwrites `work`."""
        if self.beta == 1:
            return self.mass(tau), self._sum(self.work.sign_())
        torch.maximum(self.z, tau, out=self.work)
        if self.means:
            variance, mean = torch.var_mean(self.work, self.dim, correction=0, keepdim=True)
            mean.sub_(tau)
            return variance.addcmul_(mean, mean), mean
        pull = self._sum(self.work).sub_(tau, alpha=self.keys)
        return self._sum_of_squares(self.work, tau), pull

    def growth(self, mass: Tensor) -> Tensor:
        """y = 1 - s^(-1 / beta), from the first result of `terms`."""
        unit = -self.highest if self.means else self.unit
        return torch.rsub(mass.pow(-1.0 / self.beta), 1.0, alpha=unit)

    def step_(self, tau: Tensor, bend: float) -> None:
        """Move tau by a step."""
        mass, pull = self.terms(tau)
        y = self.growth(mass)
        if bend:
            y.addcmul_(y, y, value=bend)
        tau.addcdiv_(y.mul_(mass), pull)
        if bend:
            tau.clamp_(self.lowest, self.highest)

    def finish_(self, tau: Tensor, tolerance: float) -> None:
        """Write the weights of all rows into `work`, after as many more steps as they need. NaN rows stay NaN."""
        dim = self.dim % self.z.dim()
        direct, stuck = tau.device.type in limits.DIRECT, False
        few = FEW * tau.numel() if self.z.numel() >= MANY_SCORES else 0
        for _ in range(limits.MAX_STEPS):
            sums = self.mass(tau)
            places = (sums.sub_(self.whole).abs_() > tolerance * self.whole).nonzero(as_tuple=True)
            count = len(places[0])
            if not count:
                return
            if direct and (count <= few or (stuck and not self.centred)):
                places = places[:dim] + places[dim + 1 :]
                z, tau = self.z.movedim(dim, -1)[places], tau.movedim(dim, -1)[places]
                z.sub_(tau, alpha=1.0 / self.slope_of_tau)
                spare = None if self.spare is None else torch.empty_like(z)
                left = type(self)(z, torch.empty_like(z), spare, 1, self.beta, self.slope)
                left.centred = True
                left.step_(tau.zero_(), 0.0)
                left.finish_(tau, tolerance)
                self.work.movedim(dim, -1)[places] = left.work
                return
            if stuck:
                break
            before = tau.clone()
            self.step_(tau, 0.0)
            stuck = torch.allclose(tau, before, rtol=4.0 * torch.finfo(tau.dtype).eps, atol=0.0, equal_nan=True)
        sums = self.mass(tau)  # no floating-point tau is better: normalize the weights
        self.work.mul_(sums.reciprocal_().mul_(self.whole))

    def _sum(self, numbers: Tensor) -> Tensor:
        return numbers.sum(self.dim, keepdim=True)

    def _sum_of_squares(self, work: Tensor, tau: Tensor) -> Tensor:
        """(work - tau)^2 in place, in one pass where torch can; returns its row sums."""
        if work.device.type in limits.DIRECT:
            return self._sum(_squared_distance(work, tau, 0, out=work))
        return self._sum(work.sub_(tau).square_())


class _Logarithms(_Rows):
    """The same for any other alpha. u = 1 + v and u^beta = exp(beta log1p v), because v goes to 0 as alpha goes to 1
    and beta to infinity. tau here is larger by 1 than above, and the unit is 1."""

    def __init__(self, z: Tensor, work: Tensor, spare: Tensor | None, dim: int, beta: float, slope: float) -> None:
        super().__init__(z, work, spare, dim, beta, slope)
        self.unit, self.slope_of_tau = 1.0, slope
        self.first, self.lowest = FIRST_TAU + 1.0, 0.0
        self.power = round(beta) if beta <= 10 and abs(beta - round(beta)) < 1e-9 else 0
        self.highest = -math.expm1(-math.log(self.keys) / beta)

    def mass(self, tau: Tensor) -> Tensor:
        assert self.spare is not None
        torch.add(tau.neg(), self.z, alpha=self.slope, out=self.spare).clamp_(min=-1.0)
        if self.power:  # a whole beta: multiplications are faster
            torch.add(self.spare, 1.0, out=self.work)
            torch.mul(self.work, self.work, out=self.spare)
            for _ in range(self.power - 3):
                self.spare.mul_(self.work)
            return self._sum(self.work.mul_(self.spare))
        return self._sum(torch.mul(self.spare.log1p_(), self.beta * BITS, out=self.work).exp2_())

    def terms(self, tau: Tensor) -> tuple[Tensor, Tensor]:
        assert self.spare is not None
        mass = self.mass(tau)
        return mass, self._sum(self.spare if self.power else self.spare.mul_((self.beta - 1.0) * BITS).exp2_())

    def growth(self, mass: Tensor) -> Tensor:
        return mass.log().mul_(-1.0 / self.beta).expm1_().neg_()


_squared_distance = torch.ops.aten.mse_loss.out
