"""One step of the SD1.5 UNet, PLADIS off and on: what it costs where it is used.

    python benchmarks/unet.py [--device cuda] [--dtype float16] [--size 512]

The network is the real one, of the `ldm` package, with random weights (times do not depend on
them); batch 2 for the positive and the negative prompt. All its attention is torch's
`scaled_dot_product_attention`, as the hosts run it; "on" puts PLADIS (lambda 2, alpha 1.5) in the
16 cross-attention layers. Off and on alternate; the overhead is the median of the pairs' ratios,
minus one. Prints a table, and writes it as markdown and JSON and a picture.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.attention import machine  # noqa: E402
from lib_pladis.attention import last_backend, pladis_attention  # noqa: E402

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


def attention_layers(unet: nn.Module, name: str) -> list[nn.Module]:
    """attn1 (self) or attn2 (cross) of all transformer blocks."""
    return [module for path, module in unet.named_modules() if path.endswith(f".{name}")]


def use(layers: list[nn.Module], attend: Attend) -> None:
    def forward_of(layer: nn.Module) -> Callable[..., Tensor]:
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


def draw(off: list[float], on: list[float], title: str, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(4.2, 3.6))
    axes.boxplot([off, on])
    axes.set_xticks([1, 2], ["off", "on"])
    axes.set_ylim(bottom=0)
    axes.set_ylabel("seconds a step")
    axes.set_title(title, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default=None, choices=["float32", "float16", "bfloat16"])
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--size", type=int, default=512, help="of the picture, in pixels")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--name", default=None, help="of the files that are written")
    options = parser.parse_args()
    options.dtype = options.dtype or ("float16" if options.device == "cuda" else "float32")
    if options.threads:
        torch.set_num_threads(options.threads)
    dtype = getattr(torch, options.dtype)

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
    sides: dict[str, Attend] = {
        "off": F.scaled_dot_product_attention,
        "on": lambda query, key, value: pladis_attention(query, key, value, backend=options.backend),
    }
    times: dict[str, list[float]] = {name: [] for name in sides}
    with torch.no_grad():
        for index in range(options.rounds + 1):
            for name, attend in sides.items():
                use(cross, attend)
                taken = seconds(unet, inputs)
                if index:  # the first round warms up
                    times[name].append(taken)

    overhead = [on / off - 1 for off, on in zip(times["off"], times["on"])]
    spread = statistics.quantiles(overhead, n=4)
    title = f"SD1.5 UNet, {options.size}², batch 2, kernel {last_backend()}\n{machine(options)}"
    lines = [
        "| | seconds a step (median) |",
        "|---|---|",
        f"| off | {statistics.median(times['off']):.3f} |",
        f"| on | {statistics.median(times['on']):.3f} |",
        f"| overhead | {statistics.median(overhead):+.1%} ({spread[0]:+.1%} – {spread[2]:+.1%}) |",
    ]
    text = "\n".join([title, "", *lines])
    print(text)
    name = options.name or f"unet-{options.device}"
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    (results / f"{name}.md").write_text(text + "\n")
    record = {"title": title, "seconds": times, "overhead": overhead}
    (results / f"{name}.json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    draw(times["off"], times["on"], title, ROOT / "docs" / "pictures" / f"{name}.png")


if __name__ == "__main__":
    main()
