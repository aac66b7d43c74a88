"""The chunked kernel on other devices than a CPU, whose ways the CPU goes here: CUDA without Triton, MPS."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from lib_pladis import limits
from lib_pladis.attention import pladis_attention
from lib_pladis.kernels import torch_chunked
from lib_pladis.math import newton
from tests.dispatched import Launches, Traffic, WholeWrites
from tests.inputs import assert_matches, ran, tensors
from tests.oracle import reference


@pytest.fixture
def accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU goes the way of the devices for which a look is dear."""
    monkeypatch.setattr(limits, "CHUNK_BYTES", {})
    monkeypatch.setattr(limits, "is_cpu", lambda device: False)
    monkeypatch.setattr(limits, "SUMS_IN_ONE_READ", ("cpu",))


def test_out_of_memory_makes_the_chunks_smaller_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that can't hold the scores of more than 500,000 in one product."""
    q, k, v = tensors(heads=4, queries=2048, keys=77)
    expected = reference(q, k, v)
    product: Any = torch.baddbmm
    sizes = []

    def small(*factors: Tensor, out: Tensor, **numbers: float) -> Tensor:
        sizes.append(out.numel())
        if out.numel() > 500_000:
            raise torch.cuda.OutOfMemoryError("full")
        return product(*factors, out=out, **numbers)

    monkeypatch.setattr(torch, "baddbmm", small)
    result = ran(q, k, v, "torch")
    assert result.note == "memory ran short: chunks of 3.1 MiB"
    assert max(sizes) > 500_000 and sizes[-1] <= 3.2 * 2**20 / 8
    assert_matches(result.out, expected)
    monkeypatch.setattr(limits, "SMALLEST_CHUNK_BYTES", 12.5 * 2**20)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        ran(q, k, v, "torch")
    monkeypatch.undo()
    assert ran(q, k, v, "torch").note == ""


def tf32(tensor: Tensor) -> Tensor:
    """fp32 numbers rounded to the 10 bits that CUDA's tensor cores keep of them, to the nearest."""
    bits = tensor.contiguous().view(torch.int32)
    return ((bits + 0x1000) & ~0x1FFF).view(torch.float32)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_half_precision_logits_lose_nothing_to_tf32(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    """AUTOMATIC1111 lets CUDA round the factors of fp32 products so. What is half-precision already stays as it is."""
    baddbmm, bmm = torch.baddbmm, torch.bmm
    monkeypatch.setattr(torch, "baddbmm", lambda place, a, b, **rest: baddbmm(place, tf32(a), tf32(b), **rest))
    monkeypatch.setattr(torch, "bmm", lambda a, b, **rest: bmm(tf32(a), tf32(b), **rest))
    q, k, _ = tensors(1, 4, 256, 77, 64, dtype)
    errors = {}
    for device in ("another", "cpu"):  # keys scaled before the product, and products scaled
        factor = 0.125 * newton.BITS
        keys, after = (k.float() * factor, 1.0) if device == "another" else (k.float(), factor)
        with torch_chunked._Workspace(torch.device("cpu")) as workspace:
            found, top, _ = torch_chunked._logits(q, keys, after, None, workspace)
            found = (found + top).double().transpose(2, 3)
        errors[device] = (found - (q.double() @ k.double().transpose(2, 3) * factor)).abs().max().item()
    if dtype == torch.float32:
        assert errors["cpu"] > 1e-4, "fp32 numbers are rounded: the test would see it"
    else:
        assert errors["cpu"] < 1e-5 < 1e-4 < errors["another"], errors


@pytest.fixture
def mps(accelerator: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU goes Apple's way."""
    monkeypatch.setattr(limits, "DIRECT", ())
    monkeypatch.setattr(limits, "SUMS_IN_ONE_READ", ())


@pytest.mark.parametrize("alpha", [1.0, 1.05, 1.25, 1.5, 1.75, 2.0])
@pytest.mark.parametrize(("rescale", "masked", "blind"), [(0.0, False, True), (0.7, False, True), (0.0, True, False)])
def test_nothing_is_written_into_parts_where_that_goes_wrong(
    mps: None, monkeypatch: pytest.MonkeyPatch, alpha: float, rescale: float, masked: bool, blind: bool
) -> None:
    if not blind:
        monkeypatch.setattr(newton, "first_steps", lambda *_: 1)
    q, k, v = tensors(2, 4, 512, 77, 64)
    mask = torch.rand(2, 1, 512, 77, generator=torch.Generator().manual_seed(1)) > 0.3 if masked else None
    with WholeWrites() as writes:
        found = pladis_attention(
            q, k, v, attn_mask=mask, alpha=alpha, rescale=rescale, temperature=0.8, backend="torch"
        )
    assert writes.count > 10
    assert_matches(found, reference(q, k, v, attn_mask=mask, alpha=alpha, rescale=rescale, temperature=0.8))


def test_the_check_of_whole_writes_sees_those_of_a_cpu() -> None:
    with pytest.raises(AssertionError, match="baddbmm"), WholeWrites():
        pladis_attention(*tensors(2, 4, 512, 77, 64), backend="torch")


@pytest.mark.parametrize("heads, queries", [(10, 4096), (20, 1024)])
def test_launches_and_passes_of_a_layer(accelerator: None, heads: int, queries: int) -> None:
    """SDXL's layers at 1024², batch 2. Passes: bytes read and written over those of all fp32 scores."""
    q, k, v = tensors(2, heads, queries, 77, 64, torch.float16)
    with Launches() as launches, Traffic() as traffic:
        pladis_attention(q, k, v, backend="torch")
    assert 30 < launches.count <= 80
    assert launches.waits == 1
    assert 20 < traffic.bytes / (2 * heads * queries * 77 * 4) <= 34


@pytest.mark.parametrize(
    ("alpha", "rescale", "masked"), [(1.5, 0.0, False), (1.5, 0.7, True), (1.75, 0.7, False), (2.0, 0.0, True)]
)
def test_memory_of_several_chunks(accelerator: None, alpha: float, rescale: float, masked: bool) -> None:
    """A layer of SDXL at 2048²: at most 64 MiB beyond the result, whatever became of the chunk before."""
    q, k, v = tensors(1, 10, 16384, 77, 64, torch.float16)
    mask = torch.zeros(1, 1, 16384, 77, dtype=torch.float16) if masked else None
    with Traffic() as traffic:
        found = pladis_attention(q, k, v, alpha=alpha, rescale=rescale, attn_mask=mask, backend="torch")
    assert 30 * 2**20 < traffic.peak - found.nbytes <= 64 * 2**20


@pytest.mark.parametrize("alpha", [1.0, 1.05, 1.25, 1.5, 1.6, 1.75, 2.0])
@pytest.mark.parametrize("sigma", [0.3, 1.0, 4.0])
def test_blind_steps_are_as_exact(accelerator: None, alpha: float, sigma: float) -> None:
    q, k, v = tensors(queries=700, keys=77, sigma=1.0)
    q *= sigma
    found = pladis_attention(q, k, v, alpha=alpha, backend="torch")
    assert_matches(found, reference(q, k, v, alpha=alpha), atol=1e-5)


@pytest.mark.parametrize("alpha", [1.25, 1.5, 1.75, 2.0])
def test_rows_that_blind_steps_leave_are_gone_on_with(
    accelerator: None, monkeypatch: pytest.MonkeyPatch, alpha: float
) -> None:
    monkeypatch.setattr(newton, "first_steps", lambda *_: 1)
    q, k, v = tensors(queries=700, keys=77, sigma=1.0)
    with Launches() as launches:
        found = pladis_attention(q, k, v, alpha=alpha, backend="torch")
    assert launches.waits > 1
    assert_matches(found, reference(q, k, v, alpha=alpha))


@pytest.mark.parametrize("alpha", [1.5, 1.75, 2.0])
def test_a_layer_is_not_done_again_for_a_few_rows(
    accelerator: None, monkeypatch: pytest.MonkeyPatch, alpha: float
) -> None:
    """After the first look only rows that were taken out take steps."""
    monkeypatch.setattr(newton, "first_steps", lambda *_: 2)
    steps: list[int] = []
    step = newton._Rows.step_

    def counted(rows: newton._Rows, tau: Tensor, bend: float) -> None:
        steps.append(tau.numel())
        step(rows, tau, bend)

    monkeypatch.setattr(newton._Rows, "step_", counted)
    q, k, v = tensors(1, 4, 1024, 77, 16, torch.float16, sigma=1.5)
    found = pladis_attention(q, k, v, alpha=alpha, backend="torch")
    assert steps[:2] == [4 * 1024] * 2 and steps[2:]
    assert all(0 < count < 1024 for count in steps[2:])
    assert_matches(found, reference(q, k, v, alpha=alpha), atol=4e-3)
