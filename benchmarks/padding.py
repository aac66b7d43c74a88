"""Where blending a text's padding leads: 12 tokens of a prompt among 512 keys, by the rule and over all of them.

    python benchmarks/padding.py

One cross-attention as Anima's and Wan's is: 8 heads of 64, 1024 queries, scores of the prompt's tokens of a standard
deviation of 1, 2 and 4, values of deviation 1. Padding is rows of zeros (Anima, SD3 without T5), one row that repeats
(Wan), or rows that look like the prompt's (T5). The rule blends the prompt's own tokens and keeps their share of the
row; "all keys" blends all. Prints the share of the row that the prompt's tokens have, the output's length against plain
attention's, and how far the two outputs are apart against the rule's length. It is the same on every machine.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import common
from lib_pladis.joint import joint_attention

HEADS, DIM, QUERIES = 8, 64, 1024
OWN, LENGTH, SCALE, ALPHA = 12, 512, 2.0, 1.5
KINDS = ("zeros", "one row repeated", "rows like the prompt's")


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter).parse_args()
    lines = [
        f"{OWN} tokens of a prompt among {LENGTH} keys, λ = {SCALE:g}, α = {ALPHA:g}; "
        f"{HEADS} heads of {DIM}, {QUERIES} queries.",
        f"`{common.command()}`",
        "",
        "| padding | deviation of scores | prompt's share, plain and by the rule | sparse map, all keys | all keys "
        "| length, by the rule | all keys | error of all keys |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for kind in KINDS:
        for deviation in (1.0, 2.0, 4.0):
            tensors = inputs(kind, deviation, OWN, LENGTH)
            rule, every = (blended(tensors, keys, SCALE, ALPHA) for keys in (OWN, None))
            plain, sparse = blended(tensors, None, 0.0, ALPHA), blended(tensors, None, 1.0, ALPHA)
            share, by_sparse, by_all = (float(out[..., -1].mean()) for out in (plain, sparse, every))
            longer, longest = (length(out) / length(plain) for out in (rule, every))
            error = length(every - rule) / length(rule)
            lines.append(
                f"| {kind} | {deviation:g} | {share:.3f} | {by_sparse:.3f} | {by_all:.3f} | {longer:.2f}× "
                f"| {longest:.2f}× | {error * 100:.0f} % |"
            )
    print("\n".join(lines))


def inputs(kind: str, deviation: float, own: int, length: int) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value, (1, H, L, D). The last of D is no value of the network's, but 1 for the prompt's tokens, so
    that what comes out of attention there is their share of the row."""
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(1, HEADS, QUERIES, DIM, generator=generator)
    key, value = (torch.randn(1, HEADS, length, DIM, generator=generator) for _ in range(2))
    key *= deviation
    for x in (key, value):
        if kind == KINDS[0]:
            x[:, :, own:] = 0
        if kind == KINDS[1]:
            x[:, :, own:] = x[:, :, own : own + 1]
    value[..., -1] = 0
    value[:, :, :own, -1] = 1
    return query, key, value


def blended(tensors: tuple[Tensor, Tensor, Tensor], own: int | None, scale: float, alpha: float) -> Tensor:
    query, key, value = tensors
    given = {"text_keys": slice(0, own), "image_queries": slice(None), "pladis_scale": scale, "alpha": alpha}
    return joint_attention(query, key, value, **given)  # type: ignore[arg-type]


def length(out: Tensor) -> float:
    """The mean length of an output, of a head's and a query's."""
    return float(out[..., :-1].norm(dim=-1).mean())


if __name__ == "__main__":
    main()
