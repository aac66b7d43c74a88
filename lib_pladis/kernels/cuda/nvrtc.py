"""NVRTC, NVIDIA's run-time compiler, by ctypes. It comes with torch and needs no CUDA toolkit."""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch

LIBRARIES = {
    11: ("libnvrtc.so.11.2", "nvrtc64_112_0.dll"),
    12: ("libnvrtc.so.12", "nvrtc64_120_0.dll"),
    13: ("libnvrtc.so.13", "nvrtc64_130_0.dll"),
}
"""File names by the major version of CUDA, on Linux and on Windows. torch's wheels may add a hash to a name."""

FOLDERS = (
    "nvidia/cuda_nvrtc/lib",
    "nvidia/cuda_nvrtc/bin",
    "nvidia/cu1*/lib",
    "nvidia/cu1*/bin",
    "nvidia/cu1*/bin/x86_64",
)
"""Folders of NVIDIA's wheels that contain it, relative to site-packages."""


WINDOWS = os.name == "nt"


class Unusable(RuntimeError):
    """There is no working NVRTC; the message says why."""


class Nvrtc:
    """One NVRTC library. path: a file, or a name for the system's search. Raises OSError if it can't be loaded."""

    def __init__(self, path: str) -> None:
        folder = Path(path).parent
        if folder != Path():  # once loaded, the library finds it by its name
            for builtins in sorted(folder.glob("*nvrtc-builtins*")):
                if ".alt." not in builtins.name:
                    _load_quietly(str(builtins))
        self._library = ctypes.CDLL(path)
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._call("nvrtcVersion", ctypes.byref(major), ctypes.byref(minor))
        self.version = (major.value, minor.value)
        count = ctypes.c_int()
        self._call("nvrtcGetNumSupportedArchs", ctypes.byref(count))
        targets = (ctypes.c_int * count.value)()
        self._call("nvrtcGetSupportedArchs", targets)
        self.targets = tuple(targets)

    def target(self, capability: tuple[int, int]) -> int | None:
        """The architecture to compile for, 86 for sm_86: the highest known one of the same major version and at most
        this minor one; None if there is none."""
        major, minor = capability
        known = [target for target in self.targets if target // 10 == major and target % 10 <= minor]
        return max(known, default=None)

    def compile(self, source: str, options: Sequence[str]) -> bytes:
        """A cubin. options: `options_of`. Raises RuntimeError with the compiler's first error."""
        program = ctypes.c_void_p()
        self._call("nvrtcCreateProgram", ctypes.byref(program), source.encode(), b"kernel.cu", 0, None, None)
        try:
            given = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
            try:
                self._call("nvrtcCompileProgram", program, len(options), given)
            except RuntimeError as error:
                lines = self._read(program, "ProgramLog").decode(errors="replace").strip("\0\n ").splitlines()
                wrong = [line for line in lines if "error" in line] or lines
                raise RuntimeError(wrong[0] if wrong else str(error)) from None
            return self._read(program, "CUBIN")
        finally:
            self._library.nvrtcDestroyProgram(ctypes.byref(program))

    def _read(self, program: ctypes.c_void_p, what: str) -> bytes:
        size = ctypes.c_size_t()
        self._call(f"nvrtcGet{what}Size", program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        self._call(f"nvrtcGet{what}", program, buffer)
        return buffer.raw

    def _call(self, name: str, *arguments: object) -> None:
        status = getattr(self._library, name)(*arguments)
        if status:
            text = self._library.nvrtcGetErrorString
            text.restype = ctypes.c_char_p
            raise RuntimeError(f"{name}: {(text(status) or b'').decode()}")


def options_of(target: int, constants: Mapping[str, int]) -> list[str]:
    """Compiler options for sm_`target`; the constants become macros."""
    return [f"--gpu-architecture=sm_{target}", "--std=c++14", *(f"-D{name}={n}" for name, n in constants.items())]


def candidates(major: int) -> Iterator[str]:
    """Possible places of the library of a CUDA version: torch's own, NVIDIA's wheels, the system's search path."""
    linux, windows = LIBRARIES[major]
    name = windows if WINDOWS else linux
    stem, _, rest = linux.partition(".so")
    torch_home = Path(torch.__file__).parent
    folders = [torch_home / "lib"]
    for packages in dict.fromkeys([torch_home.parent, *map(Path, filter(None, sys.path))]):
        folders += [folder for pattern in FOLDERS for folder in sorted(packages.glob(pattern))]
    for folder in folders:
        pattern = windows if WINDOWS else f"{stem}*.so{rest}"
        yield from (str(file) for file in sorted(folder.glob(pattern)) if ".alt." not in file.name)
    yield name


@functools.cache
def nvrtc() -> Nvrtc:
    """The NVRTC of torch's CUDA version, tried on an empty kernel, as nvrtc-builtins may be missing. Raises
    Unusable."""
    major = int((torch.version.cuda or "0").split(".")[0])
    if major not in LIBRARIES:
        raise Unusable(f"torch is not built with CUDA 11 to 13 ({torch.version.cuda})")
    reason = f"NVRTC of CUDA {major} is not installed"
    for path in candidates(major):
        try:
            found = Nvrtc(path)
            found.compile('extern "C" __global__ void nothing() {}', options_of(found.targets[-1], {}))
        except OSError:
            continue
        except (RuntimeError, AttributeError) as error:
            reason = f"NVRTC does not work: {error}"
            continue
        return found
    raise Unusable(reason)


def _load_quietly(path: str) -> None:
    try:
        ctypes.CDLL(path)
    except OSError:
        pass  # compiling will say what is missing
