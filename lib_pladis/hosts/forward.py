"""`forward` of a module's instance, replaced and given back; and attention inside a forward that another extension has
set."""

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
    """Another extension's `forward` on the instance, beneath hooks of ours that somebody has put back after their time.

    The class's own, or an optimizer's of the modules `hosts`, bound to the instance, is none: that is what IP-Adapter
    leaves there.
    """
    forward = without_ours(vars(module).get("forward"))
    bound = forward is not None and getattr(forward, "__self__", None) is module
    if bound and owner_of(getattr(forward, "__func__", forward)) in hosts | _homes(module):
        return None
    return forward  # type: ignore[no-any-return]


def foreign_class_forward(module: torch.nn.Module) -> Forward | None:
    """Another extension's `forward` on the class: one that comes from none of the modules that its classes are from."""
    forward = type(module).forward
    return None if owner_of(forward) in _homes(module) else forward


def _homes(module: torch.nn.Module) -> frozenset[str]:
    return frozenset(cls.__module__ for cls in type(module).__mro__)


class ForwardHook(ABC):
    """`forward` of one instance, replaced. While nothing holds, what stood there runs."""

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
        """Whether our function stands where it was put."""
        return vars(self.module).get("forward") is self._forward

    def remove(self) -> None:
        """Should somebody have wrapped us, we stay, and are passed through."""
        self.current = lambda: None
        if not self.in_place():
            return
        if self._before is None:
            del self.module.forward
        else:
            self.module.forward = self._before  # type: ignore[method-assign]

    def theirs(self, *args: Any, **kwargs: Any) -> Tensor:
        """The forward that would run without us: the one on the instance, or the class's as it is now."""
        if self._before is not None:
            return self._before(*args, **kwargs)
        return type(self.module).forward(self.module, *args, **kwargs)  # type: ignore[no-any-return]

    @abstractmethod
    def call(self, now: Now, *args: Any, **kwargs: Any) -> Tensor:
        """What comes out instead."""


class InsideForward(ForwardHook):
    """Another extension's forward, run as it is; where it computes attention by torch's function, on the keys that this
    layer projects, that attention is blended. So it is exact whatever values it gives those keys (NegPiP turns their
    sign) and whatever it does with the output. One that computes otherwise (Regional Prompter) is left alone."""

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
            now.left_alone(self.name, owner_of(self._before or type(self.module).forward))
        return out


class _Inside(TorchFunctionMode):
    """Answers for torch's attention on keys of the `shapes` that were projected; all else is as it was. Which rows are
    whose isn't known."""

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
