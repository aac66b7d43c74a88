"""The chunked kernel: its chunks, passes, buffers and memory."""

from __future__ import annotations

import collections
import math
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from lib_pladis.attention import pladis_attention
from lib_pladis.kernels import torch_chunked
from lib_pladis.math import newton, sparse
from tests.inputs import assert_matches, ran, tensors
from tests.oracle import entmax_by_bisection, reference


@pytest.fixture(autouse=True)
def nothing_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_chunked, "SMALL", 0)


@pytest.mark.parametrize("sigma", [0.1, 1.0, 5.0])
@pytest.mark.parametrize("keys", [1, 2, 77])
def test_small_calls_are_as_exact(monkeypatch: pytest.MonkeyPatch, sigma: float, keys: int) -> None:
    monkeypatch.setattr(torch_chunked, "SMALL", 10**6)
    q, k, v = tensors(queries=64, keys=keys, sigma=1.0)
    q *= sigma
    with Launches() as launches:
        found = pladis_attention(q, k, v, pladis_scale=1.7, temperature=0.8, backend="torch")
    assert launches.count < 70
    assert_matches(found, reference(q, k, v, pladis_scale=1.7, temperature=0.8), atol=1e-5)
    q[0, 0, 3] = math.nan
    broken = pladis_attention(q, k, v, pladis_scale=1.7, temperature=0.8, backend="torch")
    assert broken[0, 0, 3].isnan().all() and broken.isnan().sum() == v.shape[3]


@pytest.mark.parametrize("limit", [1, 100, 77 * 64, 77 * 64 * 3, 77 * 64 * 3 * 2, 10**9])
def test_chunks_of_any_size_agree(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    """Within a head, whole heads, whole batch entries, and last chunks that are smaller."""
    monkeypatch.setitem(torch_chunked.CHUNK_ELEMENTS, "cpu", limit)
    q, k, v = tensors(batch=3, heads=5, queries=64, keys=77)
    mask = torch.rand(3, 1, 64, 77, generator=torch.Generator().manual_seed(1)) > 0.3
    found = pladis_attention(q, k, v, attn_mask=mask, backend="torch")
    assert_matches(found, reference(q, k, v, attn_mask=mask))


def test_chunks_cover_everything_once_within_the_limit() -> None:
    for shape in ((2, 8, 4096, 77), (3, 5, 100, 231), (1, 1, 1, 1), (7, 2, 3, 512), (2, 24, 65536, 77)):
        batch, heads, queries, keys = shape
        seen = torch.zeros(batch, heads, queries, dtype=torch.int32)
        for b, h, q in torch_chunked._chunks(batch, heads, queries, keys, 40_000):
            seen[b, h, q] += 1
            scores = (b.stop - b.start) * (h.stop - h.start) * (q.stop - q.start) * keys
            assert scores <= 40_000
        assert (seen == 1).all()


def test_chunks_are_even_and_not_powers_of_two() -> None:
    """Heads stay together while they fit; 4096 queries in two parts are not cut where cache lines collide."""
    chunks = list(torch_chunked._chunks(2, 8, 4096, 77, 1280 * 1024))
    assert [(b.stop - b.start, h.stop - h.start, q.stop - q.start) for b, h, q in chunks] == [
        (1, 8, 2064), (1, 8, 2032), (1, 8, 2064), (1, 8, 2032)
    ]  # fmt: skip


class Passes(TorchDispatchMode):
    """Counts how often tensors of `size` numbers are read and written."""

    VIEWS = (
        "view",
        "expand",
        "slice",
        "transpose",
        "as_strided",
        "empty",
        "select",
        "unsqueeze",
        "alias",
        "detach",
        "new_ones",
    )

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size, self.reads, self.writes, self.by_name = size, 0, 0, collections.Counter[str]()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        name = func.__name__.split(".")[0]
        result = func(*args, **(kwargs or {}))
        if name not in self.VIEWS:
            out = (kwargs or {}).get("out")
            read = args[1:] if (kwargs or {}).get("beta") == 0 else args
            inputs = {id(a) for a in read if isinstance(a, Tensor) and self.is_large(a)}
            self.reads += len(inputs)
            self.writes += self.is_large(out if out is not None else result)
            if inputs:
                self.by_name[name] += 1
        return result

    def is_large(self, tensor: object) -> bool:
        return isinstance(tensor, Tensor) and tensor.numel() == self.size and 0 not in tensor.stride()


@pytest.mark.parametrize(("alpha", "expected"), torch_chunked.PASSES.items())
def test_passes_over_the_scores(monkeypatch: pytest.MonkeyPatch, alpha: float, expected: tuple[int, int]) -> None:
    """The count that PASSES gives: with a number of steps and what each step adds."""
    q, k, v = tensors(1, 2, 64, 77, 40)
    counts = []
    for steps in (4, 5):
        monkeypatch.setattr(newton, "STEPS_BEFORE_A_LOOK", steps)
        monkeypatch.setattr(newton, "unsolved", lambda sums, *_: torch.zeros_like(sums, dtype=torch.bool))
        with Passes(2 * 77 * 64) as passes:
            pladis_attention(q, k, v, alpha=alpha, backend="torch")
        counts.append(passes.reads + passes.writes)
    once, step = expected
    assert counts == [once + 4 * step, once + 5 * step], passes.by_name


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


def test_out_of_memory_makes_the_chunks_smaller_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that can't hold the scores of more than 100,000 in one product."""
    q, k, v = tensors(heads=4, queries=2048, keys=77)
    expected = reference(q, k, v)
    product: Any = torch.baddbmm
    sizes = []

    def small(*factors: Tensor, out: Tensor, **numbers: float) -> Tensor:
        sizes.append(out.numel())
        if out.numel() > 100_000:
            raise torch.cuda.OutOfMemoryError("full")
        return product(*factors, out=out, **numbers)

    monkeypatch.setattr(torch, "baddbmm", small)
    result = ran(q, k, v, "torch")
    assert result.note == "memory ran short: chunks of 81920 scores"
    assert max(sizes) > 100_000 and sizes[-1] <= 81_920
    assert_matches(result.out, expected)
    monkeypatch.setattr(torch_chunked, "SMALLEST_CHUNK", 400_000)
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
        factor = 0.125 * torch_chunked.BITS
        keys, after = (k.float() * factor, 1.0) if device == "another" else (k.float(), factor)
        with torch_chunked._Workspace(torch.device("cpu")) as workspace:
            found, top, _ = torch_chunked._logits(q, keys, after, None, workspace)
            found = (found + top).double().transpose(1, 2)
        errors[device] = (found - (q.double() @ k.double().transpose(2, 3) * factor).flatten(0, 1)).abs().max().item()
    if dtype == torch.float32:
        assert errors["cpu"] > 1e-4, "fp32 numbers are rounded: the test would see it"
    else:
        assert errors["cpu"] < 1e-5 < 1e-4 < errors["another"], errors


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


class Launches(TorchDispatchMode):
    """Counts what an accelerator would be given, and how often it would be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.count, self.waits = 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        name = func.__name__.split(".")[0]
        waits = name in ("_local_scalar_dense", "nonzero", "is_nonzero")
        self.waits += waits
        self.count += not waits and name.removeprefix("new_") not in (*Passes.VIEWS, "empty_strided", "empty_like")
        return func(*args, **(kwargs or {}))


@pytest.fixture
def accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU goes the way of the devices for which a look is dear."""
    monkeypatch.setattr(torch_chunked, "CHUNK_ELEMENTS", {})
    monkeypatch.setattr(torch_chunked, "looks", lambda device: False)


class WholeWrites(TorchDispatchMode):
    """Counts what is written, and refuses what MPS may write into a copy: a part of a tensor, but by `copy_`."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        name = func.__name__.split(".")[0]
        for index, argument in enumerate(func._schema.arguments):
            written = (kwargs or {}).get(argument.name, args[index] if index < len(args) else None)
            if argument.is_write and isinstance(written, Tensor):
                self.count += 1
                whole = written.is_contiguous() and written.numel() * 4 == written.untyped_storage().nbytes()
                assert name == "copy_" or whole, f"{name} into {tuple(written.shape)}, {written.stride()}"
        return func(*args, **(kwargs or {}))


@pytest.fixture
def mps(accelerator: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU goes Apple's way."""
    monkeypatch.setattr(newton, "DIRECT", ())
    buffer = lambda self, name, shape: torch.empty(shape)  # noqa: E731
    monkeypatch.setattr(torch_chunked._Workspace, "buffer", buffer)


@pytest.mark.parametrize("alpha", [1.0, 1.05, 1.25, 1.5, 1.75, 2.0])
@pytest.mark.parametrize(("rescale", "masked", "blind"), [(0.0, False, True), (0.7, False, True), (0.0, True, False)])
def test_nothing_is_written_into_parts_where_that_goes_wrong(
    mps: None, monkeypatch: pytest.MonkeyPatch, alpha: float, rescale: float, masked: bool, blind: bool
) -> None:
    if not blind:
        monkeypatch.setattr(newton, "BLIND_STEPS", 1)
        monkeypatch.setattr(newton, "BLIND_STEPS_OF_FEW_KEYS", 1)
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
def test_launches_of_a_layer(accelerator: None, heads: int, queries: int) -> None:
    """SDXL's layers at 1024², batch 2. In chunks of 2 M scores with looks on the way they were 275 and 4."""
    q, k, v = tensors(2, heads, queries, 77, 64, torch.float16)
    with Launches() as launches:
        pladis_attention(q, k, v, backend="torch")
    assert 30 < launches.count <= 275 // 3
    assert launches.waits == 1


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
    monkeypatch.setattr(newton, "BLIND_STEPS", 1)
    monkeypatch.setattr(newton, "BLIND_STEPS_OF_FEW_KEYS", 1)
    q, k, v = tensors(queries=700, keys=77, sigma=1.0)
    with Launches() as launches:
        found = pladis_attention(q, k, v, alpha=alpha, backend="torch")
    assert launches.waits > 1
    assert_matches(found, reference(q, k, v, alpha=alpha))


@pytest.mark.parametrize("alpha", [1.5, 1.75])
def test_rows_are_taken_out_where_few_are_left(monkeypatch: pytest.MonkeyPatch, alpha: float) -> None:
    """And put back in their places, in a layout whose rows lie apart."""
    taken: list[object] = []
    solve = newton._Rows._go_on_with
    monkeypatch.setattr(newton._Rows, "_go_on_with", lambda rows, which, tau: taken.append(solve(rows, which, tau)))
    q, k, v = tensors(1, 4, 1024, 77, 16)
    assert_matches(pladis_attention(q, k, v, alpha=alpha, backend="torch"), reference(q, k, v, alpha=alpha))
    assert taken


def test_result_is_ready_for_merging_heads() -> None:
    """(B, H, L, D) -> (B, L, H D) needs no copy."""
    q, k, v = tensors()
    found = pladis_attention(q, k, v, backend="torch")
    assert found.transpose(1, 2).is_contiguous()
