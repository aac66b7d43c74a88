"""Layer names and the selection syntax."""

from __future__ import annotations

from typing import Any

import pytest

from lib_pladis.models.base import LayerName
from lib_pladis.models.selection import LayerSelection
from lib_pladis.models.unet import name_layers

SD1 = [("input", i, 0) for i in (1, 2, 4, 5, 7, 8)] + [("middle", 1, 0)] + [("output", i, 0) for i in range(3, 12)]
SDXL = (
    [("input", i, d) for i, n in ((4, 2), (5, 2), (7, 10), (8, 10)) for d in range(n)]
    + [("middle", 1, d) for d in range(10)]
    + [("output", i, d) for i, n in ((0, 10), (1, 10), (2, 10), (3, 2), (4, 2), (5, 2)) for d in range(n)]
)


def picked(text: str, places: Any) -> list[str]:
    return [str(name) for name in LayerSelection.parse(text).pick(name_layers(places).values())]


def test_sd1_has_16_layers_numbered_by_block() -> None:
    names = name_layers(SD1)
    assert len(names) == 16
    assert str(names["input", 4, 0]) == "d2.0"
    assert str(names["middle", 1, 0]) == "m0.0"
    assert str(names["output", 3, 0]) == "u0.0"


def test_sdxl_has_70_layers() -> None:
    assert len(name_layers(SDXL)) == 70
    assert len(picked("all", SDXL)) == 70


@pytest.mark.parametrize(
    ("text", "places", "expected"),
    [
        ("m0", SD1, ["m0.0"]),
        ("d0-d1", SD1, ["d0.0", "d1.0"]),
        ("d0-1", SD1, ["d0.0", "d1.0"]),
        ("u8, D5 ,m", SD1, ["d5.0", "m0.0", "u8.0"]),
        ("d2.2-4,d0.1", SDXL, ["d0.1", "d2.2", "d2.3", "d2.4"]),
        ("u2.1", SDXL, ["u2.1"]),
        ("d0-d1.1", SDXL, ["d0.1", "d1.1"]),
    ],
)
def test_selection(text: str, places: Any, expected: Any) -> None:
    assert picked(text, places) == expected


def test_every_layer_can_be_picked_alone_by_its_name() -> None:
    for name in name_layers(SDXL).values():
        assert picked(str(name), SDXL) == [str(name)]


@pytest.mark.parametrize("text", ["", "all", " ALL ", ","])
def test_nothing_and_all_mean_all(text: str) -> None:
    assert str(LayerSelection.parse(text)) == "all"
    assert len(picked(text, SD1)) == 16


@pytest.mark.parametrize("text", ["x9", "d", "d0-d1,m0.0,u2.1", "d2.2-9"])
def test_selection_text_is_stable(text: str) -> None:
    if text == "x9":
        with pytest.raises(ValueError, match="'x9'"):
            LayerSelection.parse(text)
    else:
        once = str(LayerSelection.parse(text))
        assert str(LayerSelection.parse(once)) == once


@pytest.mark.parametrize(
    "text", ["x9", "d0;m0", "d-1", "d3-d1", "d1.5-2", "0", "d0 m0", "all,d0", "d0-u3", "d0,,u0", "d0,"]
)
def test_bad_syntax_names_the_item(text: str) -> None:
    with pytest.raises(ValueError, match="allowed: all, or a list"):
        LayerSelection.parse(text)


def test_a_layer_that_the_model_lacks_names_those_it_has() -> None:
    with pytest.raises(ValueError, match=r"'d9'.*it has d0\.0, d1\.0"):
        picked("d0,d9", SD1)


def test_names_sort_by_side_block_depth() -> None:
    assert LayerName("d", 2, 0) < LayerName("d", 10, 0) < LayerName("m", 0, 0) < LayerName("u", 0, 0)
