"""Compare: the plain picture of the same seed, made and saved by the host, beside each one that PLADIS changed."""

from __future__ import annotations

import base64
import io
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.acceptance.webui import Picture, WebUI, decode, encode
from tests.acceptance.xyz import grid

COMPARE = {"scale": 3.0, "compare": True}


def png_parameters(image: str) -> str:
    png: Any = Image.open(io.BytesIO(base64.b64decode(image.split(",")[-1])))
    return str(png.text.get("parameters", ""))


def check_pairs(both: Picture, on: Picture, off: Picture, first: int = 0) -> None:
    """`both` has the pictures of `on` and then those of `off`, each with what is true of it in its PNG."""
    count = len(on.images) - first
    assert both.report["why_not_compared"] == ""
    assert both.report["pairs"] == [[first + i, first + count + i] for i in range(count)]
    assert len(both.images) == len(both.info["infotexts"]) == first + 2 * count
    for i, pair in enumerate(both.report["pairs"]):
        for place, alone in zip(pair, (on, off)):
            assert both.pixels[place] == alone.pixels[first + i]
            assert png_parameters(both.images[place]) == both.info["infotexts"][place]
            assert both.info["infotexts"][place] == alone.info["infotexts"][first + i]
        assert "PLADIS scale: 3" in both.info["infotexts"][pair[0]]
        assert "PLADIS" not in both.info["infotexts"][pair[1]]


def test_both_pictures_with_their_own_parameters(ui: WebUI) -> None:
    check_pairs(ui.txt2img(COMPARE), ui.txt2img({"scale": 3.0}), ui.txt2img([False]))


def test_a_seed_that_the_host_chose_is_the_same_in_both(ui: WebUI) -> None:
    both = ui.txt2img(COMPARE, seed=-1)
    seed = both.info["all_seeds"][0]
    assert both.info["all_seeds"] == [seed, seed]
    assert both.pixels[1] == ui.txt2img([False], seed=seed).pixels[0]


def test_batches(ui: WebUI) -> None:
    fields = {"batch_size": 2, "n_iter": 2}
    both = ui.txt2img(COMPARE, **fields)
    check_pairs(both, ui.txt2img({"scale": 3.0}, **fields), ui.txt2img([False], **fields))
    assert both.info["all_seeds"] == [7, 8, 9, 10] * 2


def test_hires_fix(ui: WebUI) -> None:
    both = ui.txt2img(COMPARE, **ui.hires)
    check_pairs(both, ui.txt2img({"scale": 3.0}, **ui.hires), ui.txt2img([False], **ui.hires))
    assert [each["stage"] for each in both.passes] == ["first", "hires"], "the plain half has no pass of ours"


def test_img2img_with_a_mask(ui: WebUI) -> None:
    source = decode(ui.txt2img([False]).images[0])
    mask = Image.new("L", source.size)
    mask.paste(255, (0, 0, ui.size // 2, ui.size))
    fields = {"init_images": [encode(source)], "mask": encode(mask), "denoising_strength": 0.9, "mask_blur": 0}

    def made(args: Any) -> Picture:
        ui.txt2img([False], seed=1)  # hosts encode with noise that no seed but the one before it sets
        return ui.img2img(args, inpainting_fill=1, **fields)

    check_pairs(made(COMPARE), made({"scale": 3.0}), made([False]))


def test_a_batch_in_img2img(ui: WebUI) -> None:
    source = encode(decode(ui.txt2img([False]).images[0]))
    fields = {"init_images": [source], "denoising_strength": 0.9, "batch_size": 2, "n_iter": 2}
    ui.img2img([False], **fields)  # Forge's first one after txt2img differs from all others
    both = ui.img2img(COMPARE, **fields)
    check_pairs(both, ui.img2img({"scale": 3.0}, **fields), ui.img2img([False], **fields))
    assert both.info["all_seeds"] == [7, 8, 9, 10] * 2


@pytest.mark.parametrize("tab", ["txt2img", "img2img"])
def test_both_files_are_saved_and_say_what_was_done(ui: WebUI, tmp_path: Path, tab: str) -> None:
    if not ui.url.startswith(("http://127.0.0.1", "http://localhost")):
        pytest.skip(f"{ui.url} saves its pictures on another machine")
    fields: dict[str, Any] = {"batch_size": 2}
    if tab == "img2img":
        fields["init_images"] = [encode(decode(ui.txt2img([False]).images[0]))]
    wanted = {"samples_save": True, f"outdir_{tab}_samples": str(tmp_path), "samples_format": "png"}
    for option, value in {**wanted, "return_grid": False, "grid_save": False}.items():
        if option in ui.options:
            ui.set_option(option, value)
    both = getattr(ui, tab)(COMPARE, save_images=True, **fields)
    assert len(both.images) == 4 and both.report["pairs"] == [[0, 2], [1, 3]]
    saved = {}
    for path in tmp_path.rglob("*.png"):
        with Image.open(path) as picture:
            saved[picture.info["parameters"]] = picture.convert("RGB").tobytes()
    assert saved == dict(zip(both.info["infotexts"], both.pixels)), sorted(tmp_path.rglob("*"))
    assert ["PLADIS scale: 3" in text for text in both.info["infotexts"]] == [True, True, False, False]


def test_the_next_generation_is_as_if_nothing_had_been_compared(ui: WebUI, off: Any) -> None:
    ui.txt2img(COMPARE)
    again = ui.txt2img([False])
    assert again.pixels == off.pixels and again.report["pairs"] == []
    on = ui.txt2img({"scale": 3.0})
    assert len(on.images) == 1 and on.report["pairs"] == [] and on.report["why_not_compared"] == ""


@pytest.mark.parametrize("args", [{"enabled": False}, {"scale": 0.0}, {"scale": 2.0, "start": 0.9}], ids=str)
def test_nothing_is_compared_where_nothing_differs(ui: WebUI, off: Any, args: Any) -> None:
    picture = ui.txt2img({**args, "compare": True})
    assert picture.pixels == off.pixels
    assert picture.report["pairs"] == []


def test_xyz_plots_are_left_alone(ui: WebUI) -> None:
    axis = ("[PLADIS] Scale", "1,3")
    alone, with_compare = grid(ui, axis, args={"scale": 2.0}), grid(ui, axis, args={"scale": 2.0, "compare": True})
    assert with_compare.pixels == alone.pixels
    assert "script" in with_compare.report["why_not_compared"]


def during(ui: WebUI, path: str, fields: dict[str, Any], until: Any) -> Picture:
    """A comparison, with a request to `path` as soon as `until(progress)`."""
    made: list[Picture] = []
    thread = threading.Thread(target=lambda: made.append(ui.txt2img(COMPARE, **fields)))
    thread.start()
    while thread.is_alive() and not until(ui.request("/sdapi/v1/progress?skip_current_image=true")):
        time.sleep(0.02)
    ui.request(path, {})
    thread.join()
    return made[0]


def running(progress: Any) -> bool:
    return progress["state"]["sampling_step"] > 2


@pytest.mark.parametrize("what", ["interrupt", "skip"])
def test_a_picture_that_was_stopped_is_not_compared(ui: WebUI, what: str) -> None:
    stopped = during(ui, f"/sdapi/v1/{what}", {"steps": 100}, running)
    assert len(stopped.images) <= 1 and stopped.report["pairs"] == []
    assert "stopped" in stopped.report["why_not_compared"] and "stopped" in stopped.info.get("comments", "stopped")


@pytest.mark.parametrize("what", ["interrupt", "skip"])
def test_a_plain_picture_that_was_stopped_is_not_shown(ui: WebUI, what: str) -> None:
    def in_the_second_half(progress: Any) -> bool:
        return progress["state"]["job_no"] >= 1 and running(progress)

    stopped = during(ui, f"/sdapi/v1/{what}", {"steps": 60}, in_the_second_half)
    assert stopped.pixels == ui.txt2img({"scale": 3.0}, steps=60).pixels
    assert stopped.report["pairs"] == [] and "stopped" in stopped.report["why_not_compared"]
