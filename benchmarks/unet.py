"""One step of the SD1.5 UNet, PLADIS off and on: what it costs where it is used.

    python benchmarks/unet.py [--device cuda] [--dtype float16] [--size 512]

The network is the real one, of the `ldm` package, with random weights (times do not depend on
them); batch 2 for the positive and the negative prompt. All its attention is torch's
`scaled_dot_product_attention`, as the hosts run it; "on" puts PLADIS (lambda 2, alpha 1.5) in the
16 cross-attention layers. Off and on alternate. The step's overhead is the median of the pairs'
ratios, minus one. On a busy CPU a step varies by more than what PLADIS adds; what the 16 layers
alone take, `attention.py` measures.
"""

from __future__ import annotations

import statistics
import sys
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


def use(unet: nn.Module, name: str, attend: Attend) -> None:
    """Attention for attn1 (self) or attn2 (cross) of all transformer blocks."""

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

    for path, layer in unet.named_modules():
        if path.endswith(f".{name}"):
            layer.forward = forward_of(layer)


def main() -> None:
    parser = common.parser(__doc__, rounds=7)
    parser.add_argument("--size", type=int, default=512, help="of the picture, in pixels")
    parser.add_argument("--alpha", type=float, default=1.5)
    parser.add_argument("--backend", default="auto")
    options = parser.parse_args()
    dtype = common.prepare(options)
    unet = build(options.device, dtype)
    use(unet, "attn1", F.scaled_dot_product_attention)
    side = options.size // 8
    latent, step, context = (
        torch.randn(2, 4, side, side, device=options.device, dtype=dtype),
        torch.tensor([500, 500], device=options.device),
        torch.randn(2, 77, 768, device=options.device, dtype=dtype),
    )
    kernels, mix, ran = Kernels(options.backend), Mix(alpha=options.alpha), set[str]()

    def on(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        result = attention.attend(kernels, query, key, value, mix)
        ran.add(result.kernel)
        return result.out

    sides: dict[str, Attend] = {"off": F.scaled_dot_product_attention, "on": on}
    times: dict[str, list[float]] = {name: [] for name in sides}
    with torch.no_grad():
        for _ in range(options.rounds + 1):
            for name, attend in sides.items():
                use(unet, "attn2", attend)
                times[name].append(common.seconds(options.device, unet, latent, step, context))
    off, on_ = (taken[1:] for taken in times.values())  # the first step warms up
    low, middle, high = statistics.quantiles([after / before - 1 for before, after in zip(off, on_)], n=4)
    print(f"SD1.5 UNet, batch 2, {options.size}², α {options.alpha:g}, kernel {' and '.join(sorted(ran))}")
    print(f"{common.machine(options)}\n`{common.command()}`\n")
    print("| off, s a step | on | overhead (quartiles) |\n|---|---|---|")
    medians = statistics.median(off), statistics.median(on_)
    print(f"| {medians[0]:.2f} | {medians[1]:.2f} | {middle:+.1%} ({low:+.1%} – {high:+.1%}) |")


if __name__ == "__main__":
    main()
