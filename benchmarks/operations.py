"""Where the chunked kernel's time goes: its torch operations, over the layers of one model.

python benchmarks/operations.py [--threads 2] [--only "SD1.5 512²"] [--alpha 1.75]
"""

from __future__ import annotations

import collections
import sys
from pathlib import Path

from torch.profiler import ProfilerActivity, profile

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import common
from benchmarks.shapes import MODELS, tensors
from lib_pladis.attention import pladis_attention


def main() -> None:
    parser = common.parser(__doc__, rounds=1)
    parser.add_argument("--only", choices=list(MODELS), default="SD1.5 512²")
    parser.add_argument("--alpha", type=float, action="append", default=[])
    options = parser.parse_args()
    dtype = common.prepare(options, "operations")
    layers = [(layer.count, tensors(layer, options.device, dtype, 1.0)) for layer in MODELS[options.only]]
    print(f"{common.machine(options)}, {options.only}")
    for alpha in options.alpha or [1.5]:
        for _, arguments in layers:
            pladis_attention(*arguments, alpha=alpha, backend="torch")
        with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as taken:
            for count, arguments in layers:
                for _ in range(count * options.rounds):
                    pladis_attention(*arguments, alpha=alpha, backend="torch")
        spent = collections.Counter[str]()
        for event in taken.key_averages(group_by_input_shape=True):
            name = event.key.removeprefix("aten::")
            if name == "bmm":
                name = "sums, as products" if event.input_shapes[0][1] == 1 else "the two products"
            spent[name] += event.self_cpu_time_total / 1e3
        total = sum(spent.values())
        print(f"\nalpha {alpha:g}: {total:.0f} ms\n\n| operation | ms | share |\n|---|---|---|")
        for name, milliseconds in spent.most_common(12):
            print(f"| {name} | {milliseconds:.1f} | {milliseconds / total:.0%} |")


if __name__ == "__main__":
    main()
