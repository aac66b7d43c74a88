"""What torch is asked to do: operations counted and looked at as they come."""

from __future__ import annotations

import collections

from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode


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
