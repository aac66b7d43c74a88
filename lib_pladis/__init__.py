"""PLADIS for Stable Diffusion web UIs: dense and sparse cross-attention, blended while sampling.

Kim & Sim, "PLADIS: Pushing the Limits of Attention in Diffusion Models at Inference Time by
Leveraging Sparsity", ICCV 2025, arXiv 2503.07677.

    from lib_pladis import pladis_attention, joint_attention, entmax, __version__

The public names are loaded when they are first asked for: importing this package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lib_pladis.attention import pladis_attention as pladis_attention
    from lib_pladis.joint import joint_attention as joint_attention
    from lib_pladis.math.sparse import entmax as entmax

__version__ = "0.1.0"

_PUBLIC = {
    "pladis_attention": "lib_pladis.attention",
    "joint_attention": "lib_pladis.joint",
    "entmax": "lib_pladis.math.sparse",
}

__all__ = ["__version__", "entmax", "joint_attention", "pladis_attention"]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
