"""`sampling` and `external` of the k-diffusion package, without what its `__init__` imports for training.

The package's own `__init__` and `utils` ask for torchvision, clean-fid, kornia and more. The two modules used here
need one function of `utils`, so `utils` is replaced by that function; nothing else of the package is loaded.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType

from torch import Tensor


def append_dims(x: Tensor, target_dims: int) -> Tensor:
    """`x` with dimensions of size 1 added at its end until it has `target_dims`."""
    return x.reshape(*x.shape, *[1] * (target_dims - x.ndim))


spec = importlib.util.find_spec("k_diffusion")
if spec is None:
    raise ImportError("the package k-diffusion is missing")
package, utils = importlib.util.module_from_spec(spec), ModuleType("k_diffusion.utils")  # made, but not run
vars(package)["utils"], vars(utils)["append_dims"] = utils, append_dims
sys.modules.update({"k_diffusion": package, "k_diffusion.utils": utils})
sampling = importlib.import_module("k_diffusion.sampling")
external = importlib.import_module("k_diffusion.external")
