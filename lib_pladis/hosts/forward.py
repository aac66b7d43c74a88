"""A module's `forward`, replaced on the instance and restored; and torch's attention inside a `forward` that another
extension has set."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from lib_pladis.hosts.base import owner_of, without_ours
from lib_pladis.hosts.sdpa import ATTENTION, SdpaCall
from lib_pladis.models.base import LayerName
from lib_pladis.protocol import Current, Now

Forward = Callable[..., Tensor]


def foreign_forward(module: torch.nn.Module, hosts: frozenset[str] = frozenset()) -> Forward | None:
    """Another extension's `forward` on the instance, or None.

    The class's own, or an optimizer's of the modules `hosts`, may be bound to the instance: IP-Adapter leaves that
    behind. It isn't another extension's.
    """
    forward = without_ours(vars(module).get("forward"))
    bound = forward is not None and getattr(forward, "__self__", None) is module
    if bound and owner_of(getattr(forward, "__func__", forward)) in hosts | modules_of_class(module):
        return None
    return forward  # type: ignore[no-any-return]


def modules_of_class(module: torch.nn.Module) -> frozenset[str]:
    """The Python modules of its class and base classes."""
    return frozenset(cls.__module__ for cls in type(module).__mro__)


class ForwardHook(ABC):
    """`forward` of one instance, replaced. Without a step to blend (`current` is None) the original runs."""

    def __init__(self, name: LayerName, module: torch.nn.Module, current: Current) -> None:
        self.name, self.module, self.current = name, module, current
        self._before: Forward | None = without_ours(vars(module).get("forward"))

        def forward(*args: Any, **kwargs: Any) -> Tensor:  # a plain function: extensions look at its module
            now = self.current()
            return self.theirs(*args, **kwargs) if now is None else self.call(now, *args, **kwargs)

        forward.pladis_before = self._before  # type: ignore[attr-defined]
        self._forward = forward
        module.forward = forward  # type: ignore[method-assign]

    def in_place(self) -> bool:
        return vars(self.module).get("forward") is self._forward

    def remove(self) -> None:
        self.current = lambda: None
        if not self.in_place():
            return
        if self._before is None:
            del self.module.forward
        else:
            self.module.forward = self._before  # type: ignore[method-assign]

    def theirs(self, *args: Any, **kwargs: Any) -> Tensor:
        """The original forward: the one that was on the instance, or the class's as it is now."""
        if self._before is not None:
            return self._before(*args, **kwargs)
        return type(self.module).forward(self.module, *args, **kwargs)  # type: ignore[no-any-return]

    @abstractmethod
    def call(self, now: Now, *args: Any, **kwargs: Any) -> Tensor:
        """The output in place of the original's."""


class InsideForward(ForwardHook):
    """Another extension's forward, run as it is.

    If it calls torch's attention with the keys that this layer projects, that call is blended. This is exact, whatever
    values it uses with those keys (NegPiP flips their sign) and whatever it does with the output. A forward that
    computes attention by other means (Regional Prompter) is left alone.
    """

    def call(self, now: Now, *args: Any, **kwargs: Any) -> Tensor:
        shapes: list[torch.Size] = []
        project: Any = self.module.to_k
        handle = project.register_forward_hook(lambda module, given, out: shapes.append(out.shape))
        inside = _Inside(self.name, now, shapes)
        try:
            with inside:
                out = self.theirs(*args, **kwargs)
        finally:
            handle.remove()
        if not inside.count:
            now.skip_layer(self.name, owner_of(self._before or type(self.module).forward))
        return out


class _Inside(TorchFunctionMode):
    """Blends torch's attention on keys of the `shapes` that were projected. Which rows are positive isn't known."""

    def __init__(self, name: LayerName, now: Now, shapes: Sequence[torch.Size]) -> None:
        super().__init__()
        self.name, self.now, self.shapes = name, now, shapes
        self.count = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is ATTENTION:
            try:
                call = SdpaCall(None, None, *args, **kwargs)
            except ValueError:
                return func(*args, **kwargs)
            batch, heads, length, dim = call.key.shape
            if (batch, length, heads * dim) in self.shapes:
                self.count += 1
                return self.now.answer(self.name, call)
        return func(*args, **kwargs)
