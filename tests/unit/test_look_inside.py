"""What is made of a look: words, maps on a scale, the sheet, the answer of the route, and what could not be seen."""

from __future__ import annotations

import base64
import gc
import io
import json
import math
import sys
import types
import weakref
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lib_pladis.kernels.look import TokenWeights
from lib_pladis.models.base import LayerName
from lib_pladis.settings import Settings, SettingsError
from lib_pladis.webui import heat
from lib_pladis.webui.frame import WHOLE
from lib_pladis.webui.look import MOST_PICTURES, Look

VOCABULARY = ("<start>", "<end>", "a</w>", "red</w>", "circle</w>", *(f"w{i}</w>" for i in range(20)))


class Engine:
    """Cuts a text of words in the vocabulary."""

    id_start, id_end = 0, 1
    tokenizer: Any = SimpleNamespace(
        convert_ids_to_tokens=lambda ids: [VOCABULARY[i] for i in ids],
        decode=lambda ids: "".join(VOCABULARY[i] for i in ids).replace("</w>", " "),
    )

    def tokenize_line(self, text: str) -> Any:
        ids = [VOCABULARY.index(f"{word}</w>") for word in text.split()]
        return [SimpleNamespace(tokens=[0, *ids, *[1] * (30 - len(ids))], fixes=())], len(ids)


@pytest.fixture(autouse=True)
def host(monkeypatch: pytest.MonkeyPatch) -> None:
    modules: Any = types.ModuleType("modules")
    modules.shared, modules.prompt_parser = SimpleNamespace(opts=SimpleNamespace()), SimpleNamespace()
    monkeypatch.setitem(sys.modules, "modules", modules)


def generation(*prompts: str, **fields: Any) -> Any:
    model = SimpleNamespace(cond_stage_model=Engine())
    return SimpleNamespace(
        **{
            "sd_model": model,
            "prompts": list(prompts),
            "batch_size": len(prompts),
            "steps": 4,
            "iteration": 0,
            **fields,
        }
    )


P = SimpleNamespace()
"""One that has been drawn, and says nothing of crops."""


class Generation(SimpleNamespace):
    """One that can be held weakly."""


def look(words: str = "") -> Look:
    return Look(Settings(enabled=True, look=True, look_words=words))


def weights(value: float, keys: int = 31) -> TokenWeights:
    dense = torch.full((1, 16, keys), value)
    return TokenWeights(2 * dense, dense, *(torch.ones(1, 16) for _ in range(3)))


def seen(looking: Look, p: Any, value: float = 0.1, hires: bool = False) -> None:
    """A batch of one step and two layers."""
    probe = looking.begin_batch(p)
    assert probe is not None
    probe.at(0, 1, hires, (4, 4))
    for picture in range(len(p.prompts)):
        for side in "ud":
            probe.add(LayerName(side, 0, 0), picture, 0, weights(value * (picture + 1)))


def result(count: int, first: int = 0) -> Any:
    pictures = [Image.new("RGB", (64, 32), (i, i, i)) for i in range(first + count)]
    return SimpleNamespace(images=pictures, infotexts=[f"text {i}" for i in range(first + count)])


def test_sheets_follow_with_the_infotext_of_their_picture_and_none_inside() -> None:
    looking, processed = look(), result(2, first=1)
    seen(looking, generation("a red circle", "a red circle"))
    said = looking.finish(P, processed, [1, 2])
    assert "look inside took" in said and "4 attention maps" in said and looking.notice == ""
    assert processed.infotexts == ["text 0", "text 1", "text 2", "text 1", "text 2"]
    assert len(processed.images) == 5 and all(not image.info for image in processed.images[3:])
    told = looking.as_dict()
    assert told["words"] == ["red", "circle"] and told["layers"] == ["all", "d", "u"]
    for number, picture in enumerate(told["pictures"]):
        assert (picture["image"], picture["size"]) == (1 + number, [64, 32])
        (red, _) = picture["words"]
        assert red["plain"]["mean"] == pytest.approx(0.1 * (number + 1))
        assert red["pladis"]["mean"] == red["pladis"]["most"] == pytest.approx(0.2 * (number + 1))
    assert [row["layer"] for row in told["table"]] == ["d0.0", "u0.0"], "in the order in which they run"
    assert told["table"][0]["plain"]["words"] == pytest.approx(3 * 0.15)


def test_batches_count_on(monkeypatch: pytest.MonkeyPatch) -> None:
    looking = look("red")
    for iteration in range(2):
        seen(looking, generation("a red", "red circle", iteration=iteration), 0.1 + iteration)
    looking.finish(P, result(4), [0, 1, 2, 3])
    means = [picture["words"][0]["plain"]["mean"] for picture in looking.as_dict()["pictures"]]
    assert means == pytest.approx([0.1, 0.2, 1.1, 2.2])


def test_the_weights_of_all_words_where_one_is_looked_at_most() -> None:
    looking = look("red, circle")
    p = generation("a red circle")
    probe = looking.begin_batch(p)
    assert probe is not None
    probe.at(0, 1, False, (4, 4))
    ((columns,),) = probe._now
    (red,), (circle, *_) = columns.words["red"], columns.words["circle"]
    dense = torch.zeros(1, 16, 31)
    dense[0, 6, red], dense[0, 6, circle], dense[0, 11, circle] = 0.5, 0.1, 0.7
    blended = 3 * dense - 0.2
    probe.add(LayerName("u", 0, 0), 0, 0, TokenWeights(blended, dense, *(torch.ones(1, 16) for _ in range(3))))
    looking.finish(P, result(1), [0])
    told = looking.as_dict()
    own, others = (each["there"] for each in told["pictures"][0]["words"])
    assert own["plain"] == pytest.approx([0.5, 0.1]) and others["plain"] == pytest.approx([0.0, 0.7])
    assert own["pladis"][0] == pytest.approx(1.3) and others["pladis"][0] == pytest.approx(-0.2)
    mix = {"scale": 2.0, "alpha": 1.5, "temperature": 1.0, "rescale": 0.0, "schedule": "constant"}
    assert told["shown"]["mix"] == mix


def test_the_mix_of_the_hires_pass_is_its_own() -> None:
    settings = {"look": True, "hr_override": True, "hr_scale": 1.0, "hr_alpha": 1.75, "schedule": "cosine"}
    looking = Look(Settings.from_dict({"enabled": True, **settings}))
    p = generation("a red circle", hr_prompts=["a red circle"], enable_hr=True)
    probe = looking.begin_batch(p)
    assert probe is not None
    for hires in (False, True):
        probe.at(0, 1, hires, (4, 4))
        probe.add(LayerName("u", 0, 0), 0, 0, weights(0.1))
    looking.finish(P, result(1), [0])
    mixes = {stage: looking.as_dict(stage)["shown"]["mix"] for stage in ("first", "hires")}
    assert [(mix["scale"], mix["alpha"]) for mix in mixes.values()] == [(2.0, 1.5), (1.0, 1.75)]
    assert {mix["schedule"] for mix in mixes.values()} == {"cosine"}


def test_no_more_than_so_many_pictures() -> None:
    looking = look("red")
    assert looking.begin_batch(generation("red", iteration=MOST_PICTURES)) is None
    assert looking.problems == [f"only the first {MOST_PICTURES} pictures are looked at"]


def test_words_that_are_not_there_and_too_many() -> None:
    looking = look("green, red")
    seen(looking, generation("a red circle"))
    assert looking.words == ("red",) and looking.problems == ['"green" is not in the prompt']
    assert looking.notice == 'PLADIS: look inside: "green" is not in the prompt'
    looking = look()
    seen(looking, generation(" ".join(f"w{i}" for i in range(14))))
    assert len(looking.words) == 12 and "first 12 of 14 words" in looking.problems[0]


def test_a_model_whose_tokenizer_is_not_reached_has_columns_by_number() -> None:
    looking = look("#1-2, red")
    seen(looking, generation("a red circle", sd_model=SimpleNamespace()))
    looking.finish(P, result(1), [0])
    assert looking.words == ("#1-2",)
    reason = "the tokenizer of this model (SimpleNamespace) can't be reached: name columns by their numbers"
    assert reason in looking.notice
    assert looking.as_dict()["pictures"][0]["words"][0]["plain"]["mean"] == pytest.approx(0.2)


def test_a_word_that_changes_in_mid_run_is_looked_for_while_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    parser = sys.modules["modules"].prompt_parser
    monkeypatch.setattr(parser, "get_multicond_prompt_list", lambda texts: ([[(0, 1.0)]], texts, {}), raising=False)
    schedules = [[[2, "a red"], [4, "a circle"]]]
    name = "get_learned_conditioning_prompt_schedules"
    monkeypatch.setattr(parser, name, lambda prompts, base_steps, hires_steps=None: schedules, raising=False)
    looking = look()
    probe = looking.begin_batch(generation("a [red:circle:0.5]"))
    assert probe is not None and probe.words == ("red", "circle")
    for index in range(4):
        probe.at(index, 4, False, (4, 4))
        probe.add(LayerName("d", 0, 0), 0, 0, weights(0.1))
    counted = {word: sum(int(maps.seen[i]) for maps in probe.passes["first"].maps.values())
               for i, word in enumerate(probe.words)}  # fmt: skip
    assert counted == {"red": 3, "circle": 1}, "up to step 2, as the host does"


def test_the_last_pass_is_shown_unless_another_is_asked_for() -> None:
    looking = look("red")
    seen(looking, generation("a red"), 0.1)
    probe = looking._probes[0][1]
    probe.at(0, 1, True, (8, 8))
    probe.add(LayerName("d", 0, 0), 0, 0, weights(0.3))
    looking.finish(P, result(1), [0])
    assert looking.as_dict()["shown"]["stage"] == "hires"
    means = [looking.as_dict(stage)["pictures"][0]["words"][0]["plain"]["mean"] for stage in ("first", "hires")]
    assert means == pytest.approx([0.1, 0.3])


@pytest.mark.parametrize("part", [{"stage": "third"}, {"steps": "second"}, {"layers": "x"}])
def test_a_part_that_there_is_not_is_refused_by_name(part: dict[str, str]) -> None:
    (value,) = part.values()
    with pytest.raises(SettingsError, match=f"got '{value}', allowed: "):
        look().as_dict(**part)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_attention_that_is_no_number_is_said_and_shown_as_0(value: float) -> None:
    looking, processed = look("red"), result(2)
    p = generation("a red", "red")
    seen(looking, p, value)
    looking.finish(P, processed, [0, 1])
    assert "was not a number (NaN) somewhere: it is shown as 0" in looking.notice
    assert len(processed.images) == 4
    told = looking.as_dict()
    json.dumps(told, allow_nan=False)
    assert told["pictures"][0]["words"][0]["plain"]["mean"] == 0.0


def test_a_picture_whose_prompt_has_none_of_the_words_gets_no_sheet() -> None:
    looking, processed = look("red"), result(2)
    seen(looking, generation("a red", "a circle"))
    looking.finish(P, processed, [0, 1])
    assert processed.infotexts == ["text 0", "text 1", "text 0"] and len(processed.images) == 3


def test_what_was_seen_holds_neither_the_generation_nor_its_model() -> None:
    looking, p = look("red"), Generation(**vars(generation("a red")))
    p.sd_model = Generation(cond_stage_model=Engine())
    seen(looking, p)
    kept = weakref.ref(p), weakref.ref(p.sd_model.cond_stage_model)
    looking._probes[0][1].forget()
    looking.finish(P, result(1), [0])
    del p
    gc.collect()
    assert [each() for each in kept] == [None, None]
    assert looking.as_dict()["pictures"][0]["words"][0]["plain"]["mean"] == pytest.approx(0.1)


def test_nothing_seen_is_said() -> None:
    looking = look("red")
    looking.begin_batch(generation("a red"))
    processed = result(1)
    looking.finish(P, processed, [0])
    assert "no blended attention of the prompt was seen" in looking.notice
    assert len(processed.images) == 1 and looking.as_dict()["pictures"][0]["words"] == []


def test_colours_get_lighter_with_the_weight_and_below_0_is_0() -> None:
    part = np.linspace(-0.5, 1, 31, dtype=np.float32)[None]
    image = np.asarray(heat.rgba(part, 1.0)).astype(float)
    light = image[0, :, :3] @ (0.299, 0.587, 0.114)
    assert (np.diff(light[part[0] >= 0]) > 0).all() and (np.diff(image[0, part[0] >= 0, 3]) >= 0).all()
    assert (image[0, part[0] < 0] == image[0, 10]).all()


def test_both_maps_are_on_one_scale_unless_each_is_to_have_its_own() -> None:
    maps = np.stack([np.full((2, 2), 0.1), np.full((2, 2), 0.4)]).astype(np.float32)
    one, own = heat.pair(maps), heat.pair(maps, own_scale=True)
    assert [one[half]["most"] for half in ("plain", "pladis")] == pytest.approx([0.4, 0.4])
    assert [own[half]["most"] for half in ("plain", "pladis")] == pytest.approx([0.1, 0.4])
    assert one["plain"]["image"] != one["pladis"]["image"] and own["plain"]["image"] == own["pladis"]["image"]
    picture = Image.open(io.BytesIO(base64.b64decode(one["plain"]["image"].split(",")[1])))
    assert picture.size == (2, 2) and picture.mode == "RGBA"


def test_a_sheet_takes_any_word() -> None:
    picture = Image.new("RGB", (60, 90), "white")
    sheet = heat.sheet(picture, ["赤い", "λ", "c"], np.ones((2, 3, 4, 4)), np.array([1, 1, 0]), WHOLE.box)
    width = round(heat.TILE * 60 / 90)
    assert sheet.size == (2 * width + 4, heat.BAR + 2 * (heat.TILE + heat.BAR)), (
        "what it is, and two words, plain and PLADIS beside each other"
    )
    assert sheet.crop((0, 0, sheet.width, heat.BAR)).convert("L").getextrema()[0] < 128, "its head is written"
