"""Wraps the calls of a torch module without replacing its `forward` or class."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Protocol

import torch


class Wrapper(Protocol):
    """An object that wraps calls of modules."""

    def applies(self, module: torch.nn.Module) -> bool:
        """Whether a call made now, in this thread, goes through this wrapper."""

    def call(self, module: torch.nn.Module, original: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Make the call. original: what would be called without wrappers; compiled if the module is."""


class ModuleHook:
    """Replaces the attribute through which torch calls a compiled module, as long as there are wrappers.

    Wrappers come and go in any order, from any thread; when the last one has gone, the module is as it was. A copy of
    the module has no hook: torch copies modules without this attribute.
    """

    NAME = "_compiled_call_impl"
    _lock = threading.RLock()

    def __init__(self, module: torch.nn.Module) -> None:
        self.module = module
        self.wrappers: list[Wrapper] = []
        self.before = vars(module).get(self.NAME, self)

    @classmethod
    def add(cls, module: torch.nn.Module, wrapper: Wrapper) -> None:
        """Call the module through `wrapper`, outside of the existing ones."""
        with cls._lock:
            hook = vars(module).get(cls.NAME)
            if not isinstance(hook, cls):
                hook = vars(module)[cls.NAME] = cls(module)
            hook.wrappers = [*hook.wrappers, wrapper]

    @classmethod
    def remove(cls, module: torch.nn.Module, wrapper: Wrapper) -> None:
        """Stop calling the module through `wrapper`."""
        with cls._lock:
            hook = vars(module).get(cls.NAME)
            if not isinstance(hook, cls):
                return
            hook.wrappers = [each for each in hook.wrappers if each is not wrapper]
            if not hook.wrappers:
                del vars(module)[cls.NAME]
                if hook.before is not hook:
                    vars(module)[cls.NAME] = hook.before

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        compiled = self.before is not self and self.before is not None
        original: Any = self.before if compiled else self.module._call_impl
        for wrapper in reversed(self.wrappers):
            if wrapper.applies(self.module):
                return wrapper.call(self.module, original, args, kwargs)
        return original(*args, **kwargs)
