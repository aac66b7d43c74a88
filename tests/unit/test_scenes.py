"""The playground's drawings: deterministic, true to their words, nothing held out in training."""

from __future__ import annotations

import random

import numpy as np
import pytest

from playground.model import scenes
from playground.model.scenes import (
    COLOURS,
    HELD_PAIRS,
    KINDS,
    PLACES,
    SHAPES,
    SIZE,
    Object,
    Scene,
    caption,
    held_combo,
    render,
    sample,
)


def pairs(scene: Scene) -> list[tuple[str, str]]:
    return [(thing.colour, thing.shape) for thing in scene.objects]


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_same_scene_picture_and_caption(kind: str) -> None:
    def everything(seed: int) -> tuple[Scene, bytes, str]:
        rng = random.Random(seed)
        scene = sample(rng, kind)
        return scene, render(scene, rng).tobytes(), caption(scene, rng)

    assert everything(7) == everything(7)
    assert everything(7) != everything(8)


def test_unknown_kind_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"'four'.*train"):
        sample(random.Random(0), "four")


def test_training_shows_nothing_that_is_held_out_and_everything_else() -> None:
    rng = random.Random(3)
    seen, counts = set(), {1: 0, 2: 0, 3: 0}
    for _ in range(4000):
        scene = sample(rng)
        named = pairs(scene)
        counts[len(named)] += 1
        seen.update(named)
        for i, first in enumerate(named):
            assert not any(held_combo(first, other) for other in named[i + 1 :])
    assert not seen & HELD_PAIRS
    assert len(seen) == len(COLOURS) * len(SHAPES) - len(HELD_PAIRS)
    assert counts[2] > counts[1] > 0 and counts[2] > counts[3] > 0


@pytest.mark.parametrize("kind", ["unseen_combo", "distractors"])
def test_unseen_combos_are_held_out_couples_of_known_pairs(kind: str) -> None:
    rng = random.Random(4)
    for _ in range(300):
        first, second = pairs(sample(rng, kind))
        assert held_combo(first, second) and held_combo(second, first)
        assert first[0] != second[0]
        assert not {first, second} & HELD_PAIRS


def test_unseen_pair_has_a_pair_that_training_never_shows() -> None:
    rng = random.Random(5)
    found = [pairs(sample(rng, "unseen_pair")) for _ in range(300)]
    assert all(len(named) == 2 and set(named) & HELD_PAIRS for named in found)
    assert {pair for named in found for pair in named} >= HELD_PAIRS


def test_distractors_add_words_and_move_nothing() -> None:
    rng = random.Random(6)
    scene = sample(rng, "distractors")
    assert 8 <= scene.distract <= 16
    plain = Scene(scene.objects, scene.layout)
    assert render(scene, random.Random(1)).tobytes() == render(plain, random.Random(1)).tobytes()
    shorter = [len(caption(plain, random.Random(i)).split()) for i in range(50)]
    longer = [len(caption(scene, random.Random(i)).split()) for i in range(50)]
    assert min(longer) >= 8 and sum(longer) - sum(shorter) >= 50 * (scene.distract - 6)


def test_objects_lie_whole_in_the_picture_and_at_their_place_and_apart() -> None:
    rng = random.Random(9)
    for i in range(1200):
        scene = sample(rng, KINDS[i % len(KINDS)])
        for thing in scene.objects:
            x0, x1, y0, y1 = PLACES[thing.place][1]
            assert x0 <= thing.x / SIZE <= x1 and y0 <= thing.y / SIZE <= y1
            half = thing.size / 2 * 1.08
            assert half <= thing.x <= SIZE - half and half <= thing.y <= SIZE - half
        for k, a in enumerate(scene.objects):
            for b in scene.objects[k + 1 :]:
                assert max(abs(a.x - b.x), abs(a.y - b.y)) > (a.size + b.size) / 2


def test_the_caption_names_every_object_and_the_relation() -> None:
    things = (
        Object("red", "circle", "left", 34, 64, 40),
        Object("orange", "square", "right", 94, 64, 40),
    )
    scene = Scene(things, "relation")
    texts = {caption(scene, random.Random(i)) for i in range(300)}
    assert len(texts) > 100
    for text in texts:
        assert "red circle" in text and "orange square" in text and "left" in text
    assert "a red circle left of an orange square" in texts


def test_render_paints_the_colours_where_the_scene_says() -> None:
    things = (
        Object("red", "square", "left", 34, 64, 40),
        Object("blue", "ring", "right", 94, 64, 40),
    )
    pixels = np.asarray(render(Scene(things, "relation"), random.Random(0)), dtype=int)
    assert pixels.shape == (SIZE, SIZE, 3)
    assert abs(pixels[64, 34] - COLOURS["red"]).max() <= 6
    assert abs(pixels[64, 94 - 15] - COLOURS["blue"]).max() <= 6
    ground = pixels[0, 0]
    assert ground.min() >= 236
    assert (pixels[64, 94] == ground).all(), "a ring has a hole"
    # A square of 40 pixels (0.92 of its box) covers its area, antialiased to a pixel's rim.
    covered = ((pixels[:, :64] - ground) != 0).any(-1).sum()
    assert abs(covered - (40 * 0.92) ** 2) < 4 * 40


def test_shape_masks_are_antialiased_and_centred() -> None:
    for shape in SHAPES:
        mask = np.asarray(scenes.shape_mask(shape, 40.0), dtype=float)
        assert mask.max() == 255 and mask.min() == 0
        assert ((mask > 0) & (mask < 255)).any()
        columns = np.flatnonzero(mask.sum(0) > 0)
        assert abs((columns[0] + columns[-1] + 1) / 2 - mask.shape[1] / 2) <= 1
