"""The web UIs sample under autocast; the maps are computed in fp32 all the same."""

from __future__ import annotations

import pytest
import torch

from lib_pladis.attention import pladis_attention


@pytest.mark.parametrize("backend", ["torch", "entmax"])
def test_autocast_changes_nothing(backend):
    query, key, value = (torch.randn(1, 2, n, 40, generator=torch.Generator().manual_seed(n)) for n in (64, 77, 77))
    plain = pladis_attention(query, key, value, backend=backend)
    with torch.autocast("cpu", torch.bfloat16):
        assert (query @ key.mT).dtype == torch.bfloat16, "autocast is really on"
        assert torch.equal(pladis_attention(query, key, value, backend=backend), plain)
