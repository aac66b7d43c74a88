"""The study's own rules, against what they are said to be."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from benchmarks.align.point import Point
from benchmarks.align.rules import MeasuringKernels, RuleKernels, cap, gag
from lib_pladis.attention import attend
from lib_pladis.kernels.choice import Kernels
from lib_pladis.math.rule import Mix


@pytest.fixture
def tensors() -> Any:
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, 3, 20, 8, generator=generator) for _ in range(3))
    return 2 * query, 2 * key, value


def of(kernels: Kernels, tensors: Any, mix: Mix) -> Any:
    query, key, value = tensors
    return attend(kernels, query, key, value, mix)


def test_gag_goes_on_along_the_sparse_output_only() -> None:
    sparse, dense = torch.tensor([2.0, 0.0]), torch.tensor([1.0, 3.0])
    assert torch.allclose(gag(dense, sparse, 2.0, 10.0), torch.tensor([3.0, 0.0])), "S + p, p = (1, 0)"
    assert torch.allclose(gag(dense, sparse, 3.0, 10.0), torch.tensor([4.0, 0.0]))
    short = 0.1 * 10**0.5
    assert torch.allclose(gag(dense, sparse, 2.0, 0.1), torch.tensor([2.0 + short, 0.0])), "no further than η ‖D‖"
    assert torch.equal(gag(dense, sparse, 1.0, 0.1), sparse)


def test_cap_shortens_what_is_too_long_and_nothing_else() -> None:
    sparse, dense = torch.tensor([[3.0, 0.0], [0.5, 0.0]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    assert torch.allclose(cap(dense, sparse, 1.0, 1.5), torch.tensor([[1.5, 0.0], [0.5, 0.0]]))


def test_a_rule_without_a_limit_is_the_blend(tensors: Any) -> None:
    mix = Mix(2.0)
    wanted = of(Kernels(), tensors, mix).out
    assert torch.allclose(of(RuleKernels("cap 1000"), tensors, mix).out, wanted, atol=1e-5)
    capped = of(RuleKernels("cap 1"), tensors, mix).out
    dense = of(Kernels(), tensors, Mix(0.0)).out
    assert (capped.norm(dim=-1) <= dense.norm(dim=-1) + 1e-5).all() and not torch.allclose(capped, wanted, atol=1e-2)


def test_measured_is_the_products_own_and_rescaled_has_the_dense_length(tensors: Any) -> None:
    for mix, longer in ((Mix(2.0), True), (Mix(2.0, rescale=1.0), False)):
        kernels = MeasuringKernels()
        assert torch.equal(of(kernels, tensors, mix).out, of(Kernels(), tensors, mix).out)
        (ratios,) = kernels.ratios
        assert len(ratios) == 2 * 3 * 20
        assert bool(ratios.mean() > 1.1) == longer
        if not longer:
            assert torch.allclose(ratios, torch.ones(()), atol=1e-4)


@pytest.mark.parametrize("rule", ["cap", "cap x", "nonsense 1"])
def test_bad_rules_are_refused(rule: str) -> None:
    with pytest.raises(ValueError, match="rule: got"):
        RuleKernels(rule)


def test_no_web_ui_is_asked_for_a_rule() -> None:
    with pytest.raises(ValueError, match="the study's own"):
        _ = Point(5, rule="cap 1").arguments
    assert "rule" not in Point(5, rescale=0.5).arguments and Point(5, rescale=0.5).arguments["rescale"] == 0.5
