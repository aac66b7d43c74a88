#!/usr/bin/env python3
"""Compiles kernels, runs what came out with `tests.gpu.ptx`, and holds it against fp64.

python -m tests.gpu.numbers < cases.json     one line of JSON a case: its largest error, as a share of the bound
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

import torch
from torch import Tensor

from tests.gpu.aot import DTYPES, Case, Compiled, fused, stand_in
from tests.gpu.ptx import Block, Memory
from tests.oracle import logits_of, with_bound

LSE_BOUND = 2e-5
"""Of a log-sum-exp: fp32, of logits of a few units."""


def share_of_bound(case: Case, queries: int = 70, heads: int = 2) -> float:
    """The largest error of a compiled kernel's result, weights and result rounded once each being 1."""
    stand_in(case)
    generator = torch.Generator().manual_seed(case.keys + case.dim)
    dtype = DTYPES[case.dtype]

    def tensor(length: int) -> Tensor:
        flat = torch.randn(1, length, heads * case.dim, generator=generator) * 1.1
        return flat.to(dtype).view(1, length, heads, case.dim).transpose(1, 2)

    query, key, value = tensor(queries), tensor(case.keys), tensor(case.keys)
    noise = torch.randn(1, heads, queries, case.keys, generator=generator)
    masks = {"none": None, "bool": noise > 0, "float": noise.to(dtype), "keys": noise[:, :1, :1] > 0}
    try:
        fused(query, key, value, case, masks[case.mask])
    except Compiled as compiled:
        kernel, given, grid = compiled.args
    tensors, row_lse = given[:6], given[5]
    memory = Memory()
    arguments = [*(memory.add(one, writable=n >= 4) for n, one in enumerate(tensors)), *given[6:]]
    for z in range(grid[2]):
        for y in range(grid[1]):
            for x in range(grid[0]):
                Block(kernel.asm["ptx"], kernel.metadata.shared, memory, arguments, (x, y, z), grid).run()

    expected, bound = with_bound(query, key, value, case.mix, masks[case.mask])
    share = float(((tensors[4].double() - expected).abs() / bound).max())
    if case.lse:
        exact = torch.logsumexp(logits_of(query, key, masks[case.mask]), -1)
        fully_masked = exact == -torch.inf
        assert torch.equal(row_lse == -torch.inf, fully_masked)
        share = max(share, float((row_lse.double() - exact).masked_fill(fully_masked, 0.0).abs().max()) / LSE_BOUND)
    return share


def main() -> None:
    for fields in json.load(sys.stdin):
        case = Case(**fields)
        print(json.dumps({"case": asdict(case), "share": share_of_bound(case)}), flush=True)


if __name__ == "__main__":
    main()
