"""The threshold of alpha-entmax by Newton's method, for all rows of a tensor at once.

With u_i = max((alpha - 1) z_i - tau, 0) and beta = 1 / (alpha - 1), tau is where s(tau) = sum_i u_i^beta is 1.

    g(tau) = s(tau)^(1 / beta) - 1

is convex and decreasing as s is, has the same root, and is much closer to a straight line. A step is

    tau += (s / s') (1 - s^(-1 / beta)),   s' = sum_i u_i^(beta - 1).

From the left of the root it never passes it; from the right one step leads to the left. With y = 1 - s^(-1 / beta),
the first steps are made longer by a share BEND y of themselves, as the bend of g asks for on rows of usual kinds. The
root lies between (alpha - 1) max z - 1, where one key has all, and (alpha - 1) max z - n^(-1 / beta), where all n keys
are alike; tau is kept between these.

Rows need steps in different numbers. Those that are not solved when most are, are taken out and gone on with by
themselves.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

ROW_SUM_TOLERANCE = 4e-6
"""Rows whose sum differs from 1 by no more than this count as solved."""

ROW_SUM_TOLERANCE_FP64 = 1e-12
"""The same for fp64 scores."""

MAX_STEPS = 60
"""Steps taken at most. Two or three are usual; near-ties of many magnitudes take more."""

FIRST_TAU = -0.7
"""First tau, in its range of -1 to 0."""

STEPS_BEFORE_A_LOOK = 3
"""Steps that are taken before it is looked at whether rows are solved."""

BLIND_STEPS = 5
"""Steps where nobody looks, for alpha up to 1.5."""

BLIND_STEPS_OF_FEW_KEYS = 7
"""The same for greater alpha, where fewer keys are left and g has sharper bends."""

FEW = 0.25
"""Up to this share of the rows, those that are not solved are taken out."""

BENT_STEPS = 3
"""Steps that allow for the bend of g. Later ones are Newton's own, which always arrive."""

BEND = 0.2
"""Fitted to rows of 77 and 231 keys: normal, Laplace and uniform, of many widths, with one leading key, and with keys
nearly alike. It decides how many steps are taken, never the result."""

LEAST_FACTOR = 1e-15
"""Weights that are to be multiplied by less, or by more than its inverse, are computed from scaled logits."""

MANY_SCORES = 64 * 1024
"""From how many on rows are taken out: fewer are quicker gone on with all together."""

DIRECT = ("cpu", "cuda")
"""Devices whose operations write where they are told to, a part of a tensor too, and scale a product at no cost. On MPS
some have written into a copy of a part (pytorch#118115): what is written there is whole, but for `copy_`."""

LARGEST_POWER = 10
"""Up to this 1 / (alpha - 1), where it is whole, p is had by multiplication: alpha 1.25, 1.2, 1.1 ..."""


@dataclass(frozen=True)
class Solution:
    """alpha-entmax as `weights` times `factor`.

    sums: where nobody has looked, what each row of that sums to, of size 1 along the rows' dim.
    """

    weights: Tensor
    factor: float
    sums: Tensor


def solve(
    shifted: Tensor,
    alpha: float,
    dim: int,
    *,
    temperature: float = 1.0,
    work: Tensor | None = None,
    spare: Tensor | None = None,
    look: bool = True,
) -> Solution:
    """alpha-entmax(shifted / temperature) along `dim`.

    shifted: fp32 or fp64 logits, the maximum of every row 0, -inf allowed; left as they are.
    alpha: 1 < alpha <= 2. temperature: above 0.
    work, spare: tensors like `shifted`; the result is written to `work`. alpha 1.5 and 2 need no `spare`.
    look: go on until every row is solved, for which an accelerator has to stop. Without, BLIND_STEPS are taken, and
        `unsolved` tells from the sums where they were not enough.
    """
    beta, slope = 1.0 / (alpha - 1.0), (alpha - 1.0) / temperature
    kind = _rows_of(beta)
    if kind is not _Logarithms and not LEAST_FACTOR < slope**beta < 1.0 / LEAST_FACTOR:
        shifted, slope = shifted * slope, 1.0
    work = torch.empty_like(shifted) if work is None else work
    if spare is None and kind not in (_Squares, _Linear):
        spare = torch.empty_like(shifted)
    rows = kind(shifted, work, spare, dim, beta, slope)
    tau = torch.full_like(shifted.narrow(dim, 0, 1), FIRST_TAU * rows.radius)
    sums = rows.solve(tau, STEPS_BEFORE_A_LOOK if look else None)
    return Solution(work, 1.0 / rows.whole, sums if look else sums.div_(rows.whole))


def few_rows(shifted: Tensor, temperature: float) -> tuple[Tensor, float]:
    """alpha 1.5 along the last dim as (u, slope), u slope the root of it: for so few numbers that operations count.

    shifted: as `solve`. With x = s^(1 / 2) the numerator of a step is (1 + BEND) (x - 1) (x - BEND / (1 + BEND)).
    """
    slope = 0.5 / temperature
    radius = 1.0 / slope
    tolerance = 0.5 * _tolerance(shifted)
    low, high = -radius, -radius * shifted.shape[-1] ** -0.5
    tau = torch.full_like(shifted[..., :1], min(FIRST_TAU * radius, high))
    for step in range(MAX_STEPS):
        u = torch.sub(shifted, tau).relu_()
        root = torch.linalg.vector_norm(u, dim=-1, keepdim=True)
        if step >= STEPS_BEFORE_A_LOOK:
            least, most = torch.aminmax(root)
            solved = max(radius - least.item(), most.item() - radius) <= tolerance * radius
            if solved or not unsolved(root.clone(), radius, tolerance).any():
                break
        pull = u.sum(-1, keepdim=True)
        bend = BEND if step < BENT_STEPS else 0.0
        excess = root - radius
        excess.mul_(root.sub_(bend / (1.0 + bend) * radius))
        tau.addcdiv_(excess, pull, value=1.0 + bend).clamp_(low, high)
    return u, slope


def unsolved(sums: Tensor, whole: float = 1.0, tolerance: float | None = None) -> Tensor:
    """Which of these are not `whole`; they are overwritten. One that is NaN is: no step will change it."""
    return sums.sub_(whole).abs_() > (_tolerance(sums) if tolerance is None else tolerance) * whole


def _tolerance(sums: Tensor) -> float:
    return ROW_SUM_TOLERANCE_FP64 if sums.dtype == torch.float64 else ROW_SUM_TOLERANCE


def row_sums(tensor: Tensor, dim: int) -> Tensor:
    """Sums along `dim`, which is kept."""
    return tensor.sum(dim, keepdim=True)


class _Rows:
    """Rows of logits along `dim` of z, and their tau, in the unit of z."""

    def __init__(self, z: Tensor, work: Tensor, spare: Tensor | None, dim: int, beta: float, slope: float) -> None:
        self.z, self.work, self.spare, self.dim, self.beta, self.slope = z, work, spare, dim, beta, slope
        self.keys = z.shape[dim]
        self.radius = 1.0 / slope

    @property
    def whole(self) -> float:
        """What a solved row of weights sums to."""
        return self.radius**self.beta

    def mass(self, tau: Tensor) -> Tensor:
        """u^beta into `work`; gives its sums."""
        raise NotImplementedError

    def terms(self, tau: Tensor) -> tuple[Tensor, Tensor]:
        """The same, and the sums of u^(beta - 1)."""
        raise NotImplementedError

    def solve(self, tau: Tensor, look_after: int | None) -> Tensor:
        """Weights for the right tau into `work`, looked at after so many steps or never; then their sums matter."""
        low, high = -self.radius, -self.radius * self.keys ** (-1.0 / self.beta)
        tau.clamp_(low, high)
        blind = BLIND_STEPS if self.beta >= 2.0 else BLIND_STEPS_OF_FEW_KEYS
        for step in range(blind if look_after is None else MAX_STEPS):
            if look_after is not None and step >= look_after:
                wrong = self._wrong(self.mass(tau))
                count = 0 if wrong is None else len(wrong[0])
                if wrong is None or not count:
                    return tau
                if count <= FEW * tau.numel() and self.z.numel() >= MANY_SCORES and tau.device.type in DIRECT:
                    self._go_on_with(wrong, tau)
                    return tau
            self.step_(tau, *self.terms(tau), BEND if step < BENT_STEPS else 0.0)
            if step < BENT_STEPS:
                tau.clamp_(low, high)
        return self.mass(tau)

    def _wrong(self, mass: Tensor) -> tuple[Tensor, ...] | None:
        """Which rows aren't solved, if any."""
        least, most = torch.aminmax(mass)
        if max(self.whole - least.item(), most.item() - self.whole) <= _tolerance(mass) * self.whole:
            return None
        return unsolved(mass, self.whole).nonzero(as_tuple=True)

    def step_(self, tau: Tensor, mass: Tensor, pull: Tensor, bend: float) -> None:
        """Move tau by (mass / pull) (y + bend y^2), y = 1 - s^(-1 / beta). Overwrites the others."""
        y = mass.pow(-1.0 / self.beta).mul_(-self.radius).add_(1.0)
        if bend:
            y.addcmul_(y, y, value=bend)
        tau.addcdiv_(y.mul_(mass), pull)

    def _go_on_with(self, which: tuple[Tensor, ...], tau: Tensor) -> None:
        """Solve these rows, and put them in their places."""
        dim = self.dim % self.z.dim()
        places = which[:dim] + which[dim + 1 :]
        z = self.z.movedim(dim, -1)[places]
        spare = None if self.spare is None else torch.empty_like(z)
        part = type(self)(z, torch.empty_like(z), spare, 1, self.beta, self.slope)
        part.solve(tau.movedim(dim, -1)[places], 1)
        self.work.movedim(dim, -1)[places] = part.work


class _Squares(_Rows):
    """alpha 1.5."""

    def mass(self, tau: Tensor) -> Tensor:
        torch.maximum(self.z, tau, out=self.work)
        return row_sums(_squared_distance_(self.work, tau), self.dim)

    def terms(self, tau: Tensor) -> tuple[Tensor, Tensor]:
        pull = row_sums(torch.maximum(self.z, tau, out=self.work), self.dim).sub_(tau, alpha=self.keys)
        return row_sums(_squared_distance_(self.work, tau), self.dim), pull

    def step_(self, tau: Tensor, mass: Tensor, pull: Tensor, bend: float) -> None:
        """As `_Rows`, multiplied out."""
        root = mass.sqrt()
        mass.sub_(root, alpha=(1.0 + 2.0 * bend) / (1.0 + bend) * self.radius)
        if bend:
            mass.add_(bend / (1.0 + bend) * self.whole)
        tau.addcdiv_(mass, pull, value=1.0 + bend)


class _Powers(_Rows):
    """A whole 1 / (alpha - 1) from 3: multiplication."""

    def _power(self, tau: Tensor) -> Tensor:
        """u into `work` and u^(beta - 1) into `spare`."""
        assert self.spare is not None
        torch.maximum(self.z, tau, out=self.work).sub_(tau)
        torch.mul(self.work, self.work, out=self.spare)
        for _ in range(round(self.beta) - 3):
            self.spare.mul_(self.work)
        return self.spare

    def mass(self, tau: Tensor) -> Tensor:
        return row_sums(self.work.mul_(self._power(tau)), self.dim)

    def terms(self, tau: Tensor) -> tuple[Tensor, Tensor]:
        power = self._power(tau)
        pull = row_sums(power, self.dim)
        return row_sums(self.work.mul_(power), self.dim), pull


class _Linear(_Rows):
    """alpha 2 is sparsemax, and Newton's method Michelot's algorithm."""

    def mass(self, tau: Tensor) -> Tensor:
        return row_sums(torch.sub(self.z, tau, out=self.work).relu_(), self.dim)

    def terms(self, tau: Tensor) -> tuple[Tensor, Tensor]:
        mass = self.mass(tau)
        return mass, row_sums(self.work.sign_(), self.dim)

    def step_(self, tau: Tensor, mass: Tensor, pull: Tensor, bend: float) -> None:
        """g is s - 1, and straight as long as the support stays."""
        tau.add_(mass.sub_(self.radius).div_(pull))


class _Roots(_Powers):
    """Any beta from 1.2 to LARGEST_POWER, by logarithms."""

    def _power(self, tau: Tensor) -> Tensor:
        assert self.spare is not None
        torch.maximum(self.z, tau, out=self.work).sub_(tau)
        # the logarithm of 0 is slow; this power of the least number vanishes beside the sum, and 0 times it is 0
        return torch.clamp(self.work, min=1e-30, out=self.spare).log2_().mul_(self.beta - 1.0).exp2_()


class _Logarithms(_Rows):
    """alpha near 1, where beta goes to infinity and v = u - 1 to 0: p = exp(beta log1p v). Nor near 2."""

    def solve(self, tau: Tensor, look_after: int | None) -> Tensor:
        """One step from anywhere gives softmax in the limit."""
        z, work, spare = self.z, self.work, self.spare
        assert spare is not None
        self.radius = 1.0
        bits = self.beta / math.log(2.0)
        shift = torch.zeros_like(tau)
        for step in range(MAX_STEPS):
            torch.add(shift, z, alpha=self.slope, out=spare).clamp_(min=-1).log1p_()
            torch.mul(spare, bits, out=work).exp2_()
            mass = row_sums(work, self.dim)
            if look_after is None:
                if step == BLIND_STEPS:
                    break
            elif step >= look_after and not unsolved(mass.clone()).any():
                break
            slack = mass.log().div_(-self.beta).expm1_().mul_(mass)
            spare.mul_(bits - 1.0 / math.log(2.0)).exp2_()
            shift.add_(slack.div_(row_sums(spare, self.dim)))
        return mass


def _rows_of(beta: float) -> Callable[..., _Rows]:
    if abs(beta - round(beta)) < 1e-9 and beta <= LARGEST_POWER:
        return {1: _Linear, 2: _Squares}.get(round(beta), _Powers)
    return _Roots if 1.2 <= beta <= LARGEST_POWER else _Logarithms


_squared_distance_out = torch.ops.aten.mse_loss.out


def _squared_distance_(work: Tensor, tau: Tensor) -> Tensor:
    """(work - tau)^2 in place, in one pass where torch has it."""
    if work.device.type in DIRECT:
        return _squared_distance_out(work, tau, 0, out=work)
    return work.sub_(tau).square_()
