"""Small transformers with the shapes of the web UIs' own, which call attention by a name of this module.

What a web UI's network has for us: where its blocks are, what `forward` is given, in which order text and picture go
into an attention, and how the attention function is called. All else is left out.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

DIM, HEADS, CHANNELS, TEXT = 16, 2, 4, 6
"""Of the networks' width, heads, latents and text."""

seen: list[str] = []
"""Who called an attention function, in order."""


def attention_function(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    heads: int,
    mask: Tensor | None = None,
    attn_precision: Any = None,
    skip_reshape: bool = False,
    skip_output_reshape: bool = False,
    **kwargs: Any,
) -> Tensor:
    """As `backend.attention.attention_pytorch`, which looks for `scale` and `enable_gqa` in the rest."""
    if not skip_reshape:
        q, k, v = (x.view(len(x), -1, heads, x.shape[-1] // heads).transpose(1, 2) for x in (q, k, v))
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
    out = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=kwargs.get("scale"))
    return out if skip_output_reshape else out.transpose(1, 2).flatten(2)


def split(x: Tensor) -> Tensor:
    return x.unflatten(-1, (HEADS, -1)).transpose(1, 2)


class Joint(nn.Module):
    """Attention over text and picture, with what comes in joined by the block. `apart`: heads apart when called."""

    def __init__(self, apart: bool = True) -> None:
        super().__init__()
        self.qkv = nn.Linear(DIM, 3 * DIM)
        self.apart = apart

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        if self.apart:
            return attention_function(split(q), split(k), split(v), HEADS, skip_reshape=True)
        return attention_function(q, k, v, HEADS)


class Double(nn.Module):
    """Flux: `block(img=, txt=, ...)`, text first."""

    def __init__(self) -> None:
        super().__init__()
        self.attn = Joint()

    def forward(self, img: Tensor, txt: Tensor) -> tuple[Tensor, Tensor]:
        out = self.attn(torch.cat([txt, img], 1))
        return img + out[:, txt.shape[1] :], txt + out[:, : txt.shape[1]]


class Single(nn.Module):
    """Flux: text and picture as one."""

    def __init__(self) -> None:
        super().__init__()
        self.attn = Joint()

    def forward(self, x: Tensor) -> Tensor:
        return x + self.attn(x)


def patches(x: Tensor, size: int) -> Tensor:
    """(B, C, [T,] H, W) as tokens (B, N, C size²), padded at the edges."""
    x = x if x.dim() == 5 else x.unsqueeze(2)
    x = nn.functional.pad(x, (0, -x.shape[-1] % size, 0, -x.shape[-2] % size))
    batch, channels, frames, height, width = x.shape
    x = x.view(batch, channels, frames, height // size, size, width // size, size)
    return x.permute(0, 2, 3, 5, 1, 4, 6).reshape(batch, -1, channels * size * size)


class Network(nn.Module):
    """What they share: text and latent projected, and the picture's tokens as the result."""

    def __init__(self) -> None:
        super().__init__()
        self.img_in = nn.Linear(CHANNELS * 4, DIM)
        self.txt_in = nn.Linear(TEXT, DIM)

    def tokens(self, x: Tensor, context: Tensor, references: Tensor | None) -> tuple[Tensor, Tensor, int]:
        img = self.img_in(patches(x, 2))
        count = img.shape[1]
        if references is not None:
            img = torch.cat([img, self.img_in(patches(references, 2))], 1)
        return img, self.txt_in(context), count


class Flux(Network):
    """Double and single blocks; reference pictures behind the picture."""

    patch_size = 2

    def __init__(self) -> None:
        super().__init__()
        self.double_blocks = nn.ModuleList(Double() for _ in range(2))
        self.single_blocks = nn.ModuleList(Single() for _ in range(3))

    def forward(
        self,
        x: Tensor,
        timestep: Tensor,
        context: Tensor,
        y: Any = None,
        ref_latents: Tensor | None = None,
        transformer_options: Any = None,
    ) -> Tensor:
        img, txt, count = self.tokens(x, context, ref_latents)
        for block in self.double_blocks:
            img, txt = block(img=img, txt=txt)
        joined = torch.cat([txt, img], 1)
        for block in self.single_blocks:
            joined = block(joined)
        return joined[:, txt.shape[1] :][:, :count]


class Chroma(Flux):
    def __init__(self) -> None:
        super().__init__()
        self.distilled_guidance_layer = nn.Identity()


class Flux2(Flux):
    def __init__(self) -> None:
        super().__init__()
        self.double_stream_modulation_img = nn.Identity()


class LuminaBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = Joint()

    def forward(self, x: Tensor) -> Tensor:
        return x + self.attention(x)


class Lumina(Network):
    """Refiners that call the same attention."""

    pad_tokens_multiple: int | None = None

    def __init__(self) -> None:
        super().__init__()
        self.cap_embedder = self.txt_in
        self.context_refiner = nn.ModuleList(LuminaBlock() for _ in range(1))
        self.layers = nn.ModuleList(LuminaBlock() for _ in range(3))

    def filled(self, x: Tensor) -> Tensor:
        return x

    def forward(self, x: Tensor, timesteps: Tensor, context: Tensor, transformer_options: Any = None) -> Tensor:
        img, txt, count = self.tokens(x, context, None)
        txt = self.filled(txt)
        for block in self.context_refiner:
            txt = block(txt)
        joined = torch.cat([txt, self.filled(img)], 1)
        for block in self.layers:
            joined = block(joined)
        return joined[:, txt.shape[1] :][:, :count]


class ZImage(Lumina):
    """Text filled with a learnt token, the picture too."""

    pad_tokens_multiple = 8

    def __init__(self) -> None:
        super().__init__()
        self.cap_pad_token = nn.Parameter(torch.randn(1, DIM))

    def filled(self, x: Tensor) -> Tensor:
        more = -x.shape[1] % self.pad_tokens_multiple
        return torch.cat([x, self.cap_pad_token.expand(len(x), more, DIM)], 1)


class QwenBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn = Joint(apart=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.attn(x)


class Qwen(Network):
    """No `transformer_options` reach the blocks; heads are together."""

    def __init__(self) -> None:
        super().__init__()
        self.txt_norm = nn.Identity()
        self.transformer_blocks = nn.ModuleList(QwenBlock() for _ in range(3))

    def forward(
        self, x: Tensor, timesteps: Tensor, context: Tensor, transformer_options: Any = None, **kwargs: Any
    ) -> Tensor:
        img, txt, count = self.tokens(x, context, kwargs.get("ref_latents"))
        joined = torch.cat([txt, img], 1)
        for block in self.transformer_blocks:
            joined = block(joined)
        return joined[:, txt.shape[1] :][:, :count]


class ErnieBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.self_attention = Joint(apart=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.self_attention(x)


class Ernie(Network):
    """The picture first, the text last."""

    def __init__(self) -> None:
        super().__init__()
        self.text_proj = None
        self.layers = nn.ModuleList(ErnieBlock() for _ in range(3))

    def forward(self, x: Tensor, timesteps: Tensor, context: Tensor, **kwargs: Any) -> Tensor:
        img, txt, count = self.tokens(x, context, None)
        joined = torch.cat([img, txt], 1)
        for block in self.layers:
            joined = block(joined)
        return joined[:, :count]


class KreaBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn = Joint()

    def forward(self, x: Tensor) -> Tensor:
        return x + self.attn(x)


class Krea(Network):
    """Its text fusion calls the same attention, with the same class of modules."""

    def __init__(self) -> None:
        super().__init__()
        self.txtfusion = nn.ModuleList(KreaBlock() for _ in range(2))
        self.blocks = nn.ModuleList(KreaBlock() for _ in range(3))
        self.patch = 2

    def forward(self, x: Tensor, timesteps: Tensor, context: Tensor, transformer_options: Any = None) -> Tensor:
        img, txt, count = self.tokens(x, context, None)
        for block in self.txtfusion:
            txt = block(txt)
        joined = torch.cat([txt, img], 1)
        for block in self.blocks:
            joined = block(joined)
        return joined[:, txt.shape[1] :][:, :count]


class Cross(nn.Module):
    """Attention of the picture to the text; of picture-to-video models to a picture given, before that."""

    def __init__(self, image: bool = False, text: int = DIM) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(width, DIM, bias=False) for width in (DIM, text, text))
        if image:
            self.k_img = nn.Linear(DIM, DIM)

    def forward(self, x: Tensor, context: Tensor, given: Tensor | None = None) -> Tensor:
        q, k, v = self.q(x), self.k(context), self.v(context)
        if given is not None:
            x = x + attention_function(q, self.k_img(given), given, heads=HEADS)
        return x + attention_function(q, k, v, heads=HEADS)


class CrossBlock(nn.Module):
    def __init__(self, image: bool = False, text: int = DIM) -> None:
        super().__init__()
        self.self_attn, self.cross_attn = Joint(), Cross(image, text)

    def forward(self, x: Tensor, context: Tensor, given: Tensor | None) -> Tensor:
        return self.cross_attn(x + self.self_attn(x), context, given)


class Wan(Network):
    """Zero rows of the context become constant ones; five-dimensional latents."""

    patch_size = (1, 2, 2)

    def __init__(self, image: bool = False) -> None:
        super().__init__()
        self.text_embedding = self.txt_in
        self.blocks = nn.ModuleList(CrossBlock(image) for _ in range(3))

    def forward(
        self, x: Tensor, timestep: Tensor, context: Tensor, clip_fea: Tensor | None = None, **kwargs: Any
    ) -> Tensor:
        img, txt, _ = self.tokens(x, context, None)
        for block in self.blocks:
            img = block(img, txt, clip_fea)
        return img


class Anima(Network):
    """A context of four dimensions, filled with rows of zeros, which the blocks are given as it is; references behind
    the picture."""

    patch_spatial = 2

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(CrossBlock(text=TEXT) for _ in range(3))

    def forward(self, x: Tensor, timesteps: Tensor, context: Tensor, **kwargs: Any) -> Tensor:
        img, _, count = self.tokens(x, context.flatten(1, 2), kwargs.get("ref_latents"))
        for block in self.blocks:
            img = block(img, context.flatten(1, 2), None)
        return img[:, :count]
