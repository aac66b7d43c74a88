"""Which prompts a step's conditions are made of, by the host's own parser."""

from __future__ import annotations

import re
from typing import Any

from lib_pladis.hosts.prompts import parts_at_step, whole_at_step


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
