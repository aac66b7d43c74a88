"""One step of the SD1.5 UNet, PLADIS off and on: what it costs where it is used.

    python benchmarks/unet.py [--device cuda] [--dtype float16] [--size 512]

The network is the real one, of the `ldm` package, with random weights (times do not depend on
them); batch 2 for the positive and the negative prompt. All its attention is torch's
`scaled_dot_product_attention`, as the hosts run it; "on" puts PLADIS (lambda 2, alpha 1.5) in the
16 cross-attention layers. Off and on alternate. The step's overhead is the median of the pairs'
ratios, minus one; on a CPU the time inside those 16 calls is taken as well, as a step of many
seconds varies by more than what they add. Keeps the result in results/, with those of other sizes
on this machine, and draws them.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import common
from lib_pladis import attention
from lib_pladis.kernels.choice import Kernels
from lib_pladis.math.rule import Mix

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


def build(device: str, dtype: torch.dtype) -> nn.Module:
    from ldm.modules.diffusionmodules.openaimodel import UNetModel

    torch.manual_seed(0)
    unet = UNetModel(
        image_size=32,
        in_channels=4,
        out_channels=4,
        model_channels=320,
        attention_resolutions=[4, 2, 1],
        num_res_blocks=2,
        channel_mult=[1, 2, 4, 4],
        num_heads=8,
        use_spatial_transformer=True,
        transformer_depth=1,
        context_dim=768,
        use_checkpoint=False,
        legacy=False,
    )
    for parameter in unet.parameters():
        if not parameter.any():  # layers that ldm initialises to zero would pass nothing on
            nn.init.normal_(parameter, std=0.02)
    return unet.to(device, dtype).eval()


def attention_layers(unet: nn.Module, name: str) -> list[Any]:
    """attn1 (self) or attn2 (cross) of all transformer blocks."""
    return [module for path, module in unet.named_modules() if path.endswith(f".{name}")]


def use(layers: list[Any], attend: Attend) -> None:
    def forward_of(layer: Any) -> Callable[..., Tensor]:
        def forward(x: Tensor, context: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
            context = x if context is None else context
            parts = (layer.to_q(x), layer.to_k(context), layer.to_v(context))
            query, key, value = (
                part.view(part.shape[0], part.shape[1], layer.heads, -1).transpose(1, 2) for part in parts
            )
            result = attend(query, key, value)
            return layer.to_out(result.transpose(1, 2).reshape(x.shape[0], x.shape[1], -1))

        return forward

    for layer in layers:
        layer.forward = forward_of(layer)


def seconds(unet: nn.Module, inputs: tuple[Tensor, Tensor, Tensor]) -> float:
    latent, step, context = inputs
    if latent.is_cuda:
        torch.cuda.synchronize()
    start = time.perf_counter()
    unet(latent, step, context=context)
    if latent.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def timed(attend: Attend, spent: list[float]) -> Attend:
    """`attend`, adding its seconds to the last of `spent`."""

    def call(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        start = time.perf_counter()
        result = attend(query, key, value)
        spent[-1] += time.perf_counter() - start
        return result

    return call


def table(parts: dict[str, dict[str, Any]]) -> str:
    lines = ["| | off, s a step | on | overhead (quartiles) | in the 16 layers: off, s | on | difference |"]
    lines.append("|---|---|---|---|---|---|---|")
    for part, record in parts.items():
        low, high = record["quartiles"]
        off, on = record["median"]["off"], record["median"]["on"]
        line = f"| {part} | {off:.2f} | {on:.2f} | {record['overhead']:+.1%} ({low:+.1%} – {high:+.1%}) "
        inside = record["inside"]
        if inside["off"]:
            share = (inside["on"] - inside["off"]) / off
            line += f"| {inside['off']:.3f} | {inside['on']:.3f} | {share:+.1%} of a step |"
        lines.append(line)
    return "\n".join(lines)


def draw(parts: dict[str, dict[str, Any]], title: str, name: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(max(6.4, 1.6 + 2 * len(parts)), 3.8))
    places = [3 * index + side for index in range(len(parts)) for side in (0, 1)]
    axes.boxplot([record["seconds"][side] for record in parts.values() for side in ("off", "on")], positions=places)
    labels = [f"off\n{part.split(',')[0]}" for part in parts]
    axes.set_xticks(places, [text for label in labels for text in (label, "on")], fontsize=8)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("seconds a step")
    axes.set_title(f"One step of the SD1.5 UNet, PLADIS off and on, batch 2\n{title}", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    common.save(figure, name)


def main() -> None:
    parser = common.parser(__doc__, rounds=7)
    parser.add_argument("--size", type=int, default=512, help="of the picture, in pixels")
    parser.add_argument("--alpha", type=float, default=1.5)
    parser.add_argument("--backend", default="auto")
    options = parser.parse_args()
    dtype = common.prepare(options, "unet")

    unet = build(options.device, dtype)
    cross = attention_layers(unet, "attn2")
    assert len(cross) == 16, len(cross)
    use(attention_layers(unet, "attn1"), F.scaled_dot_product_attention)
    side = options.size // 8
    inputs = (
        torch.randn(2, 4, side, side, device=options.device, dtype=dtype),
        torch.tensor([500, 500], device=options.device),
        torch.randn(2, 77, 768, device=options.device, dtype=dtype),
    )
    kernels, mix, ran = Kernels(options.backend), Mix(alpha=options.alpha), set[str]()

    def on(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        result = attention.attend(kernels, query, key, value, mix)
        ran.add(result.kernel)
        return result.out

    sides: dict[str, Attend] = {
        "off": F.scaled_dot_product_attention,
        "on": on,
    }
    times: dict[str, list[float]] = {name: [] for name in sides}
    inside: dict[str, list[float]] = {name: [] for name in sides}
    with torch.no_grad():
        for index in range(options.rounds + 1):
            for name, attend in sides.items():
                if index or name == "off":  # the first step warms up
                    inside[name].append(0.0)
                    use(cross, attend if options.device == "cuda" else timed(attend, inside[name]))
                    times[name].append(seconds(unet, inputs))
    for lists in (times, inside):
        del lists["off"][0]

    overhead = [on / off - 1 for off, on in zip(times["off"], times["on"])]
    spread = statistics.quantiles(overhead, n=4)
    machine = common.machine(options)
    median = {name: statistics.median(taken) for name, taken in times.items()}
    part = f"{options.size}², α {options.alpha:g}, kernel {' and '.join(sorted(ran))}"
    record = {"seconds": times, "median": median, "overhead": statistics.median(overhead)}
    record["quartiles"] = [spread[0], spread[2]]
    record["inside"] = {name: statistics.median(taken) for name, taken in inside.items()}
    parts = common.merge(options.name, machine, part, record, None)
    text = f"SD1.5 UNet, batch 2, {machine}\n\n{table(parts)}"
    print(text)
    common.write(options.name, text)
    draw(parts, machine, options.name)


if __name__ == "__main__":
    main()
