"""The Forge adapter where the network is compiled: reForge's `--torch-compile`, Forge Neo's presets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lib_pladis.facts import Step
from lib_pladis.hosts.forge import ForgeModel, torch_attention
from lib_pladis.models import find_layers
from lib_pladis.run.session import Session
from lib_pladis.settings import Settings
from tests import networks

STEPS = 4
SETTINGS = (
    Settings(enabled=True),
    Settings(enabled=True, scale=1.0),
    Settings(enabled=True, scale=0.7, rescale=1.0),
    Settings(enabled=True, schedule="cosine"),
)


class Attention(nn.Module):
    """An attn2 that calls its replacement, as Forge's block does for it."""

    def __init__(self) -> None:
        super().__init__()
        self.to_q, self.to_k, self.to_v = (nn.Linear(16, 16) for _ in range(3))

    def forward(self, x: Tensor, context: Tensor, options: dict[str, Any], place: tuple[str, int, int]) -> Tensor:
        q, k, v = self.to_q(x), self.to_k(context), self.to_v(context)
        replacements = options.get("patches_replace", {}).get("attn2", {})
        if place in replacements:
            out: Tensor = replacements[place](q, k, v, {**options, "n_heads": 2})
            return out
        return torch_attention(q, k, v, 2)


class Network(nn.Module):
    """Three blocks whose modules have the paths of a U-Net's."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        blocks = [nn.ModuleDict({"attn2": Attention()}) for _ in range(3)]
        block = lambda one: nn.ModuleDict({"transformer_blocks": nn.ModuleList([one])})  # noqa: E731
        self.input_blocks = nn.ModuleList(nn.ModuleList([block(one)]) for one in blocks)

    def forward(self, x: Tensor, context: Tensor, options: dict[str, Any]) -> Tensor:
        for number, block in enumerate(self.input_blocks):
            attention = block[0]["transformer_blocks"][0]["attn2"]  # type: ignore[index]
            x = x + attention(x, context, options, ("input", number, 0))
        return x


class Graphs:
    """A backend of torch.compile that runs what it is given, and counts it."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        self.count += 1
        return graph.forward


@pytest.fixture
def graphs() -> Iterator[Graphs]:
    torch.compiler.reset()
    yield Graphs()
    torch.compiler.reset()


def host(network: nn.Module, **of_model: Any) -> Any:
    model = SimpleNamespace(diffusion_model=network, **of_model)
    patcher = SimpleNamespace(model=model, model_options={"transformer_options": {}})
    return SimpleNamespace(forge_objects=SimpleNamespace(unet=patcher), is_sd1=True)


def generate(sd_model: Any, run: Callable[..., Tensor], settings: Settings) -> tuple[list[Tensor], Session]:
    """A generation's calls of the network, which `run` is."""
    generator = torch.Generator().manual_seed(1)
    x, context = torch.randn(2, 64, 16, generator=generator), torch.randn(2, 77, 16, generator=generator)
    session = Session(settings, log=lambda line: None, comment=lambda text: None)
    found = []
    with torch.no_grad(), session.sampling():
        for index in range(STEPS):
            session.step(ForgeModel(sd_model), Step(index, STEPS))
            options = dict(sd_model.forge_objects.unet.model_options["transformer_options"])
            found.append(run(x, context, {**options, "cond_or_uncond": [0, 1]}))
    return found, session


def same(found: list[Tensor], expected: list[Tensor]) -> bool:
    return all(torch.allclose(a, b, atol=1e-5) for a, b in zip(found, expected))


def test_a_compiled_network_is_blended_and_no_setting_compiles_it_anew(graphs: Graphs) -> None:
    """As reForge has it: the compiled one in the network's place."""
    network = Network().eval()
    compiled: Any = torch.compile(network, backend=graphs)
    plain, _ = generate(host(network), network, Settings())
    counts = []
    for settings in (*SETTINGS, Settings(), *SETTINGS):
        expected, _ = generate(host(network), network, settings)
        found, session = generate(host(compiled), compiled, settings)
        assert same(found, expected) and same(found, plain) != settings.enabled
        if settings.enabled:
            assert session.passes[-1].calls_blended == 3 * STEPS
        counts.append(graphs.count)
    first, *others, _ = counts[: len(SETTINGS) + 1]
    assert others == [first] * len(others), "with PLADIS on once"
    assert len(set(counts[len(SETTINGS) :])) == 1, "and off once"


def test_a_network_that_is_compiled_for_each_call(graphs: Graphs) -> None:
    """As Forge Neo has it: the layers are those of the network that is there between calls."""
    network = Network().eval()
    sd_model = host(network, _torch_compile_config=("dynamic",))
    for settings in SETTINGS:
        expected, _ = generate(host(network), network, settings)
        found, session = generate(sd_model, torch.compile(network, backend=graphs, dynamic=True), settings)
        assert same(found, expected) and session.passes[-1].calls_blended == 3 * STEPS


def test_a_network_that_would_not_notice_is_left_alone_and_that_is_said(graphs: Graphs) -> None:
    """Neo's quickest preset drops the guards on the options in which replacements are: once compiled with one, it
    would look for it for ever."""
    network = Network().eval()
    compiled: Any = torch.compile(
        network,
        backend=graphs,
        options={"guard_filter_fn": lambda guards: ["options" not in guard.name for guard in guards]},
    )
    plain, _ = generate(host(network), network, Settings())
    sd_model = host(network, _torch_compile_config=("guard_filter_fn",))
    for settings in (SETTINGS[0], Settings(), SETTINGS[0]):
        found, session = generate(sd_model, compiled, settings)
        assert same(found, plain)
    assert "compiled with guard_filter_fn can't be changed" in session.passes[-1].line()
    assert session.passes[-1].calls_blended == 0


def test_layers_have_the_same_names_with_blocks_compiled(graphs: Graphs) -> None:
    network = Network()
    names = list(find_layers(network))
    layers = {str(name): layer.module for name, layer in find_layers(network).items()}
    assert list(layers) == ["d0.0", "d1.0", "d2.0"]
    assert list(find_layers(torch.compile(network, backend=graphs))) == names  # type: ignore[arg-type]
    for block in network.input_blocks:
        block[0]["transformer_blocks"][0] = torch.compile(  # type: ignore[index]
            block[0]["transformer_blocks"][0],  # type: ignore[index]
            backend=graphs,
        )
    assert {str(name): layer.module for name, layer in find_layers(network).items()} == layers


class Four(networks.Flux):
    """A transformer of four layers of one kind."""

    def __init__(self) -> None:
        super().__init__()
        self.double_blocks = nn.ModuleList()
        self.single_blocks = nn.ModuleList(networks.Single() for _ in range(4))


def test_a_compiled_transformers_layers_share_their_graphs(graphs: Graphs) -> None:
    """Our function and what asks the session stand outside: two graphs for all four layers and one for what is before
    them, whatever the settings; and none anew when PLADIS goes off and on."""
    torch.manual_seed(0)
    network = Four().eval()
    compiled: Any = torch.compile(network, backend=graphs)
    x, context = torch.randn(2, 4, 8, 8), torch.randn(2, 10, networks.TEXT) * 3

    def calls(run: Any, settings: Settings) -> list[Tensor]:
        session, found, sd_model = Session(settings, log=lambda line: None), [], host(run)
        with torch.no_grad(), session.sampling():
            for index in range(2):
                session.step(ForgeModel(sd_model), Step(index, 2))
                found.append(run(x, None, context=context, transformer_options={"cond_or_uncond": [0, 1]}))
        assert session.passes[0].calls_blended == 8 * settings.enabled
        return found

    plain, counts = calls(network, Settings()), []
    for settings in (Settings(), *SETTINGS, Settings(enabled=True, target="positive"), Settings(), SETTINGS[0]):
        found = calls(compiled, settings)
        assert same(found, calls(network, settings)) and same(found, plain) != settings.enabled
        counts.append(graphs.count)
    off, on, again = counts[0], counts[1:-2], counts[-2:]
    assert off == 1 and on == [off + 3] * len(on) and len(set(again)) == 1
