"""What a compiled kernel costs, read from its machine code: registers, stack, and the instructions on a tile's way."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

BRANCH = re.compile(r"\bBRA(?:\.\w+)*\b.*`\((\.L_x?_?\w+)\)")
PREDICATED = re.compile(r"^@!?U?P\w+\s")
FENCES = ("NOP", "BRA.U")


@dataclass(frozen=True)
class Usage:
    """Registers a thread, bytes of stack a thread (spills are in it), bytes of static shared memory a block."""

    registers: int
    stack: int
    shared: int


@dataclass(frozen=True)
class Way:
    """Instructions of the shortest way from the kernel's entry through its last store to its end, a warp.

    Loops that need not run count once where their bodies come before their tests, and not at all where the
    test comes first; straight code, which is all the rest, counts as it stands. everywhere: of all the code, what one
    elected thread does among it, which is beside the shortest way.
    """

    instructions: int
    by_opcode: Counter[str]
    everywhere: Counter[str]


def usage(tools: Path, cubin: Path) -> Usage:
    """What ptxas allotted. tools: the folder of cuobjdump."""
    text = _call([str(tools / "cuobjdump"), "-res-usage", str(cubin)])
    found = re.search(r"REG:(\d+) STACK:(\d+) SHARED:(\d+)", text)
    if not found:
        raise ValueError(f"cuobjdump: no usage in {text[:200]!r}")
    return Usage(*map(int, found.groups()))


def way(tools: Path, cubin: Path) -> Way:
    """The shortest way through the kernel's machine code. tools: the folder of nvdisasm."""
    return way_of(_call([str(tools / "nvdisasm"), "-c", str(cubin)]))


def way_of(text: str) -> Way:
    """The same of nvdisasm's listing."""
    blocks, labels = _blocks(text)
    last = max(
        (n for n, block in enumerate(blocks) if any(_opcode(line).startswith("STG") for line in block)), default=0
    )
    steps = _edges(blocks, labels)
    there = _shortest(blocks, steps, 0, {last})
    ends = {n for n, block in enumerate(blocks) if any(_opcode(line) == "EXIT" for line in block)}
    back = _shortest(blocks, steps, last, ends)[1:]
    lines = [line for n in (*there, *back) for line in blocks[n]]
    opcodes = _opcodes(lines)
    return Way(sum(opcodes.values()), opcodes, _opcodes(line for block in blocks for line in block))


def _opcodes(lines: Iterable[str]) -> Counter[str]:
    """How often each instruction is there; NOP isn't one."""
    return Counter(opcode for line in lines if (opcode := _opcode(line)) != "NOP")


def _blocks(text: str) -> tuple[list[list[str]], dict[str, int]]:
    """Basic blocks: lists of instructions, and which block a label names."""
    blocks: list[list[str]] = [[]]
    labels: dict[str, int] = {}
    inside = False
    for line in text.splitlines():
        line = line.strip()
        if line.startswith(".text."):
            inside = True
            continue
        if not inside or line.startswith("//"):
            continue
        label = re.match(r"(\.L_\w+):", line)
        if label:
            if blocks[-1]:
                blocks.append([])
            labels[label[1]] = len(blocks) - 1
            continue
        instruction = re.match(r"/\*[0-9a-f]{4,}\*/\s+(.*?)\s*;", line)
        if not instruction:
            continue
        blocks[-1].append(instruction[1])
        if _opcode(instruction[1]) in ("BRA", "EXIT", "RET"):
            blocks.append([])
    return blocks, labels


def _opcode(line: str) -> str:
    """The instruction's name without predicate and modifiers."""
    line = PREDICATED.sub("", line)
    return line.replace("{", "").strip().split(" ")[0].split(".")[0]


def _edges(blocks: list[list[str]], labels: dict[str, int]) -> list[set[int]]:
    edges: list[set[int]] = []
    for n, block in enumerate(blocks):
        following = set() if n + 1 >= len(blocks) else {n + 1}
        line = block[-1] if block else ""
        if _opcode(line) in ("EXIT", "RET") and not PREDICATED.match(line):
            following = set()
        target = re.search(r"`\((\.L_\w+)\)", line) if _opcode(line) == "BRA" else None
        if target:
            conditional = PREDICATED.match(line) or re.search(r"\bBRA\S*\s+!?U?P\d", line) or "DIV" in line
            following = (following if conditional else set()) | {labels[target[1]]}
        edges.append(following)
    return edges


def _shortest(blocks: list[list[str]], edges: list[set[int]], start: int, ends: set[int]) -> list[int]:
    """The blocks of the way with fewest instructions."""
    cost = {start: len(blocks[start])}
    before: dict[int, int] = {}
    todo = {start}
    done: set[int] = set()
    while todo:
        here = min(todo, key=lambda n: cost[n])
        if here in ends:
            path = [here]
            while path[-1] != start:
                path.append(before[path[-1]])
            return path[::-1]
        todo.remove(here)
        done.add(here)
        for there in edges[here] - done:
            price = cost[here] + len(blocks[there])
            if price < cost.get(there, 1 << 60):
                cost[there], before[there] = price, here
                todo.add(there)
    raise ValueError("no way through the machine code")


def _call(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
