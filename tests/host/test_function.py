"""Transformers' way in: networks of the web UIs' shapes, against the same networks with the oracle for an attention."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from lib_pladis.hosts.a1111 import A1111Model
from lib_pladis.hosts.forge import ForgeModel
from lib_pladis.run.probe import Columns, Probe, scaled
from lib_pladis.run.session import Session
from lib_pladis.run.step import Step, Texts
from lib_pladis.settings import Settings
from tests import networks, networks_sd3
from tests.networks import CHANNELS, DIM, TEXT
from tests.oracle import joint_weights

ON = Settings(enabled=True)
PICTURE = 16  # tokens of an 8 x 8 latent


@dataclass(frozen=True)
class Case:
    """A network, what it is given, and by hand where text and picture are: of which calls of its attention function,
    and from which token on."""

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
    Case("SD3", networks_sd3.SD3, (0, 2, 4), "j0,j1,j2", own=(6, 0), module=networks_sd3),
    Case("Z-Image", networks.ZImage, (1, 2, 3), "s0,s1,s2", picture_at=16),
    Case("Qwen-Image", networks.Qwen, range(3), "j0,j1,j2", given={"ref_latents": REFERENCE}),
    Case("ERNIE-Image", networks.Ernie, range(3), "s0,s1,s2", text_at=PICTURE, picture_at=0),
    Case("Krea 2", networks.Krea, (2, 3, 4), "s0,s1,s2"),
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


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    before = networks.attention_function, networks_sd3.attention
    yield
    assert (networks.attention_function, networks_sd3.attention) == before


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
        return (weights @ v).transpose(1, 2).flatten(2)

    network = case.network().double()
    double = copy.copy(case)
    object.__setattr__(double, "given", {name: value.double() for name, value in case.given.items()})
    with monkeypatch.context() as patch:
        patch.setattr(case.module, function_of(case), function)
        patch.setattr(Case, "context", lambda self, context=Case.context: context(self).double())
        patch.setattr(Case, "latent", lambda self, latent=Case.latent: latent(self).double())
        return run(double, network)


def session_of(settings: Settings = ON) -> Any:
    comments: list[str] = []
    session = Session(settings, log=comments.append, comment=comments.append)
    return session, comments


@by_name
def test_only_the_pictures_look_at_its_text_is_blended(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    network = case.network()
    off = run(case, network)
    session, _ = session_of()
    with session.sampling():
        session.step(ForgeModel(forge(network)), Step(0, 4))
        on = run(case, network)
    expected = blended(case, monkeypatch)
    torch.testing.assert_close(on.double(), expected, atol=2e-5, rtol=0)
    assert (on - off).abs().amax() > 1e-3
    report = session.passes[0]
    assert case.name.startswith(report.architecture)
    assert ",".join(report.layers_hooked) == case.layers
    assert (report.calls_seen, report.calls_blended, report.rows_blended) == (
        *[len(case.calls)] * 2,
        2 * len(case.calls),
    )
    assert report.text_keys == sorted(set(case.own))
    assert torch.equal(run(case, network), off)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


@by_name
def test_nothing_is_installed_at_lambda_0(case: Case) -> None:
    network = case.network()
    off, function = run(case, network), getattr(case.module, function_of(case))
    session, _ = session_of(Settings(enabled=True, scale=0.0))
    with session.sampling():
        session.step(ForgeModel(forge(network)), Step(0, 4))
        assert getattr(case.module, function_of(case)) is function
        assert torch.equal(run(case, network), off)


@by_name
@pytest.mark.parametrize("target", ["positive", "negative"])
def test_rows_are_told_by_their_labels(case: Case, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network = case.network()
    session, _ = session_of(Settings(enabled=True, target=target))
    with session.sampling():
        session.step(ForgeModel(forge(network)), Step(0, 4))
        on = run(case, network, labels=[1, 0])
    expected = blended(case, monkeypatch, rows=[1 if target == "positive" else 0])
    torch.testing.assert_close(on.double(), expected, atol=2e-5, rtol=0)
    assert session.passes[0].rows_blended == len(case.calls)


@by_name
def test_a_probe_sees_what_the_picture_spends_on_its_own_text(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    network = case.network()
    row = max(range(2), key=lambda row: case.own[row])
    own = case.own[row]
    session, _ = session_of()
    session.probe = Probe(
        ("word",), lambda index, hires: [[Columns({"word": (1, 2)}, ("words",) * (own - 1) + ("end",))]]
    )
    with session.sampling():
        session.step(ForgeModel(forge(network)), Step(0, 4, size=(8, 8)))
        run(case, network, labels=[1, 0] if row else [0, 1])
    seen: list[Tensor] = []
    blended(case, monkeypatch, seen=seen)
    (found,) = session.probe.passes.values()
    assert session.probe.why_not == {} and [str(name) for _, name in found.layers] == case.layers.split(",")
    for sums, weights in zip(found.layers.values(), seen):
        assert sums.by_kind is not None
        words, _, end, padding = sums.by_kind.double().T
        torch.testing.assert_close(words, weights[:, row, :, : own - 1].sum(-1).mean(-1), atol=1e-5, rtol=0)
        torch.testing.assert_close(end, weights[:, row, :, own - 1].mean(-1), atol=1e-5, rtol=0)
        assert padding.tolist() == [0, 0] and sums.keys == own
    for side in dict.fromkeys(name.side for _, name in found.layers):
        maps = [weights[:, row, :, 1:3].sum(-1) for (_, name), weights in zip(found.layers, seen) if name.side == side]
        wanted = scaled(torch.stack(maps).mean(0).view(2, 1, 4, 4), (8, 8))
        torch.testing.assert_close(found.maps[0, "first", side].mean.double(), wanted, atol=1e-5, rtol=0)


def test_each_prompt_in_a_call_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES[0]
    network = case.network()
    session, _ = session_of(Settings(enabled=True, target="positive"))
    with session.sampling():
        session.step(ForgeModel(forge(network)), Step(0, 4))
        negative, positive = run(case, network, labels=[1], rows=1), run(case, network, labels=[0], rows=1)
    torch.testing.assert_close(positive.double(), blended(case, monkeypatch)[:1], atol=2e-5, rtol=0)
    assert torch.equal(negative, run(case, network, rows=1))
    assert (session.passes[0].calls_seen, session.passes[0].calls_blended) == (10, 5)


def test_rows_without_a_label_are_left_alone_where_it_matters() -> None:
    case = CASES[0]
    network = case.network()
    session, _ = session_of(Settings(enabled=True, target="positive"))
    with session.sampling():
        session.step(ForgeModel(forge(network)), Step(0, 4))
        assert torch.equal(run(case, network), run(case, case.network()))
    assert session.passes[0].calls_blended == 0
    assert "can't be known" in session.passes[0].why_not[0]


def test_a1111_tells_rows_by_their_context(monkeypatch: pytest.MonkeyPatch) -> None:
    case = next(case for case in CASES if case.name == "SD3")
    network, context = case.network(), case.context()
    model = SimpleNamespace(model=SimpleNamespace(diffusion_model=network), is_sd3=True)
    session, _ = session_of(Settings(enabled=True, target="positive"))
    with session.sampling():
        session.step(A1111Model(model), Step(0, 4, texts=lambda: Texts(context[:1], context[1:])))
        on = run(case, network)
        session.step(A1111Model(model), Step(1, 4, texts=lambda: Texts(context[:1], context[1:])))
        assert torch.equal(run(case, network), on)
    torch.testing.assert_close(on.double(), blended(case, monkeypatch, rows=[0]), atol=2e-5, rtol=0)
    assert (session.passes[0].model_kind, session.passes[0].calls_blended) == ("sd3", 6)


class Tokenizer:
    """A text engine as Forge's T5 one: words are tokens; an end, and pads up to ten."""

    id_pad = 0

    def tokenize_line(self, prompt: str) -> Any:
        words = [*range(2, 2 + len(prompt.split())), 1]
        chunk = SimpleNamespace(tokens=words + [0] * (10 - len(words)))
        return [chunk] * (1 + prompt.count("BREAK")), len(words)


@pytest.mark.parametrize(
    ("prompts", "own", "said"),
    [
        ((("a red circle",), ("blurry",)), (2, 4), False),
        (((None,), ("blurry",)), (2, 10), True),
        ((("a BREAK circle",), ("blurry",)), (2, 10), True),
        (((), ()), (10, 10), True),
    ],
)
def test_padding_that_looks_like_text_is_told_from_the_prompts(
    prompts: Any, own: tuple[int, int], said: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = replace(CASES[0], own=own)
    network, context = case.network(), CASES[0].context()
    monkeypatch.setattr(Case, "context", lambda self: context)
    model = forge(network)
    model.text_processing_engine_t5 = Tokenizer()
    texts = Texts(context[1:], context[:1], lambda: prompts)
    session, _ = session_of()
    with session.sampling():
        session.step(ForgeModel(model), Step(0, 4, texts=lambda: texts))
        on = run(case, network, labels=[1, 0])
    torch.testing.assert_close(on.double(), blended(case, monkeypatch), atol=2e-5, rtol=0)
    assert session.passes[0].text_keys == sorted(set(own))
    assert any("padding can't be known" in reason for reason in session.passes[0].why_not) is said


def test_hooks_stay_from_step_to_step() -> None:
    case = CASES[0]
    network = case.network()
    session, _ = session_of()
    with session.sampling():
        session.step(ForgeModel(forge(network)), Step(0, 4))
        ours = networks.attention_function
        session.step(ForgeModel(forge(network)), Step(1, 4))
        assert networks.attention_function is not ours  # another patcher, as after a swap
        model = forge(network)
        session.step(ForgeModel(model), Step(2, 4))
        ours = networks.attention_function
        session.step(ForgeModel(model), Step(3, 4))
        assert networks.attention_function is ours


def test_a_fault_inside_the_network_leaves_nothing() -> None:
    case = CASES[0]
    network: Any = case.network()
    function = networks.attention_function
    session, _ = session_of()
    with pytest.raises(RuntimeError), session.sampling():
        session.step(ForgeModel(forge(network)), Step(0, 4))
        network(case.latent(), None, context=torch.zeros(2, 10, TEXT + 1))
    assert networks.attention_function is function
    assert torch.equal(run(case, network), run(case, case.network()))


def test_a_swap_moves_the_hooks() -> None:
    case = CASES[0]
    first, second = case.network(), case.network()
    session, _ = session_of()
    with session.sampling():
        session.step(ForgeModel(forge(first)), Step(0, 4))
        session.step(ForgeModel(forge(second)), Step(1, 4))
        assert not any(module._forward_pre_hooks for module in first.modules())
        assert torch.equal(run(case, first), run(case, case.network()))
        assert not torch.equal(run(case, second), run(case, first))
    assert [each.calls_blended for each in session.passes] == [0, 5]


def test_another_extensions_function_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES[0]
    network = case.network()
    theirs = networks.attention_function

    def function(*args: Any, **kwargs: Any) -> Tensor:
        return theirs(*args, **kwargs)

    function.__module__ = "extensions.nag"
    monkeypatch.setattr(networks, "attention_function", function)
    session, comments = session_of()
    with session.sampling():
        session.step(ForgeModel(forge(network)), Step(0, 4))
        assert networks.attention_function is function
    assert "5 layers (j0 to s2) belong to another extension (extensions.nag) and were left alone" in comments[0]
    monkeypatch.undo()


def test_one_that_wrapped_ours_stays_and_is_passed_through() -> None:
    case = CASES[0]
    network, theirs = case.network(), networks.attention_function
    off = run(case, network)
    session, _ = session_of()
    with session.sampling():
        session.step(ForgeModel(forge(network)), Step(0, 4))
        ours = networks.attention_function
        wrapper = networks.attention_function = lambda *args, **kwargs: ours(*args, **kwargs)
    assert networks.attention_function is wrapper
    assert torch.equal(run(case, network), off)
    networks.attention_function = ours  # somebody puts back what stood there
    again, _ = session_of()
    with again.sampling():
        again.step(ForgeModel(forge(network)), Step(0, 4))
        assert not torch.equal(run(case, network), off)
    assert networks.attention_function is ours
    assert torch.equal(run(case, network), off)
    networks.attention_function = theirs


def test_a_text_of_other_rows_is_said_and_left_alone() -> None:
    case = CASES[0]
    network: Any = case.network()
    session, _ = session_of()

    def widened(block: Any, args: Any, kwargs: Any) -> Any:
        return args, {name: torch.cat([value, value]) for name, value in kwargs.items()}

    handle = network.double_blocks[0].register_forward_pre_hook(widened, with_kwargs=True)
    with session.sampling():
        session.step(ForgeModel(forge(network)), Step(0, 4))
        with torch.no_grad():
            on = network(case.latent(), None, context=case.context())
        with torch.no_grad():
            off = network(case.latent(), None, context=case.context()) if session.suspend() is None else on
        assert torch.equal(on, off)
    handle.remove()
    assert any(reason.startswith("a text of 2 rows, for 4") for reason in session.passes[0].why_not)


@pytest.mark.parametrize(("layers", "calls"), [("j0-1,s2", 3), ("s", 3), ("j1", 1), ("s1-s2", 2)])
def test_layers_are_chosen_by_name(layers: str, calls: int) -> None:
    case = CASES[0]
    network = case.network()
    session, _ = session_of(Settings(enabled=True, layers=layers))
    with session.sampling():
        session.step(ForgeModel(forge(network)), Step(0, 4))
        run(case, network)
    assert session.passes[0].calls_blended == calls


def test_names_that_a_transformer_lacks_are_said() -> None:
    session, comments = session_of(Settings(enabled=True, layers="d0"))
    with session.sampling():
        session.step(ForgeModel(forge(CASES[0].network())), Step(0, 4))
    assert "got 'd0', which names no cross-attention layer of this model; it has j0, j1, s0, s1, s2" in comments[0]


def test_the_log_says_the_architecture_and_its_text_keys() -> None:
    case = next(case for case in CASES if case.name == "Anima")
    session, comments = session_of()
    with session.sampling():
        session.step(ForgeModel(forge(case.network())), Step(0, 4))
        run(case, session._hooked.unet.model.diffusion_model)
    assert "on 3 of 3 cross-attention layers, 3 calls in 1 of 1 steps (Anima, 1 to 7 of 10 text keys" in comments[-1]


def test_an_unknown_network_is_named() -> None:
    session, comments = session_of()
    with session.sampling():
        session.step(ForgeModel(forge(torch.nn.Linear(2, 2))), Step(0, 4))
    assert "this model (Linear) has no cross-attention layers that PLADIS knows" in comments[0]
