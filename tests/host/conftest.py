"""A small real `ldm` U-Net and the stand-ins around it that a host would have."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests import networks, networks_pid, networks_sd3

openaimodel = pytest.importorskip("ldm.modules.diffusionmodules.openaimodel", reason="ldm is not installed")

CONTEXT = 24


@pytest.fixture
def unet() -> torch.nn.Module:
    """10 cross-attention layers on three levels; no parameter is zero, so that every layer matters."""
    torch.manual_seed(0)
    model = openaimodel.UNetModel(
        image_size=16,
        in_channels=4,
        out_channels=4,
        model_channels=32,
        attention_resolutions=[1, 2, 4],
        num_res_blocks=1,
        channel_mult=[1, 2, 3],
        num_heads=4,
        use_spatial_transformer=True,
        transformer_depth=1,
        context_dim=CONTEXT,
        use_checkpoint=False,
        legacy=False,
    ).eval()
    for parameter in model.parameters():
        if parameter.detach().abs().sum() == 0:
            torch.nn.init.normal_(parameter, std=0.05)
    return model


@pytest.fixture
def sd_model(unet: Any) -> SimpleNamespace:
    return SimpleNamespace(model=SimpleNamespace(diffusion_model=unet), is_sd1=True)


class Inputs:
    """`batch` latents, a timestep, and a context of `length` tokens per row."""

    def __init__(self, batch: int = 2, length: int = 77, seed: int = 1) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.x = torch.randn(batch, 4, 16, 16, generator=generator)
        self.t = torch.full((batch,), 500)
        self.context = torch.randn(batch, length, CONTEXT, generator=generator) * 3

    def run(self, unet: torch.nn.Module) -> torch.Tensor:
        with torch.no_grad():
            return unet(self.x, self.t, context=self.context)


@pytest.fixture
def inputs() -> type[Inputs]:
    return Inputs


def cross_attention(unet: torch.nn.Module) -> dict[str, torch.nn.Module]:
    """Every attn2 of a U-Net by its module path, found without the product's help."""
    return {path: module for path, module in unet.named_modules() if path.endswith(".attn2")}


@pytest.fixture
def attn2_of() -> Any:
    return cross_attention


@pytest.fixture
def middle(unet: torch.nn.Module) -> torch.nn.Module:
    """The attn2 of the middle block, m0.0: 96 channels."""
    return cross_attention(unet)["middle_block.1.transformer_blocks.0.attn2"]


@pytest.fixture(autouse=True)
def functions_are_their_own() -> Iterator[None]:
    """Whatever a test does, the attention functions of the stand-ins are the same afterwards."""
    places = {networks: "attention_function", networks_pid: "attention_function", networks_sd3: "attention"}
    before = {module: getattr(module, name) for module, name in places.items()}
    yield
    assert {module: getattr(module, name) for module, name in places.items()} == before
