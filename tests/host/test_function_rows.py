"""Which rows of a transformer's batch are blended, and how much of a row's text is its prompt's."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lib_pladis.facts import Conditions, Step
from lib_pladis.hosts.a1111 import A1111Model
from lib_pladis.hosts.forge import ForgeModel
from lib_pladis.settings import Settings
from tests import networks
from tests.host.first_step import first_step
from tests.host.transformer_cases import CASES, Case, blended, by_name, called_in_first_block, forge, run
from tests.networks import TEXT


@by_name
@pytest.mark.parametrize("target", ["positive", "negative"])
def test_rows_are_told_by_their_labels(case: Case, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network = case.network()
    with first_step(ForgeModel(forge(network)), Settings(enabled=True, target=target)) as session:
        on = run(case, network, labels=[1, 0])
    expected = blended(case, monkeypatch, rows=[1 if target == "positive" else 0])
    torch.testing.assert_close(on.double(), expected, atol=2e-5, rtol=0)
    assert session.passes[0].rows_blended == len(case.calls)


def test_each_prompt_in_a_call_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES[0]
    network = case.network()
    with first_step(ForgeModel(forge(network)), Settings(enabled=True, target="positive")) as session:
        negative, positive = run(case, network, labels=[1], rows=1), run(case, network, labels=[0], rows=1)
    torch.testing.assert_close(positive.double(), blended(case, monkeypatch)[:1], atol=2e-5, rtol=0)
    assert torch.equal(negative, run(case, network, rows=1))
    assert (session.passes[0].calls_seen, session.passes[0].calls_blended) == (10, 5)


def test_rows_without_a_label_are_left_alone_where_it_matters() -> None:
    case = CASES[0]
    network = case.network()
    with first_step(ForgeModel(forge(network)), Settings(enabled=True, target="positive")) as session:
        assert torch.equal(run(case, network), run(case, case.network()))
    assert session.passes[0].calls_blended == 0
    assert "can't be known" in session.passes[0].why_not[0]


def test_a1111_tells_rows_by_their_context(monkeypatch: pytest.MonkeyPatch) -> None:
    case = next(case for case in CASES if case.name == "SD3")
    network, context = case.network(), case.context()
    model = SimpleNamespace(model=SimpleNamespace(diffusion_model=network), is_sd3=True)
    with first_step(
        A1111Model(model),
        Settings(enabled=True, target="positive"),
        conditions=Conditions(context[:1], context[1:]),
    ) as session:
        on = run(case, network)
        session.step(A1111Model(model), Step(1, 4, conditions=lambda: Conditions(context[:1], context[1:])))
        assert torch.equal(run(case, network), on)
    torch.testing.assert_close(on.double(), blended(case, monkeypatch, rows=[0]), atol=2e-5, rtol=0)
    assert (session.passes[0].model_kind, session.passes[0].calls_blended) == ("sd3", 6)


def test_a1111_counts_what_t5_has_of_a_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    """77 tokens of CLIP, and of T5's 77 a start that is the prompt's."""
    wide = torch.randn(2, 154, TEXT, generator=torch.Generator().manual_seed(6)) * 3
    case = replace(next(case for case in CASES if case.name == "SD3"), own=(77 + 4, 77 + 2), picture_at=154)
    monkeypatch.setattr(Case, "context", lambda self: wide)
    network = case.network()
    model: Any = SimpleNamespace(model=SimpleNamespace(diffusion_model=network), is_sd3=True)
    t5 = SimpleNamespace(tokenize_line=lambda prompt: ([*prompt.split(), "end"], []))
    clip = SimpleNamespace(tokenize_line=lambda prompt: ([prompt], 3))
    model.cond_stage_model = SimpleNamespace(model_lg=clip, model_t5=t5)
    texts = Conditions(wide[:1], wide[1:], lambda: (("a red circle",), ("blurry",)))
    with first_step(A1111Model(model), conditions=texts) as session:
        on = run(case, network)
    torch.testing.assert_close(on.double(), blended(case, monkeypatch), atol=2e-5, rtol=0)
    assert (session.passes[0].text_keys, session.passes[0].text_length) == ([79, 81], 154)
    assert not session.passes[0].why_not


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
    texts = Conditions(context[1:], context[:1], lambda: prompts)
    with first_step(ForgeModel(model), conditions=texts) as session:
        on = run(case, network, labels=[1, 0])
    torch.testing.assert_close(on.double(), blended(case, monkeypatch), atol=2e-5, rtol=0)
    assert session.passes[0].text_keys == sorted(set(own))
    assert any("padding can't be known" in reason for reason in session.passes[0].why_not) is said


def test_a_text_without_a_token_of_the_prompt_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """PiD's, which has gone through the encoder behind more pads than the network takes of it."""
    case = next(case for case in CASES if case.name == "PiD")
    network, context = case.network(), case.context()
    model = forge(network)
    chunk = SimpleNamespace(tokens=[1, 2, *[0] * 12])
    model.text_processing_engine_gemma = SimpleNamespace(id_pad=0, tokenize_line=lambda prompt: [chunk])
    texts = Conditions(context[1:], context[:1], lambda: (("a",), ("b",)))
    with first_step(ForgeModel(model), conditions=texts) as session:
        on = run(case, network, labels=[1, 0])
    assert torch.equal(on, run(case, network))
    assert (session.passes[0].calls_seen, session.passes[0].calls_blended) == (3, 0)
    (reason,) = session.passes[0].why_not
    assert reason.startswith("no token of the prompt is in the text that the network is given")


def test_a_text_of_other_rows_is_said_and_left_alone() -> None:
    case = CASES[0]
    network: Any = case.network()

    def widened(block: Any, args: Any, kwargs: Any) -> Any:
        return args, {name: torch.cat([value, value]) for name, value in kwargs.items()}

    handle = network.double_blocks[0].register_forward_pre_hook(widened, with_kwargs=True)
    with first_step(ForgeModel(forge(network))) as session:
        on = network(case.latent(), None, context=case.context())
        session.suspend()
        assert torch.equal(on, network(case.latent(), None, context=case.context()))
    handle.remove()
    assert any(
        reason.startswith("another extension gives attention 4 texts where the network has 2")
        for reason in session.passes[0].why_not
    )


ANIMA = next(case for case in CASES if case.name == "Anima")


def given_text(block: Any, rows: int, text: torch.Tensor) -> None:
    """As extensions do: the class's forward, with so many copies of each row and a text of their own, averaged."""
    module, cls = block.cross_attn, type(block.cross_attn)

    def forward(x: Any, context: Any, given: Any = None) -> Any:
        out = cls.forward(module, x.repeat(rows, 1, 1), text)
        return out.unflatten(0, (rows, -1)).mean(0)

    module.forward = forward


@pytest.mark.parametrize(("rows", "tokens"), [(1, 10), (2, 10), (2, 20)])
def test_a_layer_with_a_text_of_its_own_is_blended_by_that(rows: int, tokens: int) -> None:
    """An artist mixer's, 21 keys of 512 or of 1,024, and Forge Couple's, with more rows: padded by rows of zeros. Whose
    they are isn't known."""
    text = torch.randn(2 * rows, tokens, TEXT, generator=torch.Generator().manual_seed(8)) * 3
    text[:, 4:] = 0
    network: Any = ANIMA.network()
    given_text(network.blocks[1], rows, text)
    cut: Any = ANIMA.network()
    given_text(cut.blocks[1], rows, text[:, :4])  # of which all keys are real, and the mass on which is one
    seen: dict[str, Any] = {}
    for name, each in (("whole", network), ("cut", cut)):
        blended = each.blocks[1].cross_attn.register_forward_hook(lambda m, a, out, name=name: seen.update({name: out}))
        with first_step(ForgeModel(forge(each)), Settings(enabled=True, layers="b1")) as session:
            run(ANIMA, each, labels=[1, 0])
        blended.remove()
        assert session.passes[0].text_keys == [4] and session.passes[0].rows_blended == 2 * rows
    assert not torch.allclose(seen["whole"], seen["cut"], atol=1e-3), "zeros keep the weight that softmax gives them"
    with first_step(ForgeModel(forge(network)), Settings(enabled=True, layers="b1", target="positive")) as session:
        assert torch.equal(run(ANIMA, network, labels=[1, 0]), run(ANIMA, network))
    assert session.passes[0].calls_blended == 0 and "can't be known" in session.passes[0].why_not[0]


def test_an_attention_that_somebody_overrides_is_left_to_him_and_that_is_said() -> None:
    network = CASES[0].network()
    inputs, options = torch.randn(3, 2, 2, 26, 8), {"optimized_attention_override": lambda *args: None}
    with first_step(ForgeModel(forge(network))) as session:
        out = called_in_first_block(network, *inputs, 2, skip_reshape=True, transformer_options=options)
    assert torch.equal(out, networks.attention_function(inputs[0], inputs[1], inputs[2], 2, skip_reshape=True))
    assert "optimized_attention_override" in session.passes[0].why_not[0]


def test_scale_and_shared_heads_are_honoured() -> None:
    """As Neo 2.27 and later hand them to its attention function."""
    network = CASES[0].network()
    query, (key, value) = torch.randn(2, 4, 26, 8), torch.randn(2, 2, 2, 26, 8)
    outs = []
    for given in (
        (query, key, value, 4, None, None, True, False),
        (query * 0.5 * 8**0.5, key.repeat_interleave(2, 1), value.repeat_interleave(2, 1), 4, None, None, True, False),
    ):
        more = {"scale": 0.5, "enable_gqa": True} if given[1] is key else {}
        with first_step(ForgeModel(forge(network))) as session:
            outs.append(called_in_first_block(network, *given, **more))
        assert (session.passes[0].calls_blended, session.passes[0].calls_failed) == (5, 0)
    torch.testing.assert_close(*outs, atol=1e-5, rtol=1e-5)


def test_an_argument_that_nobody_knows_leaves_the_call_alone() -> None:
    network = CASES[0].network()
    inputs = torch.randn(3, 2, 2, 26, 8)
    with first_step(ForgeModel(forge(network))) as session:
        out = called_in_first_block(network, *inputs, 2, skip_reshape=True, sliding_window=8)
    assert torch.equal(out, networks.attention_function(inputs[0], inputs[1], inputs[2], 2, skip_reshape=True))
    assert (
        "attention with arguments that PLADIS doesn't know (sliding_window) was left as it is"
        in session.passes[0].why_not
    )
