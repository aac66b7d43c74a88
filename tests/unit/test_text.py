"""Which text tokens are the prompt's own, and how many tokens a picture has."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lib_pladis.models.text import own_tokens, picture_tokens


def rows(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 5, generator=torch.Generator().manual_seed(seed))


def filled(count: int, length: int, row: Tensor | None = None) -> Tensor:
    pad = torch.zeros(5) if row is None else row
    return torch.cat([rows(count), pad.expand(length - count, 5)])


def test_rows_of_zeros_at_the_end_are_padding() -> None:
    assert own_tokens(torch.stack([filled(3, 12), filled(11, 12), filled(12, 12)])) == [3, 11, 12]


def test_rows_that_repeat_the_last_one_are_padding() -> None:
    constant = torch.full((5,), 0.7)
    assert own_tokens(torch.stack([filled(3, 12, constant), filled(11, 12, constant)])) == [4, 12]
    assert own_tokens(rows(1)[None]) == [1]


def test_what_is_known_otherwise_counts_too() -> None:
    context = torch.stack([rows(12), rows(12), filled(4, 12), filled(10, 12), rows(4).repeat(3, 1)])
    assert own_tokens(context, [9, None, 9, 9, 3]) == [9, 12, 4, 9, 3]


def test_equal_rows_before_the_end_are_text() -> None:
    context = torch.cat([rows(2), torch.zeros(3, 5), rows(2, seed=1)])
    assert own_tokens(context[None]) == [7]


def test_a_text_of_nothing_but_zeros_has_no_token() -> None:
    assert own_tokens(torch.zeros(2, 8, 5)) == [0, 0]


@pytest.mark.parametrize("copies", [2, 3, 4])
def test_only_the_first_of_several_copies_counts(copies: int) -> None:
    padded = filled(3, 5)
    context = torch.stack([padded.repeat(copies, 1), rows(5 * copies)])
    assert own_tokens(context) == [3, 5 * copies]


def test_four_dimensions_are_rows_of_one_more() -> None:
    assert own_tokens(filled(3, 12)[None, None]) == [3]


def test_what_is_no_text_says_so() -> None:
    with pytest.raises(ValueError, match=r"context of shape \(2, 5\)"):
        own_tokens(torch.zeros(2, 5))


@pytest.mark.parametrize(
    ("shape", "patch", "expected"),
    [((1, 4, 16, 16), 2, 64), ((1, 4, 15, 17), 2, 72), ((2, 128, 8, 8), 1, 64), ((1, 16, 3, 16, 8), 2, 96)],
)
def test_a_pictures_tokens_are_its_patches(shape: tuple[int, ...], patch: int, expected: int) -> None:
    assert picture_tokens(torch.zeros(shape), patch) == expected
