"""NVIDIA's driver API by ctypes: loads cubins and launches them in torch's context and stream."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
from collections.abc import Iterator
from typing import Any

LIBRARY = "nvcuda.dll" if os.name == "nt" else "libcuda.so.1"

MULTIPROCESSORS = 16  # CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT
MOST_SHARED = 8  # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES

ALWAYS_SHARED = 48 * 1024
"""Bytes of dynamic shared memory that a block may have without opting in."""


class Driver:
    """The driver's library. Raises OSError if there is none."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(LIBRARY)
        numbers = [ctypes.c_uint] * 7
        pointers = [ctypes.c_void_p] * 3
        self._library.cuLaunchKernel.argtypes = [ctypes.c_void_p, *numbers, *pointers]
        self.call("cuInit", 0)

    def call(self, name: str, *arguments: object) -> None:
        """Call a function. Raises RuntimeError with the driver's error text."""
        status = getattr(self._library, name)(*arguments)
        if status:
            text = ctypes.c_char_p()
            self._library.cuGetErrorString(status, ctypes.byref(text))
            raise RuntimeError(f"{name}: {(text.value or b'unknown error').decode()} ({status})")

    @functools.cache  # noqa: B019 (there is one driver)
    def device(self, index: int) -> ctypes.c_int:
        """The driver's handle of torch's device; both count only devices in CUDA_VISIBLE_DEVICES."""
        device = ctypes.c_int()
        self.call("cuDeviceGet", ctypes.byref(device), index)
        return device

    @functools.cache  # noqa: B019
    def context(self, index: int) -> ctypes.c_void_p:
        """The primary context of a device, which torch uses too."""
        context = ctypes.c_void_p()
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), self.device(index))
        return context

    @contextlib.contextmanager
    def on(self, index: int) -> Iterator[None]:
        """Makes a device's context current in this thread."""
        self.call("cuCtxPushCurrent_v2", self.context(index))
        try:
            yield
        finally:
            self.call("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))


@functools.cache
def driver() -> Driver:
    """The driver of this process. Raises OSError or RuntimeError."""
    return Driver()


class Function:
    """A kernel loaded on a device. image: its cubin. index: the device. shared: bytes of dynamic shared memory.
    threads: threads of a block.

    blocks: number of blocks that run on the device at once."""

    def __init__(self, image: bytes, name: str, index: int, shared: int, threads: int) -> None:
        self._driver, self._index, self._shared, self._threads = driver(), index, shared, threads
        module, self._function, count, each = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_int(), ctypes.c_int()
        call = self._driver.call
        with self._driver.on(index):
            call("cuModuleLoadData", ctypes.byref(module), image)
            call("cuModuleGetFunction", ctypes.byref(self._function), module, name.encode())
            if shared > ALWAYS_SHARED:
                call("cuFuncSetAttribute", self._function, MOST_SHARED, shared)
            call("cuDeviceGetAttribute", ctypes.byref(count), MULTIPROCESSORS, self._driver.device(index))
            occupied = (ctypes.byref(each), self._function, threads, ctypes.c_size_t(shared))
            call("cuOccupancyMaxActiveBlocksPerMultiprocessor", *occupied)
        self.blocks = count.value * max(1, each.value)

    def launch(self, grid: tuple[int, int, int], arguments: Any, stream: int) -> None:
        """Launch the kernel. arguments: its only argument, a ctypes structure. stream: a CUDA stream's handle."""
        pointers = (ctypes.c_void_p * 1)(ctypes.addressof(arguments))
        with self._driver.on(self._index):
            self._driver.call(
                "cuLaunchKernel", self._function, *grid, self._threads, 1, 1, self._shared, stream, pointers, None
            )
