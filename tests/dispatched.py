"""What torch is asked to do: operations counted and looked at as they come."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

VIEWS = (
    "view",
    "_unsafe_view",
    "expand",
    "slice",
    "split",
    "transpose",
    "permute",
    "as_strided",
    "empty",
    "empty_strided",
    "empty_like",
    "select",
    "unsqueeze",
    "alias",
    "detach",
)
"""Operations that neither read nor write."""


def name_of(func: Any) -> str:
    """Of an operation, without its overload; what makes a tensor counts alike, like another one or not."""
    return str(func.__name__).split(".")[0].removeprefix("new_")


def tensors_in(values: object) -> list[Tensor]:
    """Those in arguments or results, each once."""
    return list({id(leaf): leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)}.values())


class Traffic(TorchDispatchMode):
    """Counts the bytes that operations read and write, and the largest number that tensors made meanwhile hold."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes, self.peak = 0, 0
        self._alive: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        kwargs, name = kwargs or {}, name_of(func)
        result = func(*args, **kwargs)
        if name not in VIEWS:
            skipped = name in ("copy_", "full_like") or kwargs.get("beta") == 0
            read = tensors_in((args[skipped:], {key: value for key, value in kwargs.items() if key != "out"}))
            self.bytes += sum(map(self.size, [*read, *tensors_in(result)]))
        given = {tensor.untyped_storage()._cdata for tensor in tensors_in((args, kwargs))}
        for tensor in tensors_in(result):
            storage = tensor.untyped_storage()
            if storage._cdata not in given:
                self._alive[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        self._alive = {key: (ref, size) for key, (ref, size) in self._alive.items() if not ref.expired()}
        self.peak = max(self.peak, sum(size for _, size in self._alive.values()))
        return result

    @staticmethod
    def size(tensor: Tensor) -> int:
        """Bytes of a tensor, what is repeated counted once."""
        return math.prod(n for n, stride in zip(tensor.shape, tensor.stride()) if stride) * tensor.element_size()


class Launches(TorchDispatchMode):
    """Counts what an accelerator would be given, and how often it would be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.count, self.waits = 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        waits = name_of(func) in ("_local_scalar_dense", "nonzero", "is_nonzero")
        self.waits += waits
        self.count += not waits and name_of(func) not in VIEWS
        return func(*args, **(kwargs or {}))


class Waits(TorchFunctionMode):
    """Counts what makes Python wait for an accelerator: numbers read back from it, and numbers brought to it."""

    NAMES = ("tolist", "item", "nonzero", "tensor", "cpu", "__bool__", "__int__", "__float__")

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.count += getattr(func, "__name__", "") in self.NAMES
        return func(*args, **(kwargs or {}))


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
