"""What is looked at: which row is whose, how queries become a picture, and that memory doesn't grow with steps."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lib_pladis.kernels.look import TokenWeights
from lib_pladis.models.base import LayerName
from lib_pladis.run.probe import KINDS, STEPS, Columns, Probe, fitted, layout, scaled
from lib_pladis.webui import look

LAYER = LayerName("d", 0, 0)
TEXT = Columns({"a": (1,), "b": (2, 3)}, ("start", "words", "words", "words", "end", "padding"))


def weights(queries: int, keys: int, value: float = 0.0) -> TokenWeights:
    generator = torch.Generator().manual_seed(queries)
    maps = [torch.rand(1, queries, keys, generator=generator) + value for _ in range(2)]
    return TokenWeights(*maps, *(torch.rand(1, queries, generator=generator) for _ in range(3)))


def probe(texts: Any = ((TEXT,),)) -> Probe:
    made = Probe(("a", "b"), lambda index, hires: texts)
    made.at(0, 10, False, (8, 8))
    return made


@pytest.mark.parametrize(
    ("queries", "size", "shape"),
    [
        (4096, (64, 64), (64, 64)),
        (1024, (64, 64), (32, 32)),
        (64, (64, 64), (8, 8)),
        (96 * 64, (96, 64), (96, 64)),
        (12 * 8, (96, 64), (12, 8)),
        (5 * 3, (19, 11), (5, 3)),  # halves are rounded up, as a convolution of stride 2 does
        (1, (8, 8), (1, 1)),
        (4095, (64, 64), None),
        (256, None, (16, 16)),
        (255, None, None),
    ],
)
def test_queries_are_laid_out_as_the_latents_are(queries: int, size: Any, shape: Any) -> None:
    assert layout(queries, size) == shape


@pytest.mark.parametrize(
    ("size", "grid"), [((16, 16), (16, 16)), ((128, 128), (64, 64)), ((96, 128), (48, 64)), ((1, 512), (1, 64))]
)
def test_maps_are_bounded(size: Any, grid: Any) -> None:
    assert fitted(size) == grid


def test_a_larger_map_is_averaged_and_a_smaller_one_interpolated() -> None:
    large = torch.arange(16.0).view(1, 1, 4, 4)
    assert scaled(large, (2, 2)).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    assert scaled(torch.tensor([[[[0.0, 1.0]]]]), (1, 4)).flatten().tolist() == [0.0, 0.25, 0.75, 1.0]
    assert torch.equal(scaled(large, (4, 4)), large)


class OnMPS:
    """A tensor there, as far as its numbers must leave: MPS has no fp64, and averages by whole factors only."""

    device = SimpleNamespace(type="mps")

    def __init__(self, tensor: torch.Tensor) -> None:
        self.shape = tensor.shape
        self._tensor = tensor

    def cpu(self) -> torch.Tensor:
        return self._tensor

    def double(self) -> torch.Tensor:
        raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64")


def test_what_mps_cannot_do_is_done_on_the_cpu() -> None:
    maps = torch.rand(2, 1, 76, 52)
    there: Any = OnMPS(maps)
    assert torch.equal(scaled(there, (64, 44)), scaled(maps, (64, 44)))
    assert look._mean([there, there], 2) == maps.double().tolist()


def test_columns_past_the_prompt_are_padding() -> None:
    matrix = TEXT.matrix(("b", "c"), 8)
    assert matrix[:, 0].tolist() == [0, 0, 1, 1, 0, 0, 0, 0] and matrix[:, 1].sum() == 0
    assert matrix[:, 2:].argmax(1).tolist() == [KINDS.index(kind) for kind in (*TEXT.kinds, "padding", "padding")]
    assert torch.equal(matrix[:, 2:].sum(1), torch.ones(8))
    assert Columns({}, ()).matrix((), 3).argmax(1).tolist() == [KINDS.index("words")] * 3, "a text that can't be cut"
    assert TEXT.matrix(("b",), 3)[:, 0].tolist() == [0, 0, 1], "and fewer keys than the prompt has are no error"


@pytest.mark.parametrize(
    ("by_subprompt", "wanted"),
    [
        (False, [(0, 0, 0), (1, 0, 1), (2, 1, 0), (3, 1, 1)]),
        (True, [(0, 0, 1), (1, 1, 1), (2, 0, 0), (3, 1, 0)]),
    ],
)
def test_rows_of_several_pictures_and_parts(by_subprompt: bool, wanted: Any) -> None:
    looking = probe(((TEXT, TEXT), (TEXT, TEXT)))
    assert list(looking.rows(LAYER, [True] * 4 + [False] * 2, by_subprompt)) == wanted
    assert list(looking.rows(LAYER, [True], by_subprompt)) == [], "a call more in the step is nobody's"
    looking.at(1, 10, False, (8, 8))
    assert list(looking.rows(LAYER, [True], by_subprompt)) == wanted[:1]
    assert list(looking.rows(LayerName("u", 0, 0), [False, True], by_subprompt)) == [(1, *wanted[0][1:])]


def test_rows_in_several_calls_of_a_step() -> None:
    looking = probe(((TEXT,), (TEXT,), (TEXT,)))
    found = [list(looking.rows(LAYER, positive, False)) for positive in ([True, True], [True, False], [False, False])]
    assert found == [[(0, 0, 0), (1, 1, 0)], [(0, 2, 0)], []]


def test_unknown_rows_are_said() -> None:
    looking = probe()
    assert list(looking.rows(LAYER, None, False)) == []
    assert looking.why_not == {"which pictures belong to the prompt can't be known here": 1}


def test_thirds_passes_sides_and_the_mean() -> None:
    looking = probe()
    values = {}
    for index in range(10):
        looking.at(index, 10, index == 9, (4, 4))
        given = weights(16, 6, float(index))
        values[index] = given.dense[0, :, 1].view(4, 4)
        looking.add(LAYER, 0, 0, given)
    thirds = {name: [i for i in range(9) if i * 3 // 10 == number] for number, name in enumerate(STEPS)}
    assert sum(map(len, thirds.values())) == 9
    for name, steps in thirds.items():
        found = looking.passes["first"].maps[0, name, "d"]
        assert torch.allclose(found.mean[0, 0], torch.stack([values[i] for i in steps]).mean(0))
    assert torch.allclose(looking.passes["hires"].maps[0, "last", "d"].mean[0, 0], values[9])
    assert looking.calls == 10


def test_memory_is_that_of_the_maps_whatever_the_steps_and_layers() -> None:
    def held(steps: int, layers: int) -> int:
        looking = probe()
        for index in range(steps):
            looking.at(index, steps, False, (32, 32))
            for depth in range(layers):
                looking.add(LayerName("d", 0, depth), 0, 0, weights(64, 6))
        return sum(maps.sums.numel() for each in looking.passes.values() for maps in each.maps.values())

    assert held(3, 1) == held(30, 7) == 3 * 2 * 2 * 32 * 32


def test_queries_that_make_no_picture_are_said_and_left_out() -> None:
    looking = probe()
    looking.add(LAYER, 0, 0, weights(15, 6))
    assert looking.passes == {} and looking.why_not == {
        "15 queries of layer d0.0 could not be laid out as a picture": 1
    }


def test_nothing_stays_on_the_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a generation is over, all tensors that the probe holds are those that came to the CPU."""
    made = probe()
    made.add(LAYER, 0, 0, weights(64, 6))
    came: list[torch.Tensor] = []

    def cpu(self: torch.Tensor) -> torch.Tensor:
        came.append(self.clone())
        return came[-1]

    monkeypatch.setattr(torch.Tensor, "cpu", cpu)
    made.forget()
    made.to_cpu()
    held = [leaf for each in made.passes.values() for of in (*each.maps.values(), *each.layers.values())
            for leaf in vars(of).values() if isinstance(leaf, torch.Tensor)]  # fmt: skip
    assert len(held) == 4 and not made._matrices
    assert all(any(leaf is tensor for tensor in came) for leaf in held)
