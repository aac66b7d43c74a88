"""The scorer reads true drawings right, and does not read wrong ones as right."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from playground.model.scenes import COLOURS, KINDS, SHAPES, Object, Scene, render, sample
from playground.model.scorer import components, read, score

LEFT = Object("red", "circle", "left", 34, 64, 42)
RIGHT = Object("blue", "square", "right", 94, 64, 42)
SCENE = Scene((LEFT, RIGHT), "relation")


def draw(scene: Scene, seed: int = 0) -> Image.Image:
    return render(scene, random.Random(seed))


@pytest.mark.parametrize("kind", KINDS)
def test_true_drawings_are_read_right(kind: str) -> None:
    rng = random.Random(f"true {kind}")
    scores = []
    for _ in range(60):
        scene = sample(rng, kind)
        scores.append(score(render(scene, rng), scene))
    right = [one for s in scores for one in s.right]
    assert sum(right) >= 0.99 * len(right)
    assert sum(s.all_right for s in scores) >= 0.98 * len(scores)


def test_a_drawing_of_another_scene_scores_low() -> None:
    rng = random.Random(12)
    scenes = [sample(rng, "unseen_combo") for _ in range(100)]
    right = [one for a, b in itertools.pairwise(scenes) for one in score(draw(a), b).right]
    assert sum(right) < 0.1 * len(right)


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_pair_is_found_with_its_middle(colour: str, shape: str) -> None:
    found = read(draw(Scene((replace(LEFT, colour=colour, shape=shape),), "spot")))
    assert [(thing.colour, thing.shape) for thing in found] == [(colour, shape)]
    assert abs(found[0].x - 34 / 128) < 0.02 and abs(found[0].y - 64 / 128) < 0.03
    assert found[0].fit > 0.85


def test_parts_tell_what_is_wrong() -> None:
    swapped = Scene((replace(LEFT, x=94.0), replace(RIGHT, x=34.0)), "relation")
    result = score(draw(swapped), SCENE)
    assert all(result.colour) and all(result.shape) and all(result.binding)
    assert all(result.position), "something is at each place"
    assert not any(result.placed) and not any(result.right) and not result.all_right

    crossed = Scene((replace(LEFT, shape="square"), replace(RIGHT, shape="circle")), "relation")
    result = score(draw(crossed), SCENE)
    assert all(result.colour) and all(result.shape) and all(result.placed)
    assert not any(result.binding) and not any(result.right)

    result = score(draw(Scene((LEFT,), "spot")), SCENE)
    assert result.right == (True, False) and result.position == (True, False)
    assert not result.all_right and result.extra == 0


def test_a_third_object_is_extra() -> None:
    third = Object("green", "star", "top", 64, 22, 36)
    result = score(draw(Scene((LEFT, RIGHT, third), "relation")), SCENE)
    assert all(result.right) and result.extra == 1 and not result.all_right


def test_touching_objects_of_two_colours_are_told_apart() -> None:
    touching = Scene((replace(LEFT, shape="square", x=45.0), replace(RIGHT, x=82.0)), "relation")
    colours = sorted(thing.colour for thing in read(draw(touching)))
    assert colours == ["blue", "red"]


def test_a_blurred_picture_is_still_read_and_a_smear_has_no_shape() -> None:
    blurred = draw(SCENE).filter(ImageFilter.GaussianBlur(1.2))
    assert score(blurred, SCENE).all_right
    pixels = np.full((128, 128, 3), 244, np.uint8)
    pixels[60:68, 10:110] = COLOURS["red"]
    assert [thing.shape for thing in read(Image.fromarray(pixels))] == [""]


def test_noise_and_empty_pictures_hold_nothing_right() -> None:
    empty = Image.new("RGB", (128, 128), (244, 244, 244))
    assert read(empty) == []
    assert not any(score(empty, SCENE).position)
    noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    assert not any(score(Image.fromarray(noise), SCENE).right)


def test_components_against_a_flood_fill() -> None:
    rng = np.random.default_rng(1)
    for density in (0.3, 0.5, 0.6, 0.8):
        mask = rng.random((24, 31)) < density
        found = components(mask)
        total: Any = sum(piece.astype(int) for piece in found)
        assert (total == mask).all() if found else True
        sizes = []
        left = {tuple(point) for point in np.argwhere(mask)}
        while left:
            stack, size = [left.pop()], 0
            while stack:
                y, x = stack.pop()
                size += 1
                for point in ((y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)):
                    if point in left:
                        left.remove(point)
                        stack.append(point)
            sizes.append(size)
        assert [int(piece.sum()) for piece in found] == sorted(sizes, reverse=True)
