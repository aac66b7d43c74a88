"""Look inside: heat maps beside the pictures, which stay as they are, and what the route tells of them."""

from __future__ import annotations

import base64
import io
from typing import Any

import pytest
from PIL import Image

from lib_pladis.run.probe import KINDS, STEPS
from playground.client import Refused
from tests.acceptance.webui import LONG, Picture, WebUI, decode, encode
from tests.acceptance.xyz import grid

LOOK = {"scale": 2.0, "look": True}


def words(look: dict[str, Any], picture: int = 0) -> dict[str, Any]:
    return {each["word"]: each for each in look["pictures"][picture]["words"]}


def shown(url: str) -> Any:
    """The picture behind a data URL."""
    kind, data = url.split(",")
    assert kind == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def without_infotext(picture: Picture, place: int) -> bool:
    png: Any = Image.open(io.BytesIO(base64.b64decode(picture.images[place].split(",")[-1])))
    return "parameters" not in png.text


def test_the_picture_is_the_same_and_a_sheet_follows_it(ui: WebUI) -> None:
    on, seen = ui.txt2img([True]), ui.txt2img(LOOK)
    assert len(seen.images) == 2 and seen.pixels[0] == on.pixels[0]
    assert seen.info["infotexts"] == on.info["infotexts"] * 2, "PNG info says nothing of a look"
    assert without_infotext(seen, 1) and not without_infotext(seen, 0)
    assert "look inside took" in seen.report["look"]
    assert seen.passes == on.passes, "and nothing else differs"
    look = ui.look()
    assert look["words"] == ["red", "circle", "left", "blue", "square"] and look["problems"] == []
    assert [each["image"] for each in look["pictures"]] == [0]
    for each in words(look).values():
        for half in ("plain", "pladis"):
            picture = shown(each[half]["image"])
            assert picture.mode == "RGBA" and max(picture.size) <= 64
        assert each["plain"]["most"] == each["pladis"]["most"] >= each["plain"]["mean"] > 0


def test_the_table_adds_up(ui: WebUI) -> None:
    on = ui.txt2img(LOOK)
    table = ui.look()["table"]
    assert [row["layer"] for row in table] == on.passes[0]["layers_hooked"]
    for row in table:
        assert row["calls"] == ui.steps
        for half in ("plain", "pladis"):
            assert list(row[half]) == list(KINDS)
            whole = sum(row[half].values())
            assert whole == pytest.approx(1, abs=1e-3) if ui.unet else 0 < whole <= 1, "of a transformer's row, a part"
        assert 1 <= row["keys_kept"] <= row["keys"]
        assert row["keys"] == 77 or not ui.unet
        assert 0 <= row["entropy_sparse"] < row["entropy_plain"] <= 4.35  # ln 77 = 4.34


def test_parts_of_it(ui: WebUI) -> None:
    ui.txt2img(LOOK, steps=6)
    whole = ui.look()
    sides = whole["layers"][1:]
    assert {name[0] for name in ui.layers} == set(sides) and whole["steps"] == ["all", *STEPS]
    calls = [sum(row["calls"] for row in ui.look(steps=third)["table"]) for third in STEPS]
    assert calls == [2 * len(whole["table"])] * 3
    rows = [row["layer"] for side in sides for row in ui.look(layers=side)["table"]]
    assert rows == [row["layer"] for row in whole["table"]]
    assert len({words(ui.look(layers=side))["red"]["plain"]["image"] for side in sides}) == len(sides)
    own = words(ui.look(own_scale="true"))["red"]
    assert own["plain"]["most"] != own["pladis"]["most"]
    for part in ({"steps": "second"}, {"layers": "x"}, {"stage": "hires"}):
        with pytest.raises(Refused) as refused:
            ui.look(**part)
        assert refused.value.status == 422 and "allowed: " in refused.value.body["detail"]


def test_words_that_are_named(ui: WebUI) -> None:
    seen = ui.txt2img({**LOOK, "look_words": "blue square, Red, green, #0"})
    look = ui.look()
    assert look["words"] == ["blue square", "Red", "#0"]
    assert look["problems"] == ['"green" is not in the prompt']
    assert "green" not in str(seen.report), "which everybody may read: words are for whom they are of"
    both = words(look)["blue square"]["plain"]["mean"]
    ui.txt2img({**LOOK, "look_words": "blue,square"})
    apart = words(ui.look())
    assert both == pytest.approx(sum(apart[word]["plain"]["mean"] for word in ("blue", "square")), rel=1e-4)


def test_emphasis_break_and_long_prompts(ui: WebUI) -> None:
    ui.txt2img({**LOOK, "look_words": "red,blue"}, prompt="a (red:1.3) circle BREAK a blue square")
    look = ui.look()
    assert set(words(look)) == {"red", "blue"}
    assert {row["keys"] for row in look["table"]} == {154} or not ui.unet
    ui.txt2img({**LOOK, "look_words": "star,light"}, prompt=LONG)
    look = ui.look()
    assert set(words(look)) == {"star", "light"}
    assert {row["keys"] for row in look["table"]} == {154} or not ui.unet
    ui.txt2img(LOOK, prompt=LONG)
    assert len(ui.look()["words"]) == 12, "once each"


def test_a_negative_of_another_length(ui: WebUI) -> None:
    ui.txt2img({**LOOK, "look_words": "red"})
    own = {row["keys"] for row in ui.look()["table"]}
    assert own == {77} or not ui.unet
    ui.txt2img({**LOOK, "look_words": "red"}, negative_prompt=LONG)
    assert {row["keys"] for row in ui.look()["table"]} == own, "the prompt's own keys"


def test_words_of_prompts_with_and(ui: WebUI) -> None:
    """Each word is looked for where its part of the prompt is: alone, that part is blended as it is here."""
    names = {**LOOK, "look_words": "red,green"}
    ui.txt2img(names, prompt="a red circle AND a green star", steps=1)
    both = words(ui.look())
    for prompt, word in (("a red circle", "red"), ("a green star", "green")):
        ui.txt2img({**LOOK, "look_words": word}, prompt=prompt, steps=1)
        alone = words(ui.look())[word]
        assert both[word]["plain"]["mean"] == pytest.approx(alone["plain"]["mean"], rel=1e-3)


def test_every_picture_of_batches_has_its_own(ui: WebUI) -> None:
    seen = ui.txt2img(LOOK, batch_size=2, n_iter=2)
    first = len(seen.images) - 8  # of a host that puts a grid before them
    look = ui.look()
    assert [each["image"] for each in look["pictures"]] == [first + i for i in range(4)]
    means = [words(look, number)["red"]["plain"]["mean"] for number in range(4)]
    assert len(set(means)) == 4
    for number in (1, 2):
        ui.txt2img(LOOK, seed=7 + number)
        assert words(ui.look())["red"]["plain"]["mean"] == pytest.approx(means[number], rel=1e-3)


def test_hires_fix_has_both_passes(ui: WebUI) -> None:
    ui.txt2img(LOOK, **ui.hires)
    look = ui.look()
    assert look["stages"] == ["first", "hires"] and look["shown"]["stage"] == "hires"
    first = ui.look(stage="first")
    sizes = [shown(words(each)["red"]["plain"]["image"]).size for each in (first, look)]
    assert sizes[1][0] == min(64, sizes[0][0] * ui.hires["hr_scale"])
    assert [row["calls"] for row in look["table"]] == [3] * len(look["table"])


def test_img2img_with_compare(ui: WebUI, off: Any) -> None:
    fields = {"init_images": [off.images[0]], "denoising_strength": 0.5}
    seen = ui.img2img({**LOOK, "compare": True}, **fields)
    assert seen.report["pairs"] == [[0, 1]] and len(seen.images) == 3
    assert [each["image"] for each in ui.look()["pictures"]] == [0]
    assert seen.pixels[1] == ui.img2img([False], **fields).pixels[0]


def test_maps_of_a_crop_lie_where_it_lay(ui: WebUI, off: Picture) -> None:
    """Inpaint, "Only masked": the maps are of the crop, as its own picture's would be, over its part of the picture."""
    if ui.kind == "playground":
        pytest.skip("it inpaints whole pictures only")
    source = decode(off.images[0]).resize((2 * ui.size, 2 * ui.size))
    mask = Image.new("L", source.size)
    mask.paste(255, (ui.size, ui.size // 2, 2 * ui.size, ui.size + ui.size // 2))
    fields = {"init_images": [encode(source)], "mask": encode(mask), "inpainting_fill": 1, "denoising_strength": 0.5}
    seen = ui.img2img(LOOK, inpaint_full_res=True, inpaint_full_res_padding=0, mask_blur=0, **fields)
    (picture,) = ui.look()["pictures"]
    assert picture["size"] == [2 * ui.size] * 2 and picture["box"] == [0.5, 0.25, 0.5, 0.5]
    ((place, sheet, _, _),) = seen.beside["looks"]
    tile = decode(seen.images[sheet]).crop((0, 44, 224, 268))  # of the first word, plain: below two bars
    assert place == 0 and tile.crop((0, 0, 112, 224)).convert("HSV").split()[1].getextrema() == (0, 0), "grey"
    assert tile.crop((112, 56, 224, 168)).convert("HSV").split()[1].getextrema()[0] > 0, "coloured"
    assert ui.img2img(LOOK, inpaint_full_res=False, mask_blur=0, **fields).beside["looks"]
    assert ui.look()["pictures"][0]["box"] == [0, 0, 1, 1]


def test_only_what_is_blended_is_looked_at(ui: WebUI) -> None:
    ui.txt2img({**LOOK, "target": "positive", "layers": ui.layers[-1]})
    assert [row["layer"] for row in ui.look()["table"]] == ui.layers[-1:]
    seen = ui.txt2img({**LOOK, "target": "negative"})
    assert ui.look()["table"] == [] and ui.look()["problems"] == ["no blended attention of the prompt was seen"]
    assert len(seen.images) == 1


@pytest.mark.parametrize("args", [{"enabled": False}, {"scale": 0.0}, {"look": False}], ids=str)
def test_without_it_there_is_nothing(ui: WebUI, args: Any) -> None:
    seen = ui.txt2img({**LOOK, **args})
    assert len(seen.images) == 1 and seen.report["look"] == "" and seen.beside["looks"] == []


def test_a_look_answers_whom_its_pictures_were_sent(ui: WebUI) -> None:
    """One by its name, also when others have drawn since; no name, or a guessed one, gets nothing of anybody's."""
    first = ui.txt2img({**LOOK, "look_words": "red"})
    for name in ("first", first.beside["looks"][0][2][:-1]):
        with pytest.raises(Refused) as refused:
            ui.request(f"/pladis/v1/look?name={name}")
        assert refused.value.status == 422 and "info" in refused.value.body["detail"]
    ui.txt2img({**LOOK, "look_words": "blue"})
    assert ui.look()["words"] == ["blue"]
    ui.last = first
    assert ui.look()["words"] == ["red"]


def test_xyz_plots_are_left_alone(ui: WebUI) -> None:
    axis = ("[PLADIS] Scale", "1,3")
    alone, seen = grid(ui, axis, args={"scale": 2.0}), grid(ui, axis, args=LOOK)
    assert seen.pixels == alone.pixels and "script" in seen.report["look"]
