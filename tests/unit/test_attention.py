"""`pladis_attention` on every backend that runs here, against fp64 arithmetic."""

from __future__ import annotations

import collections
import logging
import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from lib_pladis import attention, sparse
from lib_pladis.attention import choose_backend, last_backend, pladis_attention
from lib_pladis.kernels import torch_chunked
from tests.oracle import entmax_by_bisection, reference

BACKENDS = ("torch", "entmax")
ALPHAS = (1.0, 1.05, 1.25, 1.5, 1.75, 1.99, 2.0)


@pytest.fixture(autouse=True)
def fresh_backends() -> None:
    attention.reset_backends()


def tensors(
    batch: int = 2,
    heads: int = 3,
    queries: int = 20,
    keys: int = 13,
    dim: int = 8,
    dtype: torch.dtype = torch.float32,
    sigma: float = 1.5,
) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key, value as the hosts have them: views of (B, L, H D)."""
    generator = torch.Generator().manual_seed(queries * 1000 + keys)

    def one(length: int) -> Tensor:
        flat = torch.randn(batch, length, heads * dim, generator=generator) * sigma
        return flat.to(dtype).view(batch, length, heads, dim).transpose(1, 2)

    return one(queries), one(keys), one(keys)


def assert_matches(found: Tensor, expected: Tensor, atol: float = 3e-5) -> None:
    assert found.shape == expected.shape
    torch.testing.assert_close(found.double(), expected, atol=atol, rtol=0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("pladis_scale", [0.0, 0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_equation(backend: str, alpha: float, pladis_scale: float, temperature: float) -> None:
    q, k, v = tensors()
    arguments = {"pladis_scale": pladis_scale, "alpha": alpha, "temperature": temperature}
    assert_matches(pladis_attention(q, k, v, backend=backend, **arguments), reference(q, k, v, **arguments))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("keys", [1, 2, 77, 154, 231, 512])
@pytest.mark.parametrize("dim", [40, 64, 80, 128, 160])
def test_shapes_of_the_hosts(backend: str, keys: int, dim: int) -> None:
    q, k, v = tensors(batch=1, heads=2, queries=33, keys=keys, dim=dim, sigma=1.0)
    assert_matches(pladis_attention(q, k, v, backend=backend), reference(q, k, v))


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
            inputs = {id(a) for a in args if isinstance(a, Tensor) and self.is_large(a)}
            self.reads += len(inputs)
            self.writes += self.is_large(out if out is not None else result)
            if inputs:
                self.by_name[name] += 1
        return result

    def is_large(self, tensor: object) -> bool:
        return isinstance(tensor, Tensor) and tensor.numel() == self.size and 0 not in tensor.stride()


@pytest.mark.parametrize(("alpha", "expected"), torch_chunked.PASSES.items())
def test_passes_over_the_scores(monkeypatch: pytest.MonkeyPatch, alpha: float, expected: tuple[int, int]) -> None:
    """The count that the kernel's docstring gives: with a number of steps and what each step adds."""
    q, k, v = tensors(1, 2, 64, 77, 40)
    counts = []
    for steps in (4, 5):
        monkeypatch.setattr(sparse, "_look", lambda tensor, step, steps=steps: step == steps - 1)
        monkeypatch.setattr(sparse, "_any_above", lambda error, bound: False)
        with Passes(2 * 77 * 64) as passes:
            pladis_attention(q, k, v, alpha=alpha, backend="torch")
        counts.append(passes.reads + passes.writes)
    once, step = expected
    assert counts == [once + 4 * step, once + 5 * step], passes.by_name


@pytest.mark.parametrize("alpha", [1.05, 1.2, 1.25, 1.5, 1.75, 2.0])
@pytest.mark.parametrize("columns", [200, sparse.MANY_ROWS])
def test_wide_logits_in_columns(alpha: float, columns: int) -> None:
    """Rows of deviation 0.1 to 300, some masked: every solver, in the kernel's layout, summed in both ways."""
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
    assert torch_chunked._kept.__dict__
    torch_chunked.release_buffers()
    assert not torch_chunked._kept.__dict__


def test_threads_do_not_share_buffers() -> None:
    inputs = [tensors(queries=256, keys=50 + index) for index in range(4)]
    expected = [pladis_attention(*each, backend="torch") for each in inputs]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            found = pool.map(lambda each: pladis_attention(*each, backend="torch"), inputs)
            for one, other in zip(found, expected):
                torch.testing.assert_close(one, other)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("alpha", [1.25, 1.5, 2.0])
def test_half_precision_rounds_once(backend: str, dtype: torch.dtype, alpha: float) -> None:
    """The only error of a half-precision call is that its result is rounded."""
    q, k, v = tensors(keys=77, dtype=dtype)
    found = pladis_attention(q, k, v, alpha=alpha, backend=backend)
    assert found.dtype == dtype
    expected = reference(q, k, v, alpha=alpha)
    error = (found.double() - expected).abs()
    assert (error <= torch.finfo(dtype).eps * expected.abs() + 1e-4).all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("size", [1e2, 1e4])
def test_large_logits(backend: str, size: float) -> None:
    """One-hot rows and ties at +-size, equal keys with different values."""
    q = torch.tensor([[1.0], [-1.0], [0.0]]).view(1, 1, 3, 1)
    k = torch.tensor([size, -size, size, 0.0]).view(1, 1, 4, 1)
    v = torch.arange(8.0).view(1, 1, 4, 2)
    for alpha in ALPHAS:
        found = pladis_attention(q, k, v, alpha=alpha, scale=1.0, backend=backend)
        assert_matches(found, reference(q, k, v, alpha=alpha, scale=1.0))


MASKS = {
    "keys": (1, 1, 1, 13),
    "rows": (2, 1, 20, 13),
    "full": (2, 3, 20, 13),
    "two dims": (20, 13),
    "one dim": (13,),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shape", MASKS.values(), ids=MASKS.keys())
@pytest.mark.parametrize("kind", ["bool", "float", "half", "-inf"])
@pytest.mark.parametrize("alpha", [1.0, 1.25, 1.5, 2.0])
def test_masks(backend: str, shape: tuple[int, ...], kind: str, alpha: float) -> None:
    q, k, v = tensors()
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(7))
    mask = {
        "bool": noise > 0,
        "float": noise,
        "half": noise.half(),
        "-inf": noise.masked_fill(noise > 0.5, -math.inf),
    }[kind]
    arguments = {"attn_mask": mask, "alpha": alpha, "temperature": 0.7}
    assert_matches(pladis_attention(q, k, v, backend=backend, **arguments), reference(q, k, v, **arguments))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("pladis_scale", [1.0, 2.0])
def test_query_without_keys_gives_zeros(backend: str, alpha: float, pladis_scale: float) -> None:
    q, k, v = tensors()
    mask = torch.ones(20, 13, dtype=torch.bool)
    mask[5] = False
    arguments = {"pladis_scale": pladis_scale, "alpha": alpha, "temperature": 1.1, "attn_mask": mask}
    found = pladis_attention(q, k, v, backend=backend, **arguments)
    assert (found[:, :, 5] == 0).all()
    assert_matches(found, reference(q, k, v, **arguments))


def test_nothing_to_mix_is_torchs_own_attention() -> None:
    q, k, v = tensors(keys=77)
    expected = F.scaled_dot_product_attention(q, k, v)
    assert torch.equal(pladis_attention(q, k, v, pladis_scale=0.0), expected)
    assert torch.equal(pladis_attention(q, k, v, alpha=1.0), expected)
    assert torch.equal(pladis_attention(q, k, v, alpha=1), expected)
    assert last_backend() == "sdpa"
    mask = torch.randn(20, 77)
    half = pladis_attention(q.half(), k.half(), v.half(), pladis_scale=0.0, attn_mask=mask)
    torch.testing.assert_close(half.double(), reference(q, k, v, 0.0, attn_mask=mask), atol=1e-2, rtol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_linear_in_the_scale(backend: str) -> None:
    q, k, v = tensors(keys=77)
    dense = pladis_attention(q, k, v, pladis_scale=0.0, backend=backend)
    sparse = pladis_attention(q, k, v, pladis_scale=1.0, backend=backend)
    for pladis_scale in (-1.0, 0.25, 0.999999, 1.000001, 3.0):
        found = pladis_attention(q, k, v, pladis_scale=pladis_scale, backend=backend)
        expected = pladis_scale * sparse + (1 - pladis_scale) * dense
        torch.testing.assert_close(found, expected, atol=3e-5, rtol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_rows_of_weights_sum_to_one(backend: str) -> None:
    """Values of one show the sum of a query's weights."""
    q, k, v = tensors(keys=231, sigma=3.0)
    for alpha in (1.05, 1.5, 2.0):
        for pladis_scale in (1.0, 2.0):
            found = pladis_attention(q, k, torch.ones_like(v), pladis_scale=pladis_scale, alpha=alpha, backend=backend)
            torch.testing.assert_close(found, torch.ones_like(found), atol=1e-5 * pladis_scale, rtol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_layouts_agree_and_inputs_are_left_alone(backend: str) -> None:
    q, k, v = tensors(keys=77)
    copies = q.clone(), k.clone(), v.clone()
    expected = pladis_attention(q.contiguous(), k.contiguous(), v.contiguous(), backend=backend)
    torch.testing.assert_close(pladis_attention(q, k, v, backend=backend), expected, atol=1e-5, rtol=0)
    odd = [t.transpose(2, 3).contiguous().transpose(2, 3) for t in (q, k, v)]
    torch.testing.assert_close(pladis_attention(*odd, backend=backend), expected, atol=1e-5, rtol=0)
    shared = k[:, :1].expand_as(k), v[:, :1].expand_as(v)
    copied = shared[0].contiguous(), shared[1].contiguous()
    torch.testing.assert_close(
        pladis_attention(q, *shared, backend=backend), pladis_attention(q, *copied, backend=backend)
    )
    for tensor, copy in zip((q, k, v), copies):
        assert torch.equal(tensor, copy)


@pytest.mark.parametrize("backend", BACKENDS)
def test_other_value_width_scale_and_empty(backend: str) -> None:
    q, k, v = tensors()
    wide = torch.cat([v, v * 2], -1)
    assert_matches(pladis_attention(q, k, wide, backend=backend), reference(q, k, wide))
    for scale in (0.0, 0.7, -0.3):
        found = pladis_attention(q, k, v, scale=scale, backend=backend)
        assert_matches(found, reference(q, k, v, scale=scale))
    assert pladis_attention(q[:, :, :0], k, v, backend=backend).shape == (2, 3, 0, 8)
    assert pladis_attention(q[:0], k[:0], v[:0], backend=backend).shape == (0, 3, 20, 8)


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


def test_result_is_ready_for_merging_heads() -> None:
    """(B, H, L, D) -> (B, L, H D) needs no copy."""
    q, k, v = tensors()
    found = pladis_attention(q, k, v, backend="torch")
    assert found.transpose(1, 2).is_contiguous()


def test_no_gradient() -> None:
    q, k, v = tensors()
    assert not pladis_attention(q.requires_grad_(), k, v).requires_grad


BAD = {
    "pladis_scale": (["abc", "2", math.nan, math.inf, None, True, torch.tensor(2.0)], "a finite number"),
    "alpha": ([0.5, 3, math.nan, "1.5", None, False], "a number from 1 to 2"),
    "temperature": ([0, -1.0, math.nan, math.inf, "1", None, True], "a finite number above 0"),
    "scale": ([math.nan, math.inf, "1", True], "a finite number or None"),
    "backend": (["cuda", "", None, 3], "auto, triton, torch, entmax"),
    "attn_mask": (
        [torch.zeros(13, dtype=torch.int64), "all", torch.zeros(14), torch.zeros(1, 2, 3, 20, 13)],
        "a bool or floating-point tensor|broadcastable to",
    ),
}


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [(name, value, allowed) for name, (values, allowed) in BAD.items() for value in values],
)
def test_bad_arguments_are_named(name: str, value: object, allowed: str) -> None:
    q, k, v = tensors()
    with pytest.raises(ValueError, match=rf"^{name}: got .*allowed: ({allowed})"):
        pladis_attention(q, k, v, **{name: value})


def test_bad_tensors_are_named() -> None:
    q, k, v = tensors()
    cases = [
        ("query", (q.numpy(), k, v)),
        ("query", (q[0], k, v)),
        ("query", (q.double(), k.double(), v.double())),
        ("query", (q[..., :0], k[..., :0], v)),
        ("key", (q, k.half(), v)),
        ("key", (q, k[:1], v)),
        ("key", (q, k[:, :2], v)),
        ("key", (q, k[..., :5], v)),
        ("key", (q, k[:, :, :0], v[:, :, :0])),
        ("value", (q, k, v[:, :, :7])),
        ("value", (q, k, None)),
        ("key", (q, k.to("meta"), v)),
    ]
    for name, arguments in cases:
        with pytest.raises(ValueError, match=rf"^{name}: got .*allowed: "):
            pladis_attention(*arguments)


def test_backend_names() -> None:
    q, k, v = tensors()
    assert choose_backend(q, k, v) == "torch"
    assert choose_backend(q, k, v, backend="torch") == "torch"
    assert choose_backend(q, k, v, backend="entmax") == "entmax"
    pladis_attention(q, k, v)
    assert last_backend() == "torch"
    pladis_attention(q, k, v, backend="entmax")
    assert last_backend() == "entmax"


def pretend_triton(monkeypatch: pytest.MonkeyPatch, error: Exception, calls: list[int]) -> None:
    """A machine where the fused kernel is chosen, and raises when it is run."""

    def attend(*args: object, **arguments: object) -> Tensor:
        calls.append(1)
        raise error

    monkeypatch.setattr(attention, "_triton_attend", lambda: attend)
    monkeypatch.setattr(attention, "_installed", lambda package: True)
    monkeypatch.setenv("TRITON_INTERPRET", "1")


def test_failing_kernel_falls_back_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    calls: list[int] = []
    pretend_triton(monkeypatch, RuntimeError("no C compiler\nmore"), calls)
    q, k, v = tensors()
    expected = reference(q, k, v)
    with caplog.at_level(logging.INFO, "pladis"):
        for _ in range(3):
            assert_matches(pladis_attention(q, k, v, backend="triton"), expected)
            assert last_backend() == "torch"
    assert calls == [1]
    (line,) = [record.getMessage() for record in caplog.records]
    assert "kernel triton failed (RuntimeError: no C compiler); using torch" in line
    attention.reset_backends()
    pladis_attention(q, k, v, backend="triton")
    assert calls == [1, 1]


def test_out_of_memory_is_raised_and_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    pretend_triton(monkeypatch, torch.cuda.OutOfMemoryError("full"), calls)
    q, k, v = tensors()
    for _ in range(2):
        with pytest.raises(torch.cuda.OutOfMemoryError):
            pladis_attention(q, k, v, backend="triton")
    assert calls == [1, 1]


def test_kernel_that_cannot_run_here_is_replaced_with_one_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(attention.entmax_package, "available", lambda: False)
    q, k, v = tensors()
    expected = reference(q, k, v)
    with caplog.at_level(logging.INFO, "pladis"):
        for backend in ("triton", "entmax", "triton", "entmax", "auto", "torch"):
            assert_matches(pladis_attention(q, k, v, backend=backend), expected)
            assert last_backend() == "torch"
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert "kernel triton cannot be used" in lines[0]
    assert "kernel entmax cannot be used (not installed); using torch" in lines[1]


class OnCuda:
    """What `choose_backend` looks at of a tensor on a GPU."""

    def __init__(self, *shape: int) -> None:
        self.shape = torch.Size(shape)
        self.device = torch.device("cuda")


@pytest.mark.parametrize(
    ("installed", "keys", "backend", "expected"),
    [
        (True, 77, "auto", "triton"),
        (True, 512, "auto", "triton"),
        (True, 513, "auto", "torch"),
        (False, 77, "auto", "torch"),
        (False, 77, "triton", "torch"),
        (True, 77, "torch", "torch"),
    ],
)
def test_choice_on_a_gpu(
    monkeypatch: pytest.MonkeyPatch, installed: bool, keys: int, backend: str, expected: str
) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(attention, "_installed", lambda package: installed)
    query, key = OnCuda(2, 8, 64, 40), OnCuda(2, 8, keys, 40)
    assert choose_backend(query, key, key, backend=backend) == expected  # type: ignore[arg-type]


def test_library_imports_neither_triton_nor_a_host() -> None:
    code = (
        "import sys, torch, lib_pladis.attention\n"
        "names = ('triton', 'gradio', 'modules', 'entmax')\n"
        "loaded = [name for name in names if name in sys.modules]\n"
        "assert not loaded, loaded"
    )
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True)
