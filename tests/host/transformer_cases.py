"""Transformers of the web UIs' shapes, called as the web UIs do, and the same with the oracle for an attention."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from lib_pladis.settings import Settings
from tests import networks, networks_pid, networks_sd3
from tests.networks import CHANNELS, DIM, TEXT
from tests.oracle import joint_weights

ON = Settings(enabled=True)
PICTURE = 16  # tokens of an 8 x 8 latent


@dataclass(frozen=True)
class Case:
    """A network, what it is given, and by hand where text and picture are: of which calls of its attention function,
    and from which token on. Its name is its family's, with what is special about it after "with" or "from"."""

    name: str
    make: Callable[[], torch.nn.Module]
    calls: Sequence[int]  # those of the layers, of all calls
    layers: str
    text_at: int = 0
    picture_at: int = 10
    own: Sequence[int] = (10, 10)  # text tokens of each row's own, of 10
    module: ModuleType = networks
    given: dict[str, Any] = field(default_factory=dict)
    frames: bool = False
    four: bool = False

    @property
    def family(self) -> str:
        return re.split(" with | from ", self.name)[0]

    def context(self) -> Tensor:
        context = torch.randn(2, 10, TEXT, generator=torch.Generator().manual_seed(1)) * 3
        for row, own in enumerate(self.own):
            context[row, own:] = 0
        return context[:, None] if self.four else context

    def latent(self) -> Tensor:
        latent = torch.randn(2, CHANNELS, 8, 8, generator=torch.Generator().manual_seed(2))
        return latent[:, :, None] if self.frames else latent

    def network(self) -> torch.nn.Module:
        torch.manual_seed(0)
        return self.make().eval()


REFERENCE = torch.randn(2, CHANNELS, 4, 4, generator=torch.Generator().manual_seed(3))

CASES = [
    Case("Flux", networks.Flux, range(5), "j0,j1,s0,s1,s2"),
    Case("Flux with a reference", networks.Flux, range(5), "j0,j1,s0,s1,s2", given={"ref_latents": REFERENCE}),
    Case("Flux.2", networks.Flux2, range(5), "j0,j1,s0,s1,s2"),
    Case("Chroma", networks.Chroma, range(5), "j0,j1,s0,s1,s2"),
    Case("SD3", networks_sd3.SD3, (0, 2, 4), "j0,j1,j2", own=(6, 0), module=networks_sd3),
    Case("Lumina 2", networks.Lumina, (1, 2, 3), "s0,s1,s2"),
    Case("Z-Image", networks.ZImage, (1, 2, 3), "s0,s1,s2", picture_at=16),
    Case("Qwen-Image", networks.Qwen, range(3), "j0,j1,j2", given={"ref_latents": REFERENCE}),
    Case("ERNIE-Image", networks.Ernie, range(3), "s0,s1,s2", text_at=PICTURE, picture_at=0),
    Case("Krea 2", networks.Krea, (2, 3, 4), "s0,s1,s2"),
    Case("PiD", networks_pid.PiD, range(3), "j0,j1,j2", picture_at=8, own=(8, 8), module=networks_pid),
    Case("Wan", networks.Wan, (1, 3, 5), "b0,b1,b2", picture_at=0, own=(7, 3), frames=True),
    Case(
        "Wan from a picture",
        lambda: networks.Wan(image=True),
        (2, 5, 8),
        "b0,b1,b2",
        picture_at=0,
        own=(7, 3),
        frames=True,
        given={"clip_fea": torch.randn(2, 5, DIM, generator=torch.Generator().manual_seed(4))},
    ),
    Case("Anima", networks.Anima, (1, 3, 5), "b0,b1,b2", picture_at=0, own=(7, 1), four=True),
    Case(
        "Anima with a reference",
        networks.Anima,
        (1, 3, 5),
        "b0,b1,b2",
        picture_at=0,
        own=(7, 1),
        four=True,
        given={"ref_latents": REFERENCE},
    ),
]
by_name = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def function_of(case: Case) -> str:
    return "attention" if case.module is networks_sd3 else "attention_function"


def forge(network: torch.nn.Module) -> SimpleNamespace:
    patcher = SimpleNamespace(model=SimpleNamespace(diffusion_model=network), model_options={})
    return SimpleNamespace(forge_objects=SimpleNamespace(unet=patcher))


def run(case: Case, network: torch.nn.Module, labels: list[int] | None = None, rows: int = 2) -> Tensor:
    """One call of the network, as Forge makes it."""
    options: dict[str, Any] = {} if labels is None else {"cond_or_uncond": labels, "sigmas": torch.ones(1)}
    given = {name: value[:rows] for name, value in case.given.items()}
    with torch.no_grad():
        return network(
            case.latent()[:rows],
            torch.ones(rows),
            context=case.context()[:rows],
            **given,
            **({} if case.name == "SD3" and labels is None else {"transformer_options": options}),
        )


def blended(
    case: Case,
    monkeypatch: pytest.MonkeyPatch,
    rows: Sequence[int] = (0, 1),
    scale: float = 2.0,
    seen: list[Tensor] | None = None,
) -> Tensor:
    """The same network in fp64, with weights by the oracle in the layers' calls, in these rows. seen: takes the weights
    of each, dense and blended, (2, B, picture's queries, text's keys), averaged over heads."""
    plain = getattr(case.module, function_of(case))
    count = -1

    def function(q: Tensor, k: Tensor, v: Tensor, heads: int, *args: Any, **kwargs: Any) -> Tensor:
        nonlocal count
        count += 1
        if count not in case.calls:
            return plain(q, k, v, heads, *args, **kwargs)
        if not kwargs.get("skip_reshape"):
            q, k, v = (x.reshape(2, -1, heads, DIM // heads).transpose(1, 2) for x in (q, k, v))
        text = torch.zeros(2, k.shape[2], dtype=torch.bool)
        for row in rows:
            text[row, case.text_at : case.text_at + case.own[row]] = True
        picture = torch.zeros(q.shape[2], dtype=torch.bool)
        picture[case.picture_at : case.picture_at + PICTURE] = True
        weights, dense = joint_weights(q, k, text, picture, scale)
        if seen is not None:
            text_keys = slice(case.text_at, case.text_at + 10)
            seen.append(torch.stack((dense, weights)).mean(2)[:, :, picture][..., text_keys])
        out = weights @ v
        return out if kwargs.get("skip_output_reshape") else out.transpose(1, 2).flatten(2)

    network = case.network().double()
    double = copy.copy(case)
    object.__setattr__(double, "given", {name: value.double() for name, value in case.given.items()})
    with monkeypatch.context() as patch:
        patch.setattr(case.module, function_of(case), function)
        patch.setattr(Case, "context", lambda self, context=Case.context: context(self).double())
        patch.setattr(Case, "latent", lambda self, latent=Case.latent: latent(self).double())
        return run(double, network)


def called_in_first_block(network: Any, *args: Any, **kwargs: Any) -> Tensor:
    """What the attention function, as it stands, gives for these arguments in a call of the first block's."""
    seen: list[Tensor] = []
    handle = network.double_blocks[0].register_forward_pre_hook(
        lambda *_: seen.append(networks.attention_function(*args, **kwargs))
    )
    run(CASES[0], network)
    handle.remove()
    return seen[0]
