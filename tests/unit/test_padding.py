"""Which prompts a step's conditions are made of, by the host's own parser."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from lib_pladis.facts import Conditions
from lib_pladis.hosts.padding import in_two_parts, own_of_rows, padded, parts_at_step, whole_at_step


class Parse:
    """What of a host's `prompt_parser` is used: AND, weights, and editing by [from:to:when]."""

    @staticmethod
    def get_multicond_prompt_list(prompts: list[str]) -> Any:
        texts = [re.sub(r":[\d.]+$", "", part) for part in re.split(r"\bAND\b", prompts[0])]
        return [[(index, 1.0) for index in range(len(texts))]], texts, {}

    @staticmethod
    def get_learned_conditioning_prompt_schedules(prompts: list[str], steps: int) -> Any:
        return [[[50, "a"], [steps, "b"]] if "[" in prompt else [[steps, prompt]] for prompt in prompts]


def test_parts_follow_one_another() -> None:
    assert parts_at_step(["a AND b:0.5", "c"], Parse) == ("a ", " b", "c")


def test_a_prompt_that_changes_is_not_known() -> None:
    assert parts_at_step(["a [b:c:0.5]", "d"], Parse) == (None, "d")


def test_negative_prompts_are_not_divided() -> None:
    assert whole_at_step(["a AND b"], Parse) == ("a AND b",)


class CLIP:
    """AUTOMATIC1111's: chunks of 75 words."""

    def tokenize_line(self, prompt: str) -> Any:
        count = len(prompt.split())
        return [None] * max(1, -(-count // 75)), count


class T5:
    """AUTOMATIC1111's: a token a word, and an end."""

    def tokenize_line(self, prompt: str) -> Any:
        return [*range(2, 2 + len(prompt.split())), 1], []


def text(tokens: int, seed: int) -> Tensor:
    return torch.randn(1, tokens, 3, generator=torch.Generator().manual_seed(seed))


TWO = Conditions(text(154, 1), text(308, 2), lambda: (("a red circle",), ("word " * 100,)))


def test_clips_half_and_what_t5_has_of_a_prompt_are_its_own() -> None:
    padding = in_two_parts(CLIP(), T5())
    assert own_of_rows(text(154, 1), TWO, padding) == (77 + 4,)
    assert own_of_rows(text(308, 2), TWO, padding) == (154 + 101,)
    assert own_of_rows(text(154, 3), TWO, padding) == (None,), "of neither prompt"


def test_a_prompt_longer_than_t5s_half_has_no_padding() -> None:
    t5 = SimpleNamespace(tokenize_line=lambda prompt: (range(90), []))
    texts = Conditions(text(154, 1), None, lambda: (("a red circle",), ()))
    assert own_of_rows(text(154, 1), texts, in_two_parts(CLIP(), t5)) == (154,)


def test_what_was_added_to_make_rows_equally_long_is_not_a_prompts() -> None:
    padding = in_two_parts(CLIP(), T5())
    appended = torch.cat([text(154, 1), text(154, 4)], 1)  # the empty prompt's
    assert own_of_rows(torch.cat([appended, text(308, 2)]), TWO, padding) == (81, 255)
    in_place = Conditions(appended, text(308, 2), TWO.prompts)  # in the step's texts too
    assert own_of_rows(torch.cat([appended, text(308, 2)]), in_place, padding) == (81, 255)
    repeated = torch.cat([text(154, 1), text(154, 1)[:, -1:].expand(1, 154, 3)], 1)  # the last row again
    texts = Conditions(torch.cat([repeated, text(308, 2)]), None, lambda: (("a red circle", "word " * 100), ()))
    assert own_of_rows(torch.cat([repeated, text(308, 2)]), texts, padding) == (81, 255)


def test_without_t5_its_half_is_zeros() -> None:
    clip = torch.cat([text(77, 1), torch.zeros(1, 77, 3)], 1)
    texts = Conditions(clip, None, lambda: (("a red circle",), ()))
    appended = torch.cat([clip, text(77, 5), torch.zeros(1, 77, 3)], 1)
    assert own_of_rows(clip, texts, in_two_parts(CLIP(), T5())) == (77,)
    assert own_of_rows(appended, texts, in_two_parts(CLIP(), T5())) == (77,)
    assert own_of_rows(appended, Conditions(appended, None, texts.prompts), in_two_parts(CLIP(), T5())) == (77,)


def test_a_text_of_other_parts_is_not_known() -> None:
    texts = Conditions(text(100, 1), None, lambda: (("a red circle",), ()))
    assert own_of_rows(text(100, 1), texts, in_two_parts(CLIP(), T5())) == (None,)


def test_pads_are_counted_from_where_the_encoders_text_ends() -> None:
    chunk = SimpleNamespace(tokens=[2, 3, 1, *[0] * 7])
    padding = padded(SimpleNamespace(id_pad=0, tokenize_line=lambda prompt: ([chunk], 3)))
    ten = text(10, 1)
    longer = torch.cat([ten, ten[:, -1:].expand(1, 6, 3)], 1)
    for given in (ten, longer):
        assert own_of_rows(given, Conditions(given, None, lambda: (("a b",), ())), padding) == (3,)
    alike = torch.cat([ten[:, :5], ten[:, 5:6].expand(1, 5, 3)], 1)  # pads that come out of the encoder alike
    assert own_of_rows(alike, Conditions(alike, None, lambda: (("a b",), ())), padding) == (3,)
    copies = torch.cat([ten, ten], 1)
    assert own_of_rows(copies, Conditions(ten, None, lambda: (("a b",), ())), padding) == (3,)
    cut = text(6, 1)  # a network that takes less than there are pads
    assert own_of_rows(cut, Conditions(cut, None, lambda: (("a b",), ())), padding) == (0,)


def test_in_forge_too_clips_tokens_come_before_t5s() -> None:
    chunk = SimpleNamespace(tokens=[2, 3, 1, *[0] * 7])
    engine = SimpleNamespace(id_pad=0, tokenize_line=lambda prompt: ([chunk], 3))
    own = padded(engine, CLIP())
    assert own("a b", 77 + 10) == 77 + 3
    assert own("word " * 100, 154 + 10 + 5) == 154 + 3, "lengthened"
    assert own("a b", 77) is None, "without T5's"
