"""The web UIs sample under autocast; the maps are computed in fp32 all the same."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lib_pladis.attention import pladis_attention
from lib_pladis.math.sparse import entmax


@pytest.mark.parametrize("backend", ["torch", "entmax"])
def test_autocast_changes_nothing(backend: Any) -> None:
    query, key, value = (torch.randn(1, 2, n, 40, generator=torch.Generator().manual_seed(n)) for n in (64, 77, 77))
    plain = pladis_attention(query, key, value, backend=backend)
    with torch.autocast("cpu", torch.bfloat16):
        assert (query @ key.mT).dtype == torch.bfloat16, "autocast is really on"
        assert torch.equal(pladis_attention(query, key, value, backend=backend), plain)


@pytest.mark.parametrize("dim", [1, 2])
def test_autocast_leaves_the_sparse_map_alone(dim: Any) -> None:
    scores = torch.randn(1, 77, 1024, generator=torch.Generator().manual_seed(0))
    plain = entmax(scores, 1.5, dim)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(entmax(scores, 1.5, dim), plain)
