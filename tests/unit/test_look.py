"""Attention weights and the log-sum-exp against the maps in fp64."""

from __future__ import annotations

import pytest
import torch

from lib_pladis import attention, limits
from lib_pladis.kernels.choice import KERNELS, Kernels
from lib_pladis.kernels.look import token_weights
from lib_pladis.math.rule import Mix
from tests.oracle import entmax_by_bisection

pytestmark = pytest.mark.usefixtures("proved")


@pytest.mark.parametrize("alpha", [1.0, 1.5, 1.75, 2.0])
@pytest.mark.parametrize("masked", [False, True])
def test_weights_kept_and_entropies(alpha: float, masked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOOK_CHUNK_SCORES", 5000)
    query, key = (2 * torch.randn(2, 3, length, 16) for length in (40, 77))
    mask = torch.rand(2, 1, 40, 77) > 0.3 if masked else None
    mix = Mix(1.7, alpha, 0.8)
    found = token_weights(query, key, mix, mask, 0.25)
    z = query.double() @ key.double().transpose(-1, -2) / 4
    if mask is not None:
        z = z.masked_fill(~mask, -torch.inf)
    dense, sparse = torch.softmax(z, -1), entmax_by_bisection(z / 0.8, alpha)
    blended = 1.7 * sparse - 0.7 * dense
    assert found.dense.shape == found.blended.shape == (2, 40, 77)
    assert (found.dense - dense.mean(1)).abs().max() < 1e-5
    assert (found.blended - blended.mean(1)).abs().max() < 1e-5
    assert (found.entropy_dense - torch.special.entr(dense).sum(-1).mean(1)).abs().max() < 1e-4
    assert (found.entropy_sparse - torch.special.entr(sparse).sum(-1).mean(1)).abs().max() < 1e-4
    if alpha > 1:
        # a key whose weight is within rounding of 0 may count either way
        least, most = (((sparse > edge).sum(-1).double().mean(1)) for edge in (1e-6, 1e-15))
        assert (found.kept >= least - 1e-6).all() and (found.kept <= most + 0.5).all()
        assert found.kept.mean() < 40


@pytest.mark.parametrize("kernel", list(KERNELS))
@pytest.mark.parametrize("scale", [0.0, 1.0, 2.0])
def test_the_rows_log_sum_exp(kernel: str, scale: float) -> None:
    query, key, value = (3 * torch.randn(2, 3, length, 16) for length in (24, 77, 77))
    mask = torch.rand(2, 3, 24, 77) > 0.5
    mask[0, 0, 3] = False
    lse = attention.attend(Kernels(kernel), query, key, value, Mix(scale), mask, lse=True).lse
    wanted = (query.double() @ key.double().transpose(-1, -2) / 4).masked_fill(~mask, -torch.inf).logsumexp(-1)
    assert lse is not None and lse[0, 0, 3] == -torch.inf
    assert (lse - wanted).nan_to_num(0.0).abs().max() < 1e-5
    assert attention.attend(Kernels(kernel), query, key, value, Mix(scale), mask).lse is None
