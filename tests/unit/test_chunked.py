"""The chunked kernel: its chunks, passes, buffers and memory."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from lib_pladis import limits
from lib_pladis.attention import pladis_attention
from lib_pladis.kernels import torch_chunked
from lib_pladis.math import newton, sparse
from tests.inputs import assert_matches, tensors
from tests.oracle import entmax_by_bisection, reference


@pytest.mark.parametrize("sigma", [0.1, 1.0, 5.0])
@pytest.mark.parametrize("keys", [1, 2, 77])
def test_small_calls_are_as_exact(sigma: float, keys: int) -> None:
    q, k, v = tensors(queries=64, keys=keys, sigma=1.0)
    q *= sigma
    found = pladis_attention(q, k, v, pladis_scale=1.7, temperature=0.8, backend="torch")
    assert_matches(found, reference(q, k, v, pladis_scale=1.7, temperature=0.8), atol=1e-5)
    q[0, 0, 3] = math.nan
    broken = pladis_attention(q, k, v, pladis_scale=1.7, temperature=0.8, backend="torch")
    assert broken[0, 0, 3].isnan().all() and broken.isnan().sum() == v.shape[3]


@pytest.mark.parametrize("limit", [1, 1000, 2**16, 2**17, 2**18, 2**20, 10**9])
def test_chunks_of_any_size_agree(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    """Within a head, whole heads, whole batch entries, and last chunks that are smaller."""
    monkeypatch.setitem(limits.CHUNK_BYTES, "cpu", limit)
    q, k, v = tensors(batch=3, heads=5, queries=64, keys=77)
    mask = torch.rand(3, 1, 64, 77, generator=torch.Generator().manual_seed(1)) > 0.3
    found = pladis_attention(q, k, v, attn_mask=mask, backend="torch")
    assert_matches(found, reference(q, k, v, attn_mask=mask))


def test_chunks_cover_everything_once_within_the_limit() -> None:
    for shape in ((2, 8, 4096, 77), (3, 5, 100, 231), (1, 1, 1, 1), (7, 2, 3, 512), (2, 24, 65536, 77)):
        batch, heads, queries, keys = shape
        seen = torch.zeros(batch, heads, queries, dtype=torch.int32)
        for b, h, q in torch_chunked._chunks(batch, heads, queries, keys, 16, 40_000):
            seen[b, h, q] += 1
            rows = (h.stop - h.start) * (q.stop - q.start)
            assert rows * ((b.stop - b.start) * keys + 16) <= 40_000
        assert (seen == 1).all()


def test_chunks_are_even_and_not_powers_of_two() -> None:
    """Heads stay together while they fit; 4096 queries in two parts are not cut where cache lines collide."""
    chunks = list(torch_chunked._chunks(2, 8, 4096, 2 * 77, 40, limits.CHUNK_BYTES["cpu"] // 4))
    assert [(b.stop - b.start, h.stop - h.start, q.stop - q.start) for b, h, q in chunks] == [
        (1, 8, 2064), (1, 8, 2032), (1, 8, 2064), (1, 8, 2032)
    ]  # fmt: skip


@pytest.mark.parametrize("alpha", [1.05, 1.2, 1.25, 1.5, 1.75, 2.0])
@pytest.mark.parametrize("columns", [200, 1024])
def test_wide_logits_in_columns(alpha: float, columns: int) -> None:
    """Rows of deviation 0.1 to 300, some masked: every solver, in the kernel's layout, rows taken out and not."""
    scores = torch.randn(2, 154, columns, generator=torch.Generator().manual_seed(5))
    scores *= torch.logspace(-1, 2.5, columns)
    scores[:, 100:, ::3] = -math.inf
    found = sparse.entmax(scores, alpha, 1).double()
    expected = entmax_by_bisection(scores.transpose(1, 2), alpha).transpose(1, 2)
    torch.testing.assert_close(found, expected, atol=5e-6, rtol=0)
    torch.testing.assert_close(found.sum(1), torch.ones(2, columns, dtype=torch.float64), atol=1e-5, rtol=0)
    assert (found[:, 100:, ::3] == 0).all()


def test_nan_stays_in_its_query() -> None:
    q, k, v = tensors(queries=40, keys=77)
    expected = pladis_attention(q, k, v, backend="torch")
    for alpha in (1.25, 1.5, 1.75, 2.0):
        expected = pladis_attention(q, k, v, alpha=alpha, backend="torch")
        broken = q.clone()
        broken[:, :, 7] = math.nan
        found = pladis_attention(broken, k, v, alpha=alpha, backend="torch")
        assert found[:, :, 7].isnan().all()
        others = [index for index in range(40) if index != 7]
        torch.testing.assert_close(found[:, :, others], expected[:, :, others], atol=2e-5, rtol=0)


def test_buffers_serve_in_and_out_of_inference_mode_and_are_given_back() -> None:
    torch_chunked.release_buffers()
    q, k, v = tensors(keys=77)
    with torch.inference_mode():
        inside = pladis_attention(q, k, v, backend="torch")
    assert torch.equal(pladis_attention(q, k, v, backend="torch"), inside)
    assert torch_chunked._idle
    torch_chunked.release_buffers()
    assert not torch_chunked._idle


def test_threads_do_not_share_buffers() -> None:
    inputs = [tensors(queries=256, keys=50 + index) for index in range(4)]
    expected = [pladis_attention(*each, backend="torch") for each in inputs]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            found = pool.map(lambda each: pladis_attention(*each, backend="torch"), inputs)
            for one, other in zip(found, expected):
                torch.testing.assert_close(one, other)


def test_threads_that_have_gone_keep_no_buffers() -> None:
    """What is kept doesn't grow with the number of threads that ever called, nor with those that call at once."""
    torch_chunked.release_buffers()
    q, k, v = tensors(queries=4096, keys=77)
    pladis_attention(q, k, v, backend="torch")
    kept_by_one = kept_bytes()
    together = threading.Barrier(8)

    def call(index: int) -> None:
        together.wait()
        pladis_attention(q, k, v, backend="torch")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(call, range(8)))
        assert 0 < kept_bytes() <= kept_by_one, "while the threads live"
    assert 0 < kept_bytes() <= kept_by_one


def kept_bytes() -> int:
    return sum(buffer.nbytes for buffers in torch_chunked._idle for buffer in buffers.values())


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's count of resident memory")
@pytest.mark.parametrize(("queries", "keys", "dim"), [(65536, 77, 40), (16384, 231, 64), (4096, 512, 128)])
def test_extra_memory_is_bounded(queries: int, keys: int, dim: int) -> None:
    """2048² included: at most 64 MiB beyond the result, in a process of its own."""
    code = f"""if True:
        import ctypes, re, torch
        from lib_pladis.attention import pladis_attention
        torch.set_num_threads(1)
        def resident(name):
            return int(re.search(name + r":\\s+(\\d+)", open("/proc/self/status").read()).group(1)) // 1024
        q = torch.randn(1, {queries}, 2, {dim}).transpose(1, 2)
        k, v = torch.randn(2, 1, 2, {keys}, {dim})
        pladis_attention(q[:, :, :8], k, v)
        ctypes.CDLL(None).malloc_trim(0)
        open("/proc/self/clear_refs", "w").write("5")
        before = resident("VmRSS")
        result = pladis_attention(q, k, v)
        size = result.numel() * 4 // 2**20
        assert resident("VmHWM") >= before + size // 2, "the peak is counted"
        extra = resident("VmHWM") - before - size
        assert extra <= 64, extra
        print(extra)
    """
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    print(done.stdout)


@pytest.mark.parametrize("keys, dim", [(1, 1), (3, 4), (77, 64)])
def test_what_was_in_the_memory_counts_for_nothing(keys: int, dim: int) -> None:
    q, k, v = tensors(1, 1, 40, keys, dim)
    torch_chunked.release_buffers()
    pladis_attention(*tensors(1, 1, 40, 77, 64), backend="torch")
    assert kept_bytes() > 0
    for buffers in torch_chunked._idle:
        for buffer in buffers.values():
            buffer.fill_(math.nan)
    assert_matches(pladis_attention(q, k, v, backend="torch"), reference(q, k, v))


@pytest.mark.parametrize("alpha", [1.5, 1.75])
def test_rows_are_taken_out_where_few_are_left(monkeypatch: pytest.MonkeyPatch, alpha: float) -> None:
    """And put back in their places, in a layout whose rows lie apart."""
    taken: list[newton._Rows] = []
    finish = newton._Rows.finish_

    def finished(rows: newton._Rows, tau: torch.Tensor, tolerance: float) -> None:
        taken.extend([rows] if rows.z.dim() == 2 else [])
        finish(rows, tau, tolerance)

    monkeypatch.setattr(newton._Rows, "finish_", finished)
    q, k, v = tensors(1, 4, 1024, 77, 16)
    assert_matches(pladis_attention(q, k, v, alpha=alpha, backend="torch"), reference(q, k, v, alpha=alpha))
    assert 0 < sum(len(rows.z) for rows in taken) < 1024


def test_result_is_ready_for_merging_heads() -> None:
    """(B, H, L, D) -> (B, L, H D) needs no copy."""
    q, k, v = tensors()
    found = pladis_attention(q, k, v, backend="torch")
    assert found.transpose(1, 2).is_contiguous()
