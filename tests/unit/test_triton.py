"""The fused kernel in Triton's interpreter, in a process of its own.

Triton reads TRITON_INTERPRET when its kernels are defined, so these tests run themselves again
with it set. On a machine with a GPU they run there as well, compiled.
"""

from __future__ import annotations

import importlib.util
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lib_pladis import attention
from lib_pladis.joint import joint
from lib_pladis.kernels.base import AttentionInputs, Problem, Result
from lib_pladis.kernels.choice import KERNELS, Kernels
from lib_pladis.kernels.triton_fused import block_of, parts_of, plan, step_enough, tiles_of
from lib_pladis.math.rule import Mix
from tests import inputs
from tests.inputs import assert_matches, chosen
from tests.oracle import joint_weights, reference, with_bound

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
HAS_TRITON = importlib.util.find_spec("triton") is not None
HAS_GPU = torch.cuda.is_available()
DEVICE = "cuda" if HAS_GPU and not INTERPRETED else "cpu"

pytestmark = pytest.mark.skipif(not HAS_TRITON, reason="Triton is not installed")
runs = pytest.mark.skipif(not (INTERPRETED or HAS_GPU), reason="run by test_interpreter")


@pytest.mark.skipif(INTERPRETED, reason="is the interpreter's run")
def test_interpreter() -> None:
    """All tests marked `runs`, in the interpreter, on the CPU."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__],
        env={**os.environ, "TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


def tensors(
    batch: int, heads: int, queries: int, keys: int, dim: int, dtype: torch.dtype = torch.float32, sigma: float = 1.2
) -> tuple[Tensor, Tensor, Tensor]:
    return inputs.tensors(batch, heads, queries, keys, dim, dtype, sigma, DEVICE)


def attend(query: Tensor, key: Tensor, value: Tensor, **arguments: Any) -> Tensor:
    return result_of(query, key, value, **arguments).out


def result_of(query: Tensor, key: Tensor, value: Tensor, **arguments: Any) -> Result:
    """The kernel's, without a choice or a proof before it."""
    scale = arguments.pop("scale", None)
    mask = arguments.pop("attn_mask", None)
    lse = arguments.pop("lse", False)
    mix = Mix(arguments.pop("pladis_scale", 2.0), **arguments)
    return attention.attend(OnlyFused(), query, key, value, mix, mask, scale, lse)


class OnlyFused(Kernels):
    def attend(self, inputs: AttentionInputs, lse: bool = False) -> Result:
        kernel = KERNELS["triton"]
        return kernel.attend(kernel.plan(Problem.of(inputs, lse)), inputs)


@runs
@pytest.mark.parametrize("alpha", [1.05, 1.25, 1.4, 1.5, 1.75, 1.99, 2.0])
@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.0])
@pytest.mark.parametrize("pladis_scale", [-1.0, 0.5, 1.0, 2.0])
def test_equation(alpha: float, temperature: float, pladis_scale: float) -> None:
    q, k, v = tensors(1, 1, 33, 77, 40)
    arguments: dict[str, Any] = {"alpha": alpha, "temperature": temperature, "pladis_scale": pladis_scale}
    assert_matches(attend(q, k, v, **arguments), reference(q, k, v, **arguments))


@runs
@pytest.mark.parametrize("pladis_scale", [-1e5, 1e5])
@pytest.mark.parametrize("keys", [77, 512])
def test_weights_stay_in_the_range_of_half_precision(pladis_scale: float, keys: int) -> None:
    q, k, v = tensors(1, 1, 33, keys, 64, torch.float16)
    v *= 1e-3
    expected = reference(q, k, v, pladis_scale=pladis_scale)
    found = attend(q, k, v, pladis_scale=pladis_scale).double()
    assert (found - expected).abs().max() <= 0.005 * expected.abs().max()


@runs
@pytest.mark.parametrize(
    ("keys", "dim"),
    [(keys, 64) for keys in (1, 2, 16, 77, 128, 154, 231, 512)]
    + [(77, dim) for dim in (40, 80, 128, 160)]
    + [(1, 40), (231, 80), (512, 160)],
)
def test_shapes_of_the_hosts(keys: int, dim: int) -> None:
    q, k, v = tensors(1, 2, 40, keys, dim, sigma=0.9)
    assert_matches(attend(q, k, v), reference(q, k, v))


@runs
@pytest.mark.parametrize("queries", [1, 63, 64, 65, 200])
def test_every_query_is_written(queries: int) -> None:
    q, k, v = tensors(2, 1, queries, 77, 40)
    assert_matches(attend(q, k, v), reference(q, k, v))


@runs
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    ("alpha", "keys", "dim"),
    [(alpha, 77, 64) for alpha in (1.01, 1.25, 1.5, 2.0)]
    + [(1.5, 1, 160), (1.5, 77, 40), (1.5, 231, 128), (1.5, 512, 80)],
)
@pytest.mark.parametrize("masked", [False, True])
def test_half_precision(dtype: torch.dtype, alpha: float, keys: int, dim: int, masked: bool) -> None:
    """Off by no more than casting weights and result once each may make."""
    q, k, v = tensors(1, 2, 17, keys, dim, dtype, sigma=0.9)
    mask = torch.randn(17, keys, generator=torch.Generator().manual_seed(4)).to(DEVICE) if masked else None
    found = attend(q, k, v, alpha=alpha, attn_mask=mask)
    assert found.dtype == dtype
    expected, bound = with_bound(q, k, v, Mix(2.0, alpha), mask)
    assert ((found.double() - expected).abs() <= bound).all()


@runs
@pytest.mark.parametrize("alpha", [1.25, 1.5, 2.0])
@pytest.mark.parametrize("kind", ["bool", "float", "-inf", "keys"])
def test_masks(alpha: float, kind: str) -> None:
    q, k, v = tensors(2, 1, 40, 77, 40)
    noise = torch.randn(2, 1, 40, 77, generator=torch.Generator().manual_seed(3)).to(DEVICE)
    mask = {
        "bool": noise > 0,
        "float": noise,
        "-inf": noise.masked_fill(noise > 0.5, -math.inf),
        "keys": noise[:1, :, :1] > 0,
    }[kind]
    assert_matches(attend(q, k, v, alpha=alpha, attn_mask=mask), reference(q, k, v, alpha=alpha, attn_mask=mask))


@runs
@pytest.mark.parametrize("alpha", [1.25, 1.5, 2.0])
def test_query_without_keys_gives_zeros(alpha: float) -> None:
    q, k, v = tensors(1, 1, 40, 77, 40)
    mask = torch.ones(40, 77, dtype=torch.bool, device=DEVICE)
    mask[7] = False
    arguments: dict[str, Any] = {"alpha": alpha, "temperature": 0.9, "attn_mask": mask}
    found = attend(q, k, v, **arguments)
    assert (found[:, :, 7] == 0).all()
    assert_matches(found, reference(q, k, v, **arguments))


@runs
@pytest.mark.parametrize("alpha", [1.05, 1.25, 1.5, 1.75, 2.0])
@pytest.mark.parametrize("size", [1e2, 1e4])
def test_large_logits_ties_and_one_hot(alpha: float, size: float) -> None:
    q = torch.tensor([[1.0], [-1.0], [0.0]], device=DEVICE).view(1, 1, 3, 1)
    k = torch.tensor([size, -size, size, 0.0], device=DEVICE).view(1, 1, 4, 1)
    v = torch.arange(8.0, device=DEVICE).view(1, 1, 4, 2)
    assert_matches(attend(q, k, v, alpha=alpha, scale=1.0), reference(q, k, v, alpha=alpha, scale=1.0))


@runs
@pytest.mark.parametrize("alpha", [1.25, 1.5, 2.0])
def test_rows_of_many_magnitudes(alpha: float) -> None:
    """Keys that near the best one by factors of ten: many Newton steps, in one row of the block."""
    q, k, v = tensors(1, 1, 20, 200, 16)
    q[:, :, 5] = 0.0
    q[:, :, 5, 0] = 1.0
    k[..., 0] = -torch.logspace(3, -5, 200).to(DEVICE)
    assert_matches(attend(q, k, v, alpha=alpha, scale=1.0), reference(q, k, v, alpha=alpha, scale=1.0), 1e-4)


@runs
def test_strides_and_other_value_width() -> None:
    q, k, v = tensors(2, 3, 20, 77, 40)
    expected = reference(q, k, v)
    odd = [t.transpose(2, 3).contiguous().transpose(2, 3) for t in (q, k, v)]
    assert_matches(attend(*odd), expected)
    assert_matches(attend(q.contiguous(), k.contiguous(), v.contiguous()), expected)
    wide = torch.cat([v, v], -1)
    assert_matches(attend(q, k, wide), reference(q, k, wide))
    assert attend(q, k, v).transpose(1, 2).is_contiguous()
    assert attend(q[:, :, :0], k, v).shape == (2, 3, 0, 40)


@runs
def test_rescale_of_nothing_is_nothing() -> None:
    """A query without keys, and values of zero: no division by the norm of a zero result."""
    q, k, v = tensors(1, 1, 33, 77, 40)
    mask = torch.ones(33, 77, dtype=torch.bool, device=DEVICE)
    mask[5] = False
    assert (attend(q, k, v, attn_mask=mask, rescale=1.0)[:, :, 5] == 0).all()
    assert (attend(q, k, torch.zeros_like(v), rescale=1.0) == 0).all()


@runs
@pytest.mark.parametrize("pladis_scale", [-1.0, 0.05, 1.0, 5.0])
@pytest.mark.parametrize(("alpha", "dim"), [(1.25, 40), (1.5, 64)])
@pytest.mark.parametrize("phi", [0.0, 0.3, 1.0])
def test_rescaled_and_the_change_alone(pladis_scale: float, alpha: float, dim: int, phi: float) -> None:
    """Each query's and head's result times (1 - phi) + phi |dense| / |result|; and that less the dense one."""
    q, k, v = tensors(1, 2, 33, 77, dim)
    arguments: dict[str, Any] = {"alpha": alpha, "pladis_scale": pladis_scale, "temperature": 0.8, "rescale": phi}
    expected, dense = reference(q, k, v, **arguments), reference(q, k, v, pladis_scale=0.0)
    assert_matches(attend(q, k, v, **arguments), expected)
    assert_matches(attend(q, k, v, change=True, **arguments), expected - dense)


@runs
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize(("keys", "queries"), [(1, 5), (77, 70), (512, 40)])
@pytest.mark.parametrize("masked", [False, True])
def test_log_sum_exp_of_each_row(dtype: torch.dtype, keys: int, queries: int, masked: bool) -> None:
    q, k, v = tensors(2, 3, queries, keys, 40, dtype)
    mask = None
    if masked:
        mask = torch.rand(2, 1, queries, keys, generator=torch.Generator().manual_seed(5)).to(DEVICE) > 0.4
        mask[1, 0, 3] = False
    scores = q.double() @ k.double().transpose(2, 3) * 40**-0.5
    expected = torch.logsumexp(scores if mask is None else scores.masked_fill(~mask, -math.inf), -1)
    result = result_of(q, k, v, change=True, attn_mask=mask, lse=True)
    assert result.lse is not None and result.lse.dtype == torch.float32
    assert masked == bool((result.lse == -math.inf).any())
    torch.testing.assert_close(result.lse.double(), expected, rtol=0, atol=1e-5)
    assert torch.equal(result.out, attend(q, k, v, change=True, attn_mask=mask))


@runs
@pytest.mark.parametrize("phi", [0.0, 0.4])
@pytest.mark.parametrize("heads", [1, 3])
def test_joint_attention_is_fused(phi: float, heads: int) -> None:
    """Text keys of one row each, image queries; against the matrix form in fp64."""
    q, k, v = tensors(2, heads, 60, 60, 64)
    text = [slice(0, 12), slice(0, 20)]
    arguments: tuple[Any, ...] = (q, k, v, Mix(2.0, 1.5, rescale=phi), text, slice(20, None))
    found, other = (joint(kernels, *arguments) for kernels in (OnlyFused(), Kernels("torch")))
    assert (found.kernel, other.kernel) == ("triton", "torch")
    torch.testing.assert_close(found.out, other.out, rtol=0, atol=2e-5)
    columns = torch.arange(60, device=DEVICE) < torch.tensor([[12], [20]], device=DEVICE)
    weights, _ = joint_weights(q, k, columns, torch.arange(60, device=DEVICE) >= 20)
    assert phi or (found.out.double() - weights @ v.double()).abs().max() < 2e-5
    assert torch.equal(found.out[:, :, :20], other.out[:, :, :20])


@runs
@pytest.mark.parametrize("scale", [-0.3, 0.0, 1e-20])
def test_scale_of_any_sign_with_a_mask(scale: float) -> None:
    q, k, v = tensors(1, 1, 33, 77, 40)
    mask = torch.randn(33, 77, generator=torch.Generator().manual_seed(3)).to(DEVICE)
    mask = mask.masked_fill(mask > 1, -math.inf)
    arguments: dict[str, Any] = {"scale": scale, "attn_mask": mask}
    assert_matches(attend(q, k, v, **arguments), reference(q, k, v, **arguments))


@runs
@pytest.mark.parametrize("sigma", [0.1, 0.5, 1.0, 3.0, 8.0])
@pytest.mark.parametrize("alpha", [1.1, 1.25, 1.5, 1.75, 2.0])
def test_rows_of_half_precision_sum_to_one(sigma: float, alpha: float) -> None:
    """The sparse map alone over values of one: the row's sum, within what half precision rounds."""
    q, k, v = tensors(1, 1, 64, 77, 64, torch.float16, sigma**0.5)
    found = attend(q, k, torch.ones_like(v), pladis_scale=1.0, alpha=alpha)
    assert (found.double() - 1).abs().max() <= 2 * torch.finfo(torch.float16).eps


@runs
@pytest.mark.parametrize(("alpha", "keys"), [(5 / 3, 512), (5 / 3, 400), (1.75, 231), (1.9, 80), (1.95, 77), (1.5, 77)])
def test_rows_whose_tau_is_near_its_bound_sum_to_one(alpha: float, keys: int) -> None:
    """One key a little ahead of all others, so that a first step could end just above tau's upper bound."""
    beta = 1.0 / (alpha - 1.0)
    tau = 0.02 - 0.93 * step_enough(alpha, keys, torch.float16)
    others = ((1 - tau**beta) / (keys - 1)) ** (alpha - 1.0)
    q = torch.ones(1, 1, 64, 16, dtype=torch.float16, device=DEVICE)
    q[..., 1:] = 0
    k = torch.zeros(1, 1, keys, 16, dtype=torch.float16, device=DEVICE)
    k[0, 0, 1:, 0] = -1
    v = torch.ones_like(k)
    found = attend(q, k, v, pladis_scale=1.0, alpha=alpha, scale=(tau - others) / (alpha - 1.0))
    assert (found.double() - 1).abs().max() <= 2 * torch.finfo(torch.float16).eps


def test_inputs_are_passed_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """The (B, L, H D) layout of the hosts, and a mask that is broadcast, reach the kernel without a copy."""
    from lib_pladis.kernels import triton_kernel

    calls: list[tuple[object, ...]] = []
    constants: dict[str, object] = {}

    class Recorder:
        def __getitem__(self, grid: object) -> object:
            def launch(*arguments: object, **named: object) -> None:
                calls.append(arguments)
                constants.update(named)

            return launch

    monkeypatch.setattr(triton_kernel, "pladis_kernel", Recorder())
    q, k, v = tensors(2, 3, 20, 77, 40)
    mask = torch.zeros(77, device=DEVICE)
    attend(q, k, v, attn_mask=mask, scale=0.1)
    (arguments,) = calls
    for given, passed in zip((q, k, v, mask), arguments):
        assert isinstance(passed, Tensor) and passed.data_ptr() == given.data_ptr()
    assert (constants["UNIT"], constants["CONTIGUOUS_ROWS"], constants["KEY_MASK"]) == (8, True, True)
    eighths = [stride // 8 if axis < 3 else stride for t in (q, k, v) for axis, stride in enumerate(t.stride())]
    assert arguments[6:22] == (*eighths, 0, 0, 0, 1)


def test_builds_of_one_kind_are_the_same() -> None:
    """A proof is of one build: what decides the build is part of the problem's kind."""
    q, k, v = tensors(1, 2, 64, 77, 40)
    mask = torch.ones(64, 77, dtype=torch.bool, device=DEVICE)
    apart = [torch.randn(1, 2, 41, len(x[0, 0]), device=DEVICE)[:, :, :40].transpose(2, 3) for x in (q, k, v)]
    problems = [
        Problem.of(AttentionInputs(one, other, third, given, Mix(), 1.0))
        for one, other, third in ((q, k, v), apart)
        for given in (None, mask, mask.t().contiguous().t())
    ]
    builds = {problem.kind: plan(problem).constants for problem in problems}
    assert len(builds) == len(problems) and all(builds[each.kind] == plan(each).constants for each in problems)


def test_rows_too_far_apart_for_32_bits_are_refused() -> None:
    problem = Problem("cuda", (8, 0), torch.float16, 1, 1, 64, 77, 64, 64, strides=((1, 1, 2**22, 1),) * 3)
    assert "elements apart" in KERNELS["triton"].why_not(problem)
    assert "elements apart" not in KERNELS["triton"].why_not(replace(problem, strides=((1, 1, 64, 1),) * 3))


@pytest.mark.parametrize("keys", [1, 16, 17, 77, 80, 128, 154, 160, 231, 308, 512])
def test_parts_hold_the_keys_and_only_the_last_is_padded(keys: int) -> None:
    parts, width = parts_of(keys)
    assert width in (16, 32, 64, 128) and parts <= 5
    assert (parts - 1) * width < keys <= parts * width
    for dim in (40, 128, 160):
        block_m, warps, keeps = block_of(parts * width, dim)
        assert (1 + keeps) * block_m * parts * width <= 128 * 32 * warps


@pytest.mark.parametrize(
    ("dim", "tiles"), [(1, 16), (40, 48), (64, 64), (80, 80), (96, 96), (128, 128), (160, 160), (200, 256)]
)
def test_tiles_of_a_head(dim: int, tiles: int) -> None:
    assert sum(tiles_of(dim, 80)) == tiles and tiles_of(dim, 80)[0] in (16, 32, 64, 128)
    assert tiles_of(dim, 256)[1] == 0 and dim <= tiles_of(dim, 256)[0] < max(17, 2 * dim)


@pytest.mark.parametrize(
    ("changes", "version", "part"),
    [
        ({}, (3, 9), ""),
        ({"dtype": torch.bfloat16}, (3, 9), ""),
        ({"dtype": torch.float32}, (3, 9), "fp32"),
        ({"alpha": 1.0}, (3, 9), "alpha"),
        ({"alpha": 1.01}, (3, 9), ""),
        ({"device": "cpu"}, (3, 9), "cpu"),
        ({"keys": 513}, (3, 9), "512 keys"),
        ({"dim": 512}, (3, 9), "dimensions"),
        ({"dim": 160}, (3, 9), ""),
        ({"dim": 160, "keys": 231}, (3, 9), "dimensions"),
        ({"change": True, "lse": True, "keys": 512, "dim": 128}, (3, 9), ""),
        ({"capability": (7, 5)}, (3, 9), "Ampere"),
        ({"capability": "gfx1100"}, (3, 9), ""),
        ({"capability": "gfx1100", "keys": 154}, (3, 9), "registers"),
        ({"capability": "gfx942", "keys": 231}, (3, 9), ""),
        ({"capability": "gfx942", "keys": 512}, (3, 9), "registers"),
        ({"capability": (10, 0)}, (3, 5), ""),
        ({"capability": (10, 0)}, (3, 6), "sm_100"),
        ({"capability": (10, 3)}, (3, 7), "sm_100"),
        ({"capability": (10, 0)}, (3, 8), ""),
        ({"capability": (12, 0)}, (3, 6), ""),
        ({"capability": (10, 0)}, (), ""),
        ({}, (2, 3), "before 3.0"),
    ],
)
def test_why_not(monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], version: tuple[int, ...], part: str) -> None:
    from lib_pladis.kernels.triton_fused import why_not

    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    problem = replace(Problem("cuda", (8, 6), torch.float16, 2, 8, 4096, 77, 64, 64), **changes)
    reason = why_not(problem, version)
    assert part in reason and bool(reason) == bool(part)


def test_more_keys_than_fit_go_to_torch() -> None:
    q, k, v = tensors(1, 1, 4, 513, 8)
    assert chosen(q, k, v, "triton") == "torch"
