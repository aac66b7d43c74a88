"""The web UIs sample under autocast; the maps are computed in fp32 all the same."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import torch

from lib_pladis.attention import pladis_attention
from lib_pladis.math.sparse import entmax, without_autocast


@pytest.mark.usefixtures("proved")
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


@pytest.mark.parametrize(("device", "off"), [("cuda", True), ("cpu", False), ("mps", False), ("privateuseone", False)])
def test_torch_before_2_4_has_autocast_switched_off_only_for_the_device_that_it_is_on_for(
    monkeypatch: pytest.MonkeyPatch, device: str, off: bool
) -> None:
    """There `is_autocast_enabled` takes no device and speaks of CUDA; `autocast("mps")` is an error."""
    asked: list[str] = []

    def autocast(device_type: str, enabled: bool) -> Any:
        asked.append(device_type)
        return contextlib.nullcontext()

    monkeypatch.setattr(torch, "is_autocast_enabled", lambda: True)
    monkeypatch.setattr(torch, "is_autocast_cpu_enabled", lambda: False)
    monkeypatch.setattr(torch, "autocast", autocast)
    with without_autocast(device):
        assert asked == [device] * off
