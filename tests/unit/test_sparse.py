"""`sparse.entmax` against a bisection in fp64 and against the `entmax` package."""

from __future__ import annotations

import math

import entmax as package
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lib_pladis.math.sparse import entmax
from tests.oracle import entmax_by_bisection

ALPHAS = (1.0, 1.05, 1.25, 1.5, 1.75, 1.99, 2.0)


def random_scores(*shape: int, sigma: float = 1.0, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * sigma


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("sigma", [0.01, 0.3, 1.0, 5.0, 50.0, 1e4])
@pytest.mark.parametrize("keys", [1, 2, 77, 231, 512])
def test_agrees_with_bisection(alpha: float, sigma: float, keys: int) -> None:
    scores = random_scores(64, keys, sigma=sigma)
    found = entmax(scores, alpha)
    torch.testing.assert_close(found.double(), entmax_by_bisection(scores, alpha), atol=5e-6, rtol=0)
    torch.testing.assert_close(found.sum(-1), torch.ones(64), atol=1e-5, rtol=0)


@pytest.mark.parametrize("sigma", [0.3, 1.0, 5.0])
def test_agrees_with_the_entmax_package(sigma: float) -> None:
    scores = random_scores(128, 77, sigma=sigma)
    for alpha, theirs in (
        (1.5, package.entmax15(scores, dim=-1)),
        (2.0, package.sparsemax(scores, dim=-1)),
        (1.25, package.entmax_bisect(scores, alpha=1.25, dim=-1, n_iter=60)),
        (1.75, package.entmax_bisect(scores, alpha=1.75, dim=-1, n_iter=60)),
    ):
        torch.testing.assert_close(entmax(scores, alpha), theirs, atol=1e-5, rtol=0)


@pytest.mark.parametrize("alpha", [1 + 1e-9, 1 + 1e-6, 1 + 1e-4, 1.001, 1.01])
def test_goes_to_softmax_as_alpha_goes_to_one(alpha: float) -> None:
    scores = random_scores(32, 77, sigma=2.0)
    found = entmax(scores, alpha).double()
    torch.testing.assert_close(found, entmax_by_bisection(scores, alpha), atol=3e-6, rtol=0)
    difference = (found - torch.softmax(scores.double(), -1)).abs().max().item()
    assert difference < 1e-6 + 5 * (alpha - 1)


@pytest.mark.parametrize("alpha", [1.25, 1.5, 1.75, 2.0])
@pytest.mark.parametrize(("rows", "keys"), [(8, 1000), (256, 1000), (4, 4000)])
def test_hundreds_of_keys_besides_a_leading_one(alpha: float, rows: int, keys: int) -> None:
    """Nearly half of the weight is spread over keys whose logits fp32 tells apart by less than it does tau."""
    scores = torch.rand(rows, keys, generator=torch.Generator().manual_seed(0)) * 2.0 / keys - 0.5
    scores[0, 0] = 0.0
    scores[rows // 2 :, 0] = 0.0
    found = entmax(scores, alpha)
    torch.testing.assert_close(found, entmax(scores.double(), alpha).float(), atol=5e-6, rtol=0)
    torch.testing.assert_close(found.sum(-1), torch.ones(rows), atol=1e-5, rtol=0)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("count", [1, 2, 76, 77])
def test_ties_share_equally(alpha: float, count: int) -> None:
    scores = torch.full((3, 77), -1e4)
    scores[:, :count] = 12.5
    found = entmax(scores, alpha)
    assert torch.allclose(found[:, :count], torch.tensor(1 / count), atol=1e-6)
    assert (found[:, count:] == 0).all()


@pytest.mark.parametrize("alpha", ALPHAS)
def test_spread_over_many_magnitudes(alpha: float) -> None:
    """Rows whose entries near the maximum by factors of ten: the worst case for Newton's method."""
    steps = -torch.logspace(4, -7, 200)
    scores = torch.stack([steps, steps.flip(0), 5000 + steps, steps * 1e-3])
    found = entmax(scores, alpha)
    torch.testing.assert_close(found.double(), entmax_by_bisection(scores, alpha), atol=5e-6, rtol=0)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_extreme_logits(alpha: float) -> None:
    scores = torch.tensor([[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4], [1e4, 1e4, -1e4], [1e4, 9999.5, 0]])
    found = entmax(scores, alpha)
    torch.testing.assert_close(found.double(), entmax_by_bisection(scores, alpha), atol=5e-6, rtol=0)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_masked_entries_and_rows(alpha: float) -> None:
    scores = random_scores(8, 77)
    scores[:, 40:] = -math.inf
    scores[3] = -math.inf
    found = entmax(scores, alpha)
    assert torch.isfinite(found).all()
    assert (found[3] == 0).all()
    alive = [0, 1, 2, 4, 5, 6, 7]
    torch.testing.assert_close(found[alive][:, :40], entmax(scores[alive][:, :40], alpha))
    assert (found[:, 40:] == 0).all()


@pytest.mark.parametrize("alpha", ALPHAS)
def test_nan_stays_in_its_row(alpha: float) -> None:
    scores = random_scores(4, 9)
    scores[2, 5] = math.nan
    found = entmax(scores, alpha)
    assert found[2].isnan().all()
    torch.testing.assert_close(found[[0, 1, 3]], entmax(scores[[0, 1, 3]], alpha))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_dtypes(dtype: torch.dtype) -> None:
    scores = random_scores(64, 77, sigma=3.0).to(dtype)
    found = entmax(scores, 1.5)
    assert found.dtype == dtype
    expected = entmax_by_bisection(scores, 1.5).to(dtype)
    atol = 1e-6 if dtype == torch.float64 else torch.finfo(dtype).eps
    torch.testing.assert_close(found, expected, atol=atol, rtol=0)


@pytest.mark.parametrize("alpha", [1.3, 1.5, 2.0])
@pytest.mark.parametrize("dim", [0, 1, 2, -1, -3])
def test_dim(alpha: float, dim: int) -> None:
    scores = random_scores(5, 6, 7)
    expected = entmax_by_bisection(scores.movedim(dim, -1), alpha).movedim(-1, dim)
    torch.testing.assert_close(entmax(scores, alpha, dim).double(), expected, atol=5e-6, rtol=0)


def test_strides_and_input_left_alone() -> None:
    scores = random_scores(77, 40).t()[::2]
    before = scores.clone()
    torch.testing.assert_close(entmax(scores, 1.5), entmax(scores.contiguous(), 1.5))
    assert torch.equal(scores, before)


def test_empty_batch() -> None:
    assert entmax(torch.empty(0, 5), 1.5).shape == (0, 5)


rows = st.lists(st.floats(-30, 30, width=32), min_size=1, max_size=90)
alphas = st.floats(1.0, 2.0)


@given(row=rows, alpha=alphas)
def test_rows_are_distributions(row: list[float], alpha: float) -> None:
    found = entmax(torch.tensor(row), alpha)
    assert (found >= 0).all()
    assert abs(found.double().sum().item() - 1) < 1e-5


@given(row=rows, alpha=alphas, shift=st.integers(-64, 64))
def test_shift_invariant(row: list[float], alpha: float, shift: int) -> None:
    scores = torch.tensor(row, dtype=torch.float64)
    torch.testing.assert_close(entmax(scores + shift, alpha), entmax(scores, alpha), atol=1e-5, rtol=0)


@given(row=rows, alpha=alphas)
def test_order_is_kept(row: list[float], alpha: float) -> None:
    scores = torch.tensor(row)
    found = entmax(scores, alpha)
    assert (found[scores.argsort()].diff() >= -1e-7).all()


@given(row=rows, low=st.floats(1.01, 2.0), high=st.floats(1.01, 2.0))
def test_support_shrinks_with_alpha(row: list[float], low: float, high: float) -> None:
    low, high = sorted((low, high))
    scores = torch.tensor(row)
    wide, narrow = entmax(scores, low) > 0, entmax(scores, high) > 1e-5
    assert (wide | ~narrow).all()


@pytest.mark.parametrize("alpha", [0.99, 2.01, -1, math.nan, math.inf, "1.5", None, True, [1.5], torch.tensor(1.5)])
def test_bad_alpha(alpha: object) -> None:
    with pytest.raises(ValueError, match=r"alpha: got .*allowed: a number from 1 to 2"):
        entmax(torch.zeros(3), alpha)  # type: ignore[arg-type]


@pytest.mark.parametrize("scores", [[1.0, 2.0], torch.zeros(3, dtype=torch.int64), None])
def test_bad_scores(scores: object) -> None:
    with pytest.raises(ValueError, match="scores: got"):
        entmax(scores, 1.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("dim", [2, -3, "0", None, 0.0])
def test_bad_dim(dim: object) -> None:
    with pytest.raises(ValueError, match=r"dim: got"):
        entmax(torch.zeros(3, 4), 1.5, dim)  # type: ignore[arg-type]


def test_no_keys() -> None:
    with pytest.raises(ValueError, match="scores: got shape"):
        entmax(torch.zeros(3, 0), 1.5)
