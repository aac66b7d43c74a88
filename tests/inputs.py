"""What attention is given in tests, as the hosts give it."""

from __future__ import annotations

import torch
from torch import Tensor

from lib_pladis import attention
from lib_pladis.kernels.base import AttentionInputs, Problem, Result
from lib_pladis.kernels.choice import FALLBACK, Kernels
from lib_pladis.math.rule import Mix


def tensors(
    batch: int = 2,
    heads: int = 3,
    queries: int = 20,
    keys: int = 13,
    dim: int = 8,
    dtype: torch.dtype = torch.float32,
    sigma: float = 1.5,
    device: str = "cpu",
) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key, value as the hosts have them: views of (B, L, H D)."""
    generator = torch.Generator().manual_seed(queries * 1000 + keys)

    def one(length: int) -> Tensor:
        flat = torch.randn(batch, length, heads * dim, generator=generator) * sigma
        return flat.to(device, dtype).view(batch, length, heads, dim).transpose(1, 2)

    return one(queries), one(keys), one(keys)


def assert_matches(found: Tensor, expected: Tensor, atol: float = 3e-5) -> None:
    assert found.shape == expected.shape
    torch.testing.assert_close(found.double(), expected, atol=atol, rtol=0)


def chosen(query: Tensor, key: Tensor, value: Tensor, backend: str = "auto", mix: Mix = Mix()) -> str:
    """The name of the kernel that takes these once it is proved."""
    return taken_by(Problem.of(AttentionInputs(query, key, value, None, mix, 1.0)), backend)


def taken_by(problem: Problem, backend: str = "auto") -> str:
    """The same of a problem."""
    candidates = Kernels(backend)._candidates(problem)
    return next((kernel.name for kernel in candidates if not kernel.why_not(problem)), FALLBACK.name)


def ran(query: Tensor, key: Tensor, value: Tensor, backend: str = "auto", mix: Mix = Mix()) -> Result:
    """The result, with the name of the kernel that gave it."""
    return attention.attend(Kernels(backend), query, key, value, mix)
