"""kernel.cu's own lines, compiled for this CPU (`cuda_host.cpp`) and run against fp64."""

from __future__ import annotations

import ctypes
import math
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lib_pladis.kernels.base import AttentionInputs, Problem
from lib_pladis.kernels.cuda import kernel
from lib_pladis.kernels.cuda.kernel import Arguments
from lib_pladis.math.rule import Mix
from tests.oracle import logits_of, reference, with_bound

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="no g++ here")

HERE = Path(__file__).parent
WARPS = 2
WHOLE = os.environ.get("PLADIS_TESTS_WHOLE") == "1"
WARNINGS = ("-Wall", "-Werror", "-Wno-unused-function", "-Wno-unknown-pragmas")
GUARD = 3
"""Rows of NaN before and behind each tensor's."""


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The kernel of these constants, compiled once."""
    folder = tmp_path_factory.mktemp("cuda")
    made: dict[Any, ctypes.CDLL] = {}

    def build(constants: dict[str, int]) -> ctypes.CDLL:
        key = tuple(sorted(constants.items()))
        if key not in made:
            library = folder / f"{len(made)}.so"
            given = [f"-D{name}={value}" for name, value in constants.items()]
            given += [f"-I{Path(kernel.__file__).parent}", str(HERE / "cuda_host.cpp"), "-o", str(library)]
            subprocess.run(["g++", "-O1", "-std=c++17", "-shared", "-fPIC", *WARNINGS, *given], check=True)
            made[key] = ctypes.CDLL(str(library))
        return made[key]

    return build


def guarded(shape: tuple[int, ...], generator: torch.Generator, dtype: torch.dtype, sigma: float) -> Tensor:
    """(B, H, L, D) in the (B, L, H D) layout of the hosts, with NaN around each entry of the batch."""
    batch, heads, length, dim = shape
    whole = torch.full((batch, length + 2 * GUARD, heads * dim), math.nan).to(dtype)
    inner = whole[:, GUARD:-GUARD]
    inner.copy_(torch.randn(inner.shape, generator=generator) * sigma)
    return inner.view(batch, length, heads, dim).transpose(1, 2)


def inputs(
    generator: torch.Generator, sizes: tuple[int, int, int, int, int], dtype: torch.dtype = torch.float16,
    sigmas: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Query, key and value. sizes: B, H, Lq, Lk, D."""
    batch, heads, queries, keys, dim = sizes
    lengths = (queries, keys, keys)
    query, key, value = (guarded((batch, heads, n, dim), generator, dtype, s) for n, s in zip(lengths, sigmas))
    return query, key, value


def attend(
    build: Any, query: Tensor, key: Tensor, value: Tensor, mix: Mix, mask: Tensor | None = None, lse: bool = False
) -> tuple[Tensor, Tensor | None]:
    inputs = AttentionInputs(query, key, value, mask, mix, query.shape[-1] ** -0.5)
    problem = Problem.of(inputs, lse)
    planned = kernel.plan(problem)
    library = build({**planned.constants, "WARPS": WARPS})
    assert library.arguments_size() == ctypes.sizeof(Arguments)
    out = torch.full(planned.out_shape, math.nan, dtype=query.dtype).as_strided(planned.out_shape, planned.out_strides)
    row_lse = torch.full(planned.lse_shape, math.nan) if planned.lse_shape else None
    arguments = planned.fill(inputs, out, row_lse)
    grid = (ctypes.c_int * 3)(2, problem.heads, problem.batch)
    library.run(ctypes.byref(arguments), grid, planned.shared)
    return out, row_lse


def check(
    build: Any, dim: int = 64, keys: int = 77, dtype: torch.dtype = torch.float16, mix: Mix = Mix(), mask: str = "none",
    lse: bool = False, sigma: float = 1.1, queries: int = 70, plateau: bool = False,
) -> None:  # fmt: skip
    """No error above half of what rounding may make, as of the Triton kernel."""
    generator = torch.Generator().manual_seed(keys + dim)
    query, key, value = inputs(generator, (2, 2, queries, keys, dim), dtype, (sigma, sigma, 1.0))
    if plateau:  # padding's keys, nearly alike
        key[:, :, 10:] = key[:, :, 10:11] + 0.05 * torch.randn(2, 2, keys - 10, dim, generator=generator).to(dtype)
    noise = torch.randn(2, 1, 1, keys, generator=generator)
    given = {
        "none": None,
        "bool": noise > 0,
        "fp16": noise.half(),
        "bf16": noise.bfloat16(),
        "fp32": noise.masked_fill(noise > 1, -math.inf),
        "heads": torch.randn(2, 2, 1, keys, generator=generator) > 0,
    }[mask]
    out, row_lse = attend(build, query, key, value, mix, given, lse)
    expected, bound = with_bound(query, key, value, mix, given)
    share = float(((out.double() - expected).abs() / bound).max())
    assert share < 0.5 and (share > 0.005 or keys == 1), share
    if lse:
        assert row_lse is not None
        wanted = torch.logsumexp(logits_of(query, key, given), -1)
        assert (row_lse.double() - wanted).abs().max() < 2e-5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("alpha", [1.5, 2.0])
@pytest.mark.parametrize("sigma", [0.4, 1.1, 2.2])
def test_both_types_and_alphas(build: Any, dtype: torch.dtype, alpha: float, sigma: float) -> None:
    check(build, dtype=dtype, mix=Mix(2.0, alpha), sigma=sigma)
    check(build, dtype=dtype, mix=Mix(2.0, alpha), sigma=sigma, plateau=True)


DIMS = kernel.DIMS if WHOLE else (40, 80, 160)
KEYS = (1, 2, 16, 17, 64, 77, 80, 81, 96, 128, 154, 160) if WHOLE else (1, 16, 154, 160)


@pytest.mark.parametrize("dim", DIMS)
def test_heads(build: Any, dim: int) -> None:
    check(build, dim)


@pytest.mark.parametrize("keys", KEYS)
def test_keys(build: Any, keys: int) -> None:
    check(build, 40, keys)


@pytest.mark.parametrize("queries", [1, 15, 16, 17, 64, 65, 200])
def test_every_query_is_written(build: Any, queries: int) -> None:
    check(build, 40, queries=queries)


@pytest.mark.parametrize("mask", ["bool", "fp16", "bf16", "fp32", "heads"])
def test_masks_over_keys(build: Any, mask: str) -> None:
    check(build, 40, mask=mask)


@pytest.mark.parametrize("scale", [-1.0, 0.3, 1.0, 2.0, 7.0])
def test_scales(build: Any, scale: float) -> None:
    check(build, 40, mix=Mix(scale))


@pytest.mark.parametrize(
    ("change", "alpha", "phi"),
    [(True, 1.5, 0.0), (True, 1.5, 0.4), (False, 1.5, 0.4), (False, 1.5, 1.0)] + [(True, 2.0, 0.4)] * WHOLE,
)
def test_rescaled_and_the_change_alone(build: Any, change: bool, alpha: float, phi: float) -> None:
    for scale in (2.0, 0.5):
        check(build, 40, mix=Mix(scale, alpha, rescale=phi, change=change), lse=change)


@pytest.mark.parametrize("alpha", [1.5] + [2.0] * WHOLE)
@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_temperature(build: Any, alpha: float, temperature: float) -> None:
    check(build, 40, mix=Mix(2.0, alpha, temperature))


def test_everything_at_once(build: Any) -> None:
    for keys in (77, 154) if WHOLE else (154,):
        check(build, 80, keys, torch.bfloat16, Mix(3.0, 2.0, 0.7, 0.6, True), "bool", lse=True)


@pytest.mark.parametrize("scale", [-1e5, 1e5])
@pytest.mark.parametrize("keys", [77, 160])
def test_weights_stay_in_the_range_of_half_precision(build: Any, scale: float, keys: int) -> None:
    generator = torch.Generator().manual_seed(1)
    query, key, value = inputs(generator, (1, 1, 40, keys, 40), sigmas=(1.0, 1.0, 1e-3))
    expected = reference(query, key, value, scale)
    found, _ = attend(build, query, key, value, Mix(scale))
    assert (found.double() - expected).abs().max() <= 0.005 * expected.abs().max()


@pytest.mark.parametrize(("mask", "mix"), [(torch.bool, Mix()), (torch.float16, Mix(rescale=0.5))])
def test_entry_of_the_batch_without_keys_gives_zeros(build: Any, mask: torch.dtype, mix: Mix) -> None:
    generator = torch.Generator().manual_seed(1)
    query, key, value = inputs(generator, (2, 1, 40, 77, 40))
    left = torch.tensor([True, False]).view(2, 1, 1, 1).expand(2, 1, 1, 77)
    given = left.clone() if mask == torch.bool else torch.zeros(2, 1, 1, 77).masked_fill(~left, -math.inf).half()
    out, lse = attend(build, query, key, value, mix, given, True)
    assert lse is not None
    assert (out[1] == 0).all() and (lse[1] == -math.inf).all() and lse[0].isfinite().all()
    expected, bound = with_bound(query[:1], key[:1], value[:1], mix)
    assert ((out[:1].double() - expected).abs() <= bound / 2).all()


@pytest.mark.parametrize("alpha", [1.5, 2.0])
def test_rows_of_many_magnitudes_and_one_hot(build: Any, alpha: float) -> None:
    """Keys that near the best one by factors of ten: many steps, in one row. Keys far below the best one."""
    generator = torch.Generator().manual_seed(1)
    query, key, value = inputs(generator, (1, 1, 20, 160, 40))
    query[:, :, 5], query[:, :, 5, 0] = 0.0, 1.0
    query[:, :, 6] *= 500.0
    key[..., 0] = -torch.logspace(3, -5, 160).half()
    expected, bound = with_bound(query, key, value, Mix(2.0, alpha), None)
    found, _ = attend(build, query, key, value, Mix(2.0, alpha))
    assert ((found.double() - expected).abs() <= bound).all()


def test_other_layouts(build: Any) -> None:
    """Heads that lie together, a batch that is one entry, one key and value for all heads."""
    generator = torch.Generator().manual_seed(1)
    query, key, value = (torch.randn(2, 3, n, 40, generator=generator).half() for n in (40, 77, 77))
    for k, v in ((key, value), (key[:1].expand(2, 3, 77, 40), value[:, :1].expand(2, 3, 77, 40))):
        expected, bound = with_bound(query, k, v, Mix(), None)
        assert ((attend(build, query, k, v, Mix())[0].double() - expected).abs() <= bound / 2).all()
