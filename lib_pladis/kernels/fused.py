"""The fused kernel as the others see it. Triton itself is imported only when it is used."""

from __future__ import annotations

import functools
import importlib.util
import os

from torch import Tensor

from lib_pladis.kernels.base import Problem, Result
from lib_pladis.math.rule import Mix

MAX_KEYS = 512
"""It holds a query's scores with all keys in registers."""


class Fused:
    """`triton_fused`, on CUDA and ROCm devices; TRITON_INTERPRET=1 lets Triton's interpreter run it anywhere."""

    name = "triton"

    def why_not(self, problem: Problem) -> str:
        """As `base.Kernel`."""
        if not installed():
            return "Triton is not installed"
        if problem.device != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
            return f"no kernel for {problem.device}"
        if problem.mix.rescale:
            return "no rescale yet"
        if problem.keys > MAX_KEYS:
            return f"more than {MAX_KEYS} keys"
        return ""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mix: Mix, mask: Tensor | None, scale: float) -> Result:
        """As `base.Kernel`."""
        from lib_pladis.kernels import triton_fused

        out = triton_fused.attend(
            query,
            key,
            value,
            pladis_scale=mix.scale,
            alpha=mix.alpha,
            temperature=mix.temperature,
            attn_mask=mask,
            scale=scale,
        )
        return Result(out, self.name)


@functools.cache
def installed() -> bool:
    """Whether this Python has Triton."""
    return importlib.util.find_spec("triton") is not None
