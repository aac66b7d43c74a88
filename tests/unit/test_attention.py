"""`pladis_attention` on every kernel that runs here, against fp64 arithmetic."""

from __future__ import annotations

import math
import os
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from lib_pladis.attention import pladis_attention
from lib_pladis.kernels import choice
from lib_pladis.kernels.base import AttentionInputs, Problem
from lib_pladis.kernels.choice import KERNELS
from lib_pladis.math.rule import Mix
from tests.inputs import assert_matches, ran, tensors
from tests.oracle import reference

INTERPRETED = {"triton"} if os.environ.get("TRITON_INTERPRET") == "1" else set()
"""A second for each call: test_triton.py has it."""

BACKENDS = [
    name
    for name, kernel in KERNELS.items()
    if name not in INTERPRETED and not kernel.why_not(Problem.of(AttentionInputs(*tensors(), None, Mix(), 1.0)))
]
ALPHAS = (1.0, 1.05, 1.25, 1.5, 1.75, 1.99, 2.0)


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A kernel's name. No other kernel computes what this one fails at; what it refuses is skipped."""
    kernel = KERNELS[request.param]

    def plan(problem: Problem) -> Any:
        if kernel.why_not(problem):
            pytest.skip(kernel.why_not(problem))
        return kernel.plan(problem)

    alone = SimpleNamespace(name=kernel.name, plan=plan, attend=kernel.attend)
    monkeypatch.setitem(KERNELS, kernel.name, alone)
    monkeypatch.setattr(choice, "FALLBACK", alone)
    return kernel.name


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("pladis_scale", [0.0, 0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_equation(backend: str, alpha: float, pladis_scale: float, temperature: float) -> None:
    q, k, v = tensors()
    arguments: dict[str, Any] = {"pladis_scale": pladis_scale, "alpha": alpha, "temperature": temperature}
    assert_matches(pladis_attention(q, k, v, backend=backend, **arguments), reference(q, k, v, **arguments))


@pytest.mark.parametrize("keys", [1, 2, 77, 154, 231, 512])
@pytest.mark.parametrize("dim", [40, 64, 80, 128, 160])
def test_shapes_of_the_hosts(backend: str, keys: int, dim: int) -> None:
    q, k, v = tensors(batch=1, heads=2, queries=33, keys=keys, dim=dim, sigma=1.0)
    assert_matches(pladis_attention(q, k, v, backend=backend), reference(q, k, v))


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


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("size", [1e2, 1e4])
def test_large_logits(backend: str, size: float, alpha: float) -> None:
    """One-hot rows and ties at +-size, equal keys with different values."""
    q = torch.tensor([[1.0], [-1.0], [0.0]]).view(1, 1, 3, 1)
    k = torch.tensor([size, -size, size, 0.0]).view(1, 1, 4, 1)
    v = torch.arange(8.0).view(1, 1, 4, 2)
    found = pladis_attention(q, k, v, alpha=alpha, scale=1.0, backend=backend)
    assert_matches(found, reference(q, k, v, alpha=alpha, scale=1.0))


MASKS = {
    "keys": (1, 1, 1, 13),
    "rows": (2, 1, 20, 13),
    "full": (2, 3, 20, 13),
    "two dims": (20, 13),
    "one dim": (13,),
}


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
    arguments: dict[str, Any] = {"attn_mask": mask, "alpha": alpha, "temperature": 0.7}
    assert_matches(pladis_attention(q, k, v, backend=backend, **arguments), reference(q, k, v, **arguments))


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("pladis_scale", [1.0, 2.0])
def test_query_without_keys_gives_zeros(backend: str, alpha: float, pladis_scale: float) -> None:
    q, k, v = tensors()
    mask = torch.ones(20, 13, dtype=torch.bool)
    mask[5] = False
    arguments: dict[str, Any] = {"pladis_scale": pladis_scale, "alpha": alpha, "temperature": 1.1, "attn_mask": mask}
    found = pladis_attention(q, k, v, backend=backend, **arguments)
    assert (found[:, :, 5] == 0).all()
    assert_matches(found, reference(q, k, v, **arguments))


def test_nothing_to_mix_is_torchs_own_attention() -> None:
    q, k, v = tensors(keys=77)
    expected = F.scaled_dot_product_attention(q, k, v)
    assert torch.equal(pladis_attention(q, k, v, pladis_scale=0.0), expected)
    assert torch.equal(pladis_attention(q, k, v, alpha=1.0), expected)
    assert torch.equal(pladis_attention(q, k, v, alpha=1), expected)
    for plain in (Mix(scale=0.0), Mix(alpha=1.0)):
        result = ran(q, k, v, mix=plain)
        assert result.kernel == "sdpa" and torch.equal(result.out, expected)
    mask = torch.randn(20, 77)
    half = pladis_attention(q.half(), k.half(), v.half(), pladis_scale=0.0, attn_mask=mask)
    torch.testing.assert_close(half.double(), reference(q, k, v, 0.0, attn_mask=mask), atol=1e-2, rtol=0)


def test_linear_in_the_scale(backend: str) -> None:
    q, k, v = tensors(keys=77)
    dense = pladis_attention(q, k, v, pladis_scale=0.0, backend=backend)
    sparse = pladis_attention(q, k, v, pladis_scale=1.0, backend=backend)
    for pladis_scale in (-1.0, 0.25, 0.999999, 1.000001, 3.0):
        found = pladis_attention(q, k, v, pladis_scale=pladis_scale, backend=backend)
        expected = pladis_scale * sparse + (1 - pladis_scale) * dense
        torch.testing.assert_close(found, expected, atol=3e-5, rtol=0)


def test_rows_of_weights_sum_to_one(backend: str) -> None:
    """Values of one show the sum of a query's weights."""
    q, k, v = tensors(keys=231, sigma=3.0)
    for alpha in (1.05, 1.5, 2.0):
        for pladis_scale in (1.0, 2.0):
            found = pladis_attention(q, k, torch.ones_like(v), pladis_scale=pladis_scale, alpha=alpha, backend=backend)
            torch.testing.assert_close(found, torch.ones_like(found), atol=1e-5 * pladis_scale, rtol=0)


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


def test_other_value_width_scale_and_empty(backend: str) -> None:
    q, k, v = tensors()
    wide = torch.cat([v, v * 2], -1)
    assert_matches(pladis_attention(q, k, wide, backend=backend), reference(q, k, wide))
    for scale in (0.0, 0.7, -0.3):
        found = pladis_attention(q, k, v, scale=scale, backend=backend)
        assert_matches(found, reference(q, k, v, scale=scale))
    assert pladis_attention(q[:, :, :0], k, v, backend=backend).shape == (2, 3, 0, 8)
    assert pladis_attention(q[:0], k[:0], v[:0], backend=backend).shape == (0, 3, 20, 8)


def test_no_gradient() -> None:
    q, k, v = tensors()
    assert not pladis_attention(q.requires_grad_(), k, v).requires_grad


BAD: dict[str, tuple[list[Any], str]] = {
    "pladis_scale": (
        ["abc", "2", math.nan, math.inf, 10**400, 1e39, None, True, torch.tensor(2.0)],
        "a number from -1e6 to 1e6",
    ),
    "alpha": ([0.5, 3, math.nan, "1.5", None, False], "a number from 1 to 2"),
    "temperature": ([0, -1.0, 1e-40, 1e7, math.nan, math.inf, "1", None, True], "a number from 1e-6 to 1e6"),
    "scale": ([math.nan, math.inf, "1", True], "a finite number or None"),
    "backend": (["nvidia", "", None, 3], "auto, triton, cuda, torch, entmax"),
    "attn_mask": (
        [torch.zeros(13, dtype=torch.int64), "all", torch.zeros(14), torch.zeros(1, 2, 3, 20, 13)],
        "a bool or floating-point tensor|broadcastable to",
    ),
}


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [(name, value, allowed) for name, (values, allowed) in BAD.items() for value in values],
)
def test_bad_arguments_are_named(name: str, value: Any, allowed: str) -> None:
    q, k, v = tensors()
    with pytest.raises(ValueError, match=rf"^{name}: got .*allowed: ({allowed})"):
        pladis_attention(q, k, v, **{name: value})


def test_bad_tensors_are_named() -> None:
    q, k, v = tensors()
    cases: list[tuple[str, tuple[Any, ...]]] = [
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


@pytest.mark.parametrize("rescale", [0.3, 1.0])
@pytest.mark.parametrize(("pladis_scale", "alpha"), [(2.0, 1.5), (1.0, 2.0), (0.5, 1.25), (3.0, 1.0)])
def test_rescale_brings_each_output_back_to_its_dense_length(
    backend: str, rescale: float, pladis_scale: float, alpha: float
) -> None:
    q, k, v = tensors(keys=77, queries=33)
    mask = torch.rand(2, 1, 33, 77, generator=torch.Generator().manual_seed(1)) > 0.3
    mask[:, :, 5] = False
    arguments: dict[str, Any] = {"pladis_scale": pladis_scale, "alpha": alpha, "temperature": 0.9, "attn_mask": mask}
    found = pladis_attention(q, k, v, backend=backend, rescale=rescale, **arguments)
    assert_matches(found, reference(q, k, v, rescale=rescale, **arguments))
    if rescale == 1.0:
        dense = reference(q, k, v, 0.0, attn_mask=mask)
        torch.testing.assert_close(found.double().norm(dim=-1), dense.norm(dim=-1), atol=3e-5, rtol=1e-5)
    assert (found[:, :, 5] == 0).all()


def test_rescale_0_is_what_it_was_bit_for_bit_and_outputs_of_no_length_stay() -> None:
    q, k, v = tensors(keys=77)
    assert torch.equal(pladis_attention(q, k, v, rescale=0.0), pladis_attention(q, k, v))
    assert torch.equal(pladis_attention(q, k, v, rescale=0), pladis_attention(q, k, v))
    nothing = pladis_attention(q, k, torch.zeros_like(v), rescale=1.0)
    assert (nothing == 0).all()


@pytest.mark.parametrize("rescale", [-0.1, 1.1, math.nan, "1", True, None])
def test_bad_rescale(rescale: object) -> None:
    with pytest.raises(ValueError, match=r"rescale: got .*, allowed: a number from 0 to 1"):
        pladis_attention(*tensors(), rescale=rescale)  # type: ignore[arg-type]


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize(("pladis_scale", "temperature"), [(2.0, 1e-6), (2.0, 1e6), (1e6, 1.0), (-1e6, 1.0)])
def test_the_ends_of_the_ranges(alpha: float, pladis_scale: float, temperature: float) -> None:
    """Of λ and the temperature, on logits that fp32 holds exactly."""
    q = torch.tensor([[1.0], [-1.0], [0.0]]).view(1, 1, 3, 1)
    k = torch.tensor([3.0, -3.0, 3.0, 0.0]).view(1, 1, 4, 1)
    v = torch.arange(8.0).view(1, 1, 4, 2)
    said: dict[str, Any] = {"pladis_scale": pladis_scale, "alpha": alpha, "temperature": temperature, "scale": 1.0}
    found = pladis_attention(q, k, v, backend="torch", **said)
    assert_matches(found, reference(q, k, v, **said), atol=3e-5 * max(1.0, abs(pladis_scale)))


@pytest.mark.parametrize("wrong", [{"scale": 1e39}, {"scale": -2e6}, {"scale": math.nan}, {"temperature": 1e-40}])
def test_a_mix_that_fp32_cannot_hold_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=rf"^{next(iter(wrong))}: got .*allowed: "):
        Mix(**wrong)  # type: ignore[arg-type]
