"""Runs compiled kernels on a CPU: an interpreter of the PTX that Triton emits for Ampere's tensor cores.

All threads of one block in step, a register an array of raw bits (uint64) with an entry a thread, global memory the
tensors' own with every access held against their bounds. PTX ISA: mma.sync m16n8k16, ldmatrix, shfl.bfly and what
else `pladis_kernel` needs; whatever it does not know it refuses by name.
"""

from __future__ import annotations

import operator
import re
from typing import Any

import numpy as np
from torch import Tensor

BITS: dict[int, Any] = {8: np.uint8, 16: np.uint16, 32: np.uint32, 64: np.uint64}
FLOATS = {"f16": np.float16, "f32": np.float32}
COMPARE = {"lt": "lt", "le": "le", "gt": "gt", "ge": "ge", "eq": "eq", "ne": "ne", "lo": "lt", "ls": "le", "hi": "gt"}
ARITHMETIC: dict[str, Any] = {"add": np.add, "sub": np.subtract, "max": np.fmax, "min": np.fmin, "div": np.divide}
LOGIC: dict[str, Any] = {"and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor}
UNARY: dict[str, Any] = {
    "ex2": np.exp2,
    "lg2": np.log2,
    "sqrt": np.sqrt,
    "rcp": np.reciprocal,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "neg": np.negative,
    "abs": np.abs,
}


def _bf16(values: Any) -> Any:
    """fp32 rounded to the nearest bf16, ties to even, as bits."""
    bits = values.astype(np.float32).view(np.uint32)
    return ((bits + ((bits >> 16) & 1) + np.uint32(0x7FFF)) >> 16).astype(np.uint16)


def _split(text: str) -> list[str]:
    """Operands, those in braces or brackets in one piece."""
    return [piece.strip() for piece in re.findall(r"\{[^}]*\}|\[[^\]]*\]|[^,{}\[\]]+", text) if piece.strip(" ,")]


def _names(operand: str) -> list[str]:
    return [name.strip() for name in operand.strip("{} ").split(",")]


class Memory:
    """Global memory: tensors at made-up addresses, those with writable set may be written."""

    def __init__(self) -> None:
        self.areas: list[tuple[int, Any, bool]] = []

    def add(self, tensor: Tensor, writable: bool = False) -> int:
        """Where the tensor's first element lies from now on. It must be its storage's only one."""
        flat = tensor.as_strided((tensor.untyped_storage().nbytes() // tensor.element_size(),), (1,), 0)
        flat = flat.view(flat.dtype if flat.element_size() == 1 else __import__("torch").int16)
        raw = flat.numpy().view(np.uint8)
        start = (self.areas[-1][0] + len(self.areas[-1][1]) if self.areas else 0) + 0x10000
        start += -start % 256
        self.areas.append((start, raw, writable))
        return start + int(tensor.storage_offset()) * tensor.element_size()

    def at(self, addresses: Any, size: int, write: bool) -> tuple[Any, Any]:
        """The area that holds all of these, and the bytes' indices in it. Raises IndexError outside of any."""
        for start, raw, writable in self.areas:
            if start <= addresses.min() and addresses.max() + size <= start + len(raw) and (writable or not write):
                return raw, (addresses - start)[:, None] + np.arange(size)
        raise IndexError(f"{'write' if write else 'read'} at {addresses.min():#x} to {addresses.max() + size:#x}")


class Block:
    """One block of a kernel's grid, run to its end by `run`."""

    def __init__(
        self,
        ptx: str,
        shared: int,
        memory: Memory,
        arguments: list[Any],
        place: tuple[int, int, int],
        grid: tuple[int, int, int] = (1, 1, 1),
    ) -> None:
        entry = ptx[ptx.index(".visible .entry") :]
        head, body = entry.split("\n{", 1)
        self.threads = int(re.search(r"\.(?:req|max)ntid (\d+)", head)[1])  # type: ignore[index]
        names = re.findall(r"\.param \.(\w+)[^,\n]*?(\w+param_\d+)", head)
        values = [*arguments, *[0] * (len(names) - len(arguments))]
        self.parameters = {
            name: int(np.float32(value).view(np.uint32)) if kind == "f32" else int(value)
            for (kind, name), value in zip(names, values)
        }
        self.memory = memory
        self.special: dict[str, Any] = {"%tid.x": np.arange(self.threads)}
        for axis, at, blocks in zip("xyz", place, grid):
            self.special |= {f"%ctaid.{axis}": at, f"%nctaid.{axis}": blocks}
        self.shared = np.full(shared, 0xFF, np.uint8)
        self.registers: dict[str, Any] = {}
        self.code: list[tuple[str, str, list[str]]] = []
        self.labels: dict[str, int] = {}
        self._parse(body)

    def _parse(self, body: str) -> None:
        body = re.sub(r"//[^\n]*", "", body[: body.index("\n}")] if "\n}" in body else body)
        body = re.sub(r"^\s*\.(?:loc|file|pragma|reg|section)[^\n]*$", "", body, flags=re.MULTILINE)
        body = re.sub(r"^\s*(\$?\w+):", r"LABEL \1;", body, flags=re.MULTILINE)
        for statement in body.split(";"):
            statement = re.sub(r"^[{}\s]+(?=[.@a-zA-Z])", "", " ".join(statement.split()))
            if not statement.strip("{} ") or statement.startswith("."):
                continue
            guard, name, rest = re.match(r"(?:@(!?%\w+) )?(\S+) ?(.*)", statement).groups()  # type: ignore[union-attr]
            if name == "LABEL":
                self.labels[rest] = len(self.code)
            else:
                self.code.append((guard or "", name, _split(rest)))

    def run(self) -> int:
        """Instructions executed. Raises NotImplementedError, IndexError; RuntimeError where threads part."""
        here = steps = 0
        with np.errstate(all="ignore"):
            while here < len(self.code):
                guard, name, operands = self.code[here]
                here, steps = here + 1, steps + 1
                active = np.ones(self.threads, bool)
                if guard:
                    active = self.registers[guard.strip("!")] ^ guard.startswith("!")
                kind = name.split(".")[0]
                if kind in ("bra", "ret"):
                    if active.any() != active.all():
                        raise RuntimeError("threads of a block part ways")
                    if active.all():
                        here = self.labels[operands[0]] if kind == "bra" else len(self.code)
                elif kind not in ("bar", "barrier"):
                    handler = getattr(self, f"_{kind}", self._compute)
                    handler(name.split("."), operands, active)
        return steps

    def _read(self, operand: str, kind: str) -> Any:
        """An operand's values: pred, or of a type such as s32, f32, b16."""
        if kind == "pred":
            return self.registers[operand] if operand in self.registers else np.full(self.threads, operand != "0")
        bits = BITS[int(kind.lstrip("busfx")[:2].rstrip("x")) if kind != "bf16" else 16]
        if operand in self.special:
            raw = np.full(self.threads, self.special[operand], np.uint64)
        elif operand.startswith("%"):
            raw = self.registers[operand]
        elif operand[:2] in ("0f", "0F", "0d"):
            raw = np.full(self.threads, int(operand[2:], 16), np.uint64)
        else:
            number = 0 if operand == "global_smem" else int(operand.rstrip("U"), 0)
            raw = np.full(self.threads, number & 0xFFFFFFFFFFFFFFFF, np.uint64)
        raw = raw.astype(bits)
        if kind in FLOATS:
            return raw.view(FLOATS[kind])
        return raw.view(f"i{bits().itemsize}") if kind[0] == "s" else raw

    def _write(self, name: str, values: Any, active: Any) -> None:
        if values.dtype != bool:
            values = np.ascontiguousarray(values)
            values = values.view(BITS[8 * values.itemsize]).astype(np.uint64)
        old = self.registers.get(name)
        self.registers[name] = values if old is None or active.all() else np.where(active, values, old)

    def _address(self, operand: str) -> Any:
        base, offset = re.match(r"\[ *([%\w.]+) *\+? *(-?\d+)? *\]", operand).groups()  # type: ignore[union-attr]
        return self._read(base, "s64" if base.startswith("%rd") else "s32").astype(np.int64) + int(offset or 0)

    def _access(self, name: list[str], operand: str, size: int, active: Any, write: bool) -> tuple[Any, Any]:
        addresses = self._address(operand)[active]
        if (addresses % size).any():
            raise IndexError(f"{'.'.join(name)} is not aligned")
        if "global" in name:
            return self.memory.at(addresses, size, write)
        if addresses.min() < 0 or addresses.max() + size > len(self.shared):
            raise IndexError(f"shared memory at {addresses.max() + size} of {len(self.shared)}")
        return self.shared, addresses[:, None] + np.arange(size)

    def _ld(self, name: list[str], operands: list[str], active: Any) -> None:
        width = int(name[-1][1:]) // 8
        targets = _names(operands[0])
        if "param" in name:
            value = self.parameters[operands[1].strip("[] ")]
            return self._write(targets[0], np.full(self.threads, value & (256**width - 1), BITS[8 * width]), active)
        loaded = np.zeros((self.threads, width * len(targets)), np.uint8)
        if active.any():
            source, index = self._access(name, operands[1], loaded.shape[1], active, False)
            loaded[active] = source[index]
        for column, target in enumerate(targets):
            self._write(target, loaded.view(BITS[8 * width])[:, column], active)
        return None

    def _st(self, name: list[str], operands: list[str], active: Any) -> None:
        if not active.any():
            return
        values = np.stack([self._read(source, name[-1]) for source in _names(operands[1])], 1)
        raw = np.ascontiguousarray(values).view(np.uint8).reshape(self.threads, -1)
        target, index = self._access(name, operands[0], raw.shape[1], active, True)
        target[index] = raw[active]

    def _ldmatrix(self, name: list[str], operands: list[str], active: Any) -> None:
        """Eight rows of 16 bytes a matrix, whose addresses are eight threads'; a thread gets two neighbours of one."""
        _, index = self._access(["shared"], operands[1], 16, active, False)
        rows = self.shared[index].view(np.uint16).reshape(-1, 4, 8, 8)
        for matrix, target in enumerate(_names(operands[0])):
            tile = rows[:, matrix].swapaxes(1, 2) if "trans" in name else rows[:, matrix]
            self._write(target, np.ascontiguousarray(tile).view(np.uint32).reshape(-1), active)

    def _mma(self, name: list[str], operands: list[str], active: Any) -> None:
        """m16n8k16: thread t holds row t // 4 (and 8 on), columns from 2 (t % 4), in the order of the PTX manual."""
        if "m16n8k16" not in name:
            raise NotImplementedError(".".join(name))

        def halves(operand: str) -> Any:
            raw = np.stack([self._read(register, "b32") for register in _names(operand)], 1).view(np.uint16)
            if "bf16" in name:
                return (raw.astype(np.uint32) << 16).view(np.float32).reshape(-1, 32, raw.shape[1])
            return raw.view(np.float16).astype(np.float32).reshape(-1, 32, raw.shape[1])

        a, b = halves(operands[1]), halves(operands[2])
        row, column = np.arange(32) // 4, 2 * (np.arange(32) % 4)
        left, right = np.zeros((len(a), 16, 16), np.float32), np.zeros((len(a), 16, 8), np.float32)
        for n in range(8):
            left[:, row + 8 * (n // 2 % 2), column + n % 2 + 8 * (n // 4)] = a[:, :, n]
        for n in range(4):
            right[:, column + n % 2 + 8 * (n // 2), row] = b[:, :, n]
        product = left @ right
        start = [self._read(register, "f32") for register in _names(operands[3])]
        for n, target in enumerate(_names(operands[0])):
            self._write(target, product[:, row + 8 * (n // 2), column + n % 2].reshape(-1) + start[n], active)

    def _shfl(self, name: list[str], operands: list[str], active: Any) -> None:
        if "bfly" not in name:
            raise NotImplementedError(".".join(name))
        values = self._read(operands[1], "b32").reshape(-1, 32)
        self._write(operands[0].split("|")[0], values[:, np.arange(32) ^ int(operands[2], 0)].reshape(-1), active)

    def _mov(self, name: list[str], operands: list[str], active: Any) -> None:
        kind = name[-1]
        target, source = operands
        if "{" in target:
            halves = np.ascontiguousarray(self._read(source, kind)).view(BITS[int(kind[1:]) // 2]).reshape(-1, 2)
            for column, part in enumerate(_names(target)):
                self._write(part, halves[:, column], active)
        elif "{" in source:
            parts = [self._read(part, f"b{int(kind[1:]) // 2}") for part in _names(source)]
            self._write(target, np.stack(parts, 1).view(BITS[int(kind[1:])])[:, 0], active)
        else:
            self._write(target, self._read(source, kind), active)

    def _cvt(self, name: list[str], operands: list[str], active: Any) -> None:
        to, kind = name[-2:]
        if to in ("f16x2", "bf16x2"):
            narrow = _bf16 if to == "bf16x2" else lambda x: x.astype(np.float16).view(np.uint16)
            high, low = (narrow(self._read(operand, "f32")).astype(np.uint32) for operand in operands[1:])
            return self._write(operands[0], (high << 16) | low, active)
        values = self._read(operands[1], kind)
        if kind == "bf16":
            values = (values.astype(np.uint32) << 16).view(np.float32)
        if to == "bf16":
            return self._write(operands[0], _bf16(values), active)
        return self._write(operands[0], values.astype(FLOATS.get(to) or to.replace("s", "i").replace("i", "int")
                                                      .replace("u", "uint")), active)  # fmt: skip

    def _setp(self, name: list[str], operands: list[str], active: Any) -> None:
        x, y = (self._read(operand, name[-1]) for operand in operands[1:3])
        test = name[1]
        if len(name) > 3 and name[2] in ("and", "or", "xor"):
            raise NotImplementedError(".".join(name))
        unordered = test.endswith("u") and name[-1] in FLOATS
        result = getattr(operator, COMPARE[test.rstrip("u") if unordered else test])(x, y)
        self._write(operands[0], result | np.isnan(x) | np.isnan(y) if unordered else result, active)

    def _selp(self, name: list[str], operands: list[str], active: Any) -> None:
        x, y = (self._read(operand, name[-1].replace("f", "b")) for operand in operands[1:3])
        self._write(operands[0], np.where(self.registers[operands[3]], x, y), active)

    def _bfe(self, name: list[str], operands: list[str], active: Any) -> None:
        start, length = int(operands[2], 0), int(operands[3], 0)
        lifted = self._read(operands[1], "u32") << np.uint32(32 - start - length)
        self._write(operands[0], lifted.view(np.int32 if name[-1] == "s32" else np.uint32) >> (32 - length), active)

    def _prmt(self, name: list[str], operands: list[str], active: Any) -> None:
        """Four bytes of the eight of two registers, each chosen by a hexadecimal digit."""
        low, high, choice = (self._read(operand, "b32") for operand in operands[1:])
        given = np.stack([low, high], 1).view(np.uint8)
        index = (choice[:, None] >> np.array([0, 4, 8, 12], np.uint32)) & 15
        if (index > 7).any():
            raise NotImplementedError("prmt with signs")
        self._write(operands[0], np.take_along_axis(given, index.astype(np.int64), 1).view(np.uint32)[:, 0], active)

    def _compute(self, name: list[str], operands: list[str], active: Any) -> None:
        """Arithmetic, lane by lane."""
        kind, to = name[0], name[-1]
        values = [self._read(operand, to) for operand in operands[1:]]
        if kind in ("mul", "mad", "fma") and "wide" in name:
            values = [value.astype(f"{value.dtype.kind}8") for value in values[:2]]
            if kind == "mad":
                values.append(self._read(operands[3], to[0] + "64"))
        if kind == "fma" and to == "f32":
            x, y, z = (value.astype(np.float64) for value in values)
            result = (x * y + z).astype(np.float32)
        elif kind in ("mul", "mad", "fma") and "hi" not in name:
            result = values[0] * values[1]
            result = result + values[2] if len(values) > 2 else result
        elif kind in ("shl", "shr"):
            result = (np.left_shift if kind == "shl" else np.right_shift)(
                values[0], self._read(operands[2], "u32").astype(values[0].dtype)
            )
        elif kind in LOGIC:
            result = LOGIC[kind](*values)
        elif kind == "not":
            result = ~values[0]
        elif kind in UNARY:
            result = UNARY[kind](values[0])
        elif kind in ARITHMETIC and (kind != "div" or to == "f32"):
            result = ARITHMETIC[kind](*values)
        else:
            raise NotImplementedError(".".join(name))
        self._write(operands[0], result if to == "pred" else result.astype(values[0].dtype), active)
