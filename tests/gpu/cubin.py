"""What a kernel needs of a multiprocessor, read from its cubin: an ELF file with NVIDIA's sections."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

REGISTERS, FRAME, STACK = 0x2F, 0x11, 0x12
"""Attributes of .nv.info with a number a function: (symbol, value)."""

NUMBERS = 4
"""The form of an attribute that has its length and its numbers behind it; others are four bytes in all."""


@dataclass(frozen=True)
class Usage:
    """registers: of a thread. stack: bytes of a thread, spills in it. local: bytes of local memory."""

    registers: int
    stack: int
    local: int


def usage(cubin: bytes) -> Usage:
    """Of a cubin of one kernel. Raises KeyError where it says no number of registers."""
    found: dict[int, int] = {}
    local = 0
    for name, content, size in sections(cubin):
        local += size if name.startswith(".nv.local") else 0
        at = 0
        while name == ".nv.info" and at < len(content):
            form, attribute, length = struct.unpack_from("<BBH", content, at)
            if form == NUMBERS and attribute in (REGISTERS, FRAME, STACK):
                found[attribute] = max(found.get(attribute, 0), struct.unpack_from("<II", content, at + 4)[1])
            at += 4 + (length if form == NUMBERS else 0)
    return Usage(found[REGISTERS], max(found[FRAME], found[STACK]), local)


def sections(elf: bytes) -> Iterator[tuple[str, bytes, int]]:
    """Name, content and size of each section of a 64-bit ELF file."""
    assert elf[:5] == b"\x7fELF\x02", "not a 64-bit ELF file"
    (start,) = struct.unpack_from("<Q", elf, 0x28)
    length, count, names = struct.unpack_from("<HHH", elf, 0x3A)
    headers = [struct.unpack_from("<IIQQQQ", elf, start + n * length) for n in range(count)]
    for name, kind, _, _, at, size in headers:
        first = headers[names][4] + name
        content = b"" if kind == 8 else elf[at : at + size]  # SHT_NOBITS takes no place in the file
        yield elf[first : elf.index(b"\0", first)].decode(), content, size
