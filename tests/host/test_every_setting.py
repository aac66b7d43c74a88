"""Every setting that makes a picture changes what a U-Net computes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lib_pladis.settings import TABLE, Setting, Settings
from tests.host.a1111 import generate

NOT_OF_THE_PICTURE = {
    "compare": "draws another picture: tests/acceptance/test_compare.py",
    "look": "reads the same picture: tests/acceptance/test_look.py",
    "look_words": "of what is read: tests/acceptance/test_look.py",
}

FIRST: dict[str, Any] = {"enabled": True}
HIRES: dict[str, Any] = {**FIRST, "hr_override": True, "hr_scale": 3.0}


def others(setting: Setting, value: Any) -> list[Any]:
    """Other values than this."""
    if setting.kind == "bool":
        return [not value]
    if setting.kind == "choice":
        return [choice for choice in setting.choices if choice != value]
    if setting.kind == "float":
        middle = (setting.minimum + setting.maximum) / 2
        return [middle if middle != value else setting.maximum]
    return ["m0"]


CASES = [
    (name, value)
    for name, setting in TABLE.items()
    if name not in NOT_OF_THE_PICTURE
    for value in others(setting, (HIRES if setting.row == "hires" else FIRST).get(name, setting.default))
]


def made(sd_model: Any, inputs: Any, given: dict[str, Any], hires: bool) -> torch.Tensor:
    outputs, _ = generate(sd_model, Settings(**given), [inputs()], hires=hires, steps=2)
    return torch.cat([batch for step in outputs for batch in step])


@pytest.fixture(scope="module")
def before() -> dict[bool, torch.Tensor]:
    """What the usual settings make, of the first pass and of Hires. fix; filled by the first tests."""
    return {}


@pytest.mark.parametrize(("name", "value"), CASES)
def test_another_value_makes_another_picture(
    sd_model: Any, inputs: Any, before: dict[bool, torch.Tensor], name: str, value: Any
) -> None:
    hires = TABLE[name].row == "hires"
    usual = HIRES if hires else FIRST
    if hires not in before:
        before[hires] = made(sd_model, inputs, usual, hires)
    assert (made(sd_model, inputs, {**usual, name: value}, hires) - before[hires]).abs().max() > 1e-4


def test_those_left_out_are_shown_beside_the_picture() -> None:
    assert set(NOT_OF_THE_PICTURE) == {name for name, setting in TABLE.items() if setting.beside}
