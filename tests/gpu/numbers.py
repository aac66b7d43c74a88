#!/usr/bin/env python3
"""Compiles kernels, runs what came out with `tests.gpu.ptx`, and holds it against fp64.

python -m tests.gpu.numbers < cases.json     one line of JSON a case: its largest error, as a share of the bound
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from tests.gpu.aot import DTYPES, Case, Compiled, stand_in
from tests.gpu.ptx import Block, Memory
from tests.oracle import reference


def share_of_bound(case: Case, queries: int = 70, heads: int = 2) -> float:
    """The largest error of a compiled kernel's result, weights and result rounded once each being 1."""
    stand_in(case)
    from lib_pladis.kernels import triton_fused, triton_kernel

    generator = torch.Generator().manual_seed(case.keys + case.dim)
    dtype = DTYPES[case.dtype]

    def tensor(length: int) -> Tensor:
        flat = torch.randn(1, length, heads * case.dim, generator=generator) * 1.1
        return flat.to(dtype).view(1, length, heads, case.dim).transpose(1, 2)

    query, key, value = tensor(queries), tensor(case.keys), tensor(case.keys)
    noise = torch.randn(1, heads, queries, case.keys, generator=generator)
    masks = {"none": None, "bool": noise > 0, "float": noise.to(dtype), "keys": noise[:, :1, :1] > 0}
    given: list[Any] = []
    launch = triton_kernel.launch

    def record(*arguments: Any) -> None:
        given.append(arguments)
        launch(*arguments)

    with mock.patch.object(triton_kernel, "launch", record):
        try:
            triton_fused.attend(
                query,
                key,
                value,
                pladis_scale=2.0,
                alpha=case.alpha,
                temperature=1.0,
                attn_mask=masks[case.mask],
                scale=case.dim**-0.5,
                rescale=case.rescale,
            )
        except Compiled as compiled:
            kernel = compiled.args[0]
    grid, _, tensors, integers, numbers, solver, _ = given[0]
    memory = Memory()
    pointers = [memory.add(one, writable=n == 4) for n, one in enumerate(tensors)]
    arguments = [*pointers, *integers, *numbers, *solver[0]]
    for z in range(grid[2]):
        for y in range(grid[1]):
            for x in range(grid[0]):
                Block(kernel.asm["ptx"], kernel.metadata.shared, memory, arguments, (x, y, z)).run()

    known: dict[str, Any] = {"alpha": case.alpha, "attn_mask": masks[case.mask]}
    expected, dense = reference(query, key, value, **known), reference(query, key, value, pladis_scale=0.0, **known)
    if case.rescale:
        ratio = dense.norm(dim=-1, keepdim=True) / expected.norm(dim=-1, keepdim=True)
        expected = expected * ((1 - case.rescale) + case.rescale * ratio)
    summed = 2 * reference(query, key, value.abs(), pladis_scale=1.0, **known)
    summed += reference(query, key, value.abs(), pladis_scale=0.0, **known)
    bound = torch.finfo(dtype).eps * (summed + expected.abs()) + 1e-4
    return float(((tensors[4].double() - expected).abs() / bound).max())


def main() -> None:
    for fields in json.load(sys.stdin):
        case = Case(**fields)
        print(json.dumps({"case": asdict(case), "share": share_of_bound(case)}), flush=True)


if __name__ == "__main__":
    main()
