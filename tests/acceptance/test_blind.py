"""Blind test over HTTP: the script by its name, its pictures, votes and results, and what a voter can't know."""

from __future__ import annotations

import base64
import io
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image

from tests.acceptance.webui import Picture, Refused, WebUI

LINES = "a red circle left of a blue square\na yellow star above a purple ring\nan orange star in the middle"
NAMES = ["PLADIS off", "Paper", "Tag-based"]
VOTES = "/pladis/v1/votes"


def draw(
    ui: WebUI, names: Any = NAMES, pictures: int = 1, test: str = "", lines: str = LINES, **fields: Any
) -> Picture:
    args = [names, "Lines of my own", lines, pictures, test]
    return ui.txt2img([False], **{"script_name": "Blind test", "script_args": args, "steps": 2, **fields})


def newest(ui: WebUI) -> dict[str, Any]:
    return ui.request(VOTES)["tests"][0]


def get(ui: WebUI, test: str, more: str = "") -> dict[str, Any]:
    return ui.request(f"{VOTES}?test={test}{more}")


def fetch(ui: WebUI, path: str) -> Any:
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(ui.url + path, timeout=60)


@pytest.fixture(scope="module")
def drawn(session_ui: WebUI) -> tuple[Picture, dict[str, Any]]:
    ui = session_ui
    picture = draw(ui)
    return picture, ui.request(f"{VOTES}/data?test={newest(ui)['id']}")


def test_each_picture_is_the_one_of_its_candidates_settings(ui: WebUI, drawn: Any) -> None:
    picture, data = drawn
    assert len(picture.images) == len(picture.info["infotexts"]) == 9
    assert [each["name"] for each in data["candidates"]] == NAMES and data["prompts"] == LINES.split("\n")
    settings = {"Paper": {"scale": 2.0}, "Tag-based": {"scale": 1.0, "alpha": 1.25}, "PLADIS off": {"enabled": False}}
    group = data["groups"][1]
    for name, text, pixels in list(zip(NAMES, group["infotexts"], picture.pixels[3:6])):
        alone = ui.txt2img(settings[name], prompt=data["prompts"][1], seed=group["seed"], steps=2)
        assert text == alone.infotext and pixels == alone.pixels[0]
    seeds = [each["seed"] for each in data["groups"]]
    assert len(set(seeds)) == 3 and picture.info["all_seeds"] == [seed for seed in seeds for _ in NAMES]
    assert data["cfg"] == 7
    assert data["checkpoint"]["hash"] == (picture.info["sd_model_hash"] or "")  # Forge Neo without hashes: null


def test_a_voter_sees_nothing_that_tells_whose_picture_it_is(ui: WebUI, drawn: Any) -> None:
    _, data = drawn
    id = data["id"]
    view = get(ui, id)
    assert view["results"] is None and view["pairs"] == 9 and view["prompt"] in data["prompts"]
    assert set(view) >= {"pair", "question"} and not {"left", "right", "settings", "infotexts", "groups"} & set(view)
    sides = Counter((pair["left"], pair["right"]) for pair in data["pairs"])
    assert all(abs(sides[one, other] - sides[other, one]) == 1 for one, other in sides), sides
    heads = []
    for side in ("left", "right") * 3:
        with fetch(ui, f"{VOTES}/picture?test={id}&pair={view['pair']}&side={side}") as answer:
            jpeg = answer.read()
            names = {name.lower() for name in answer.headers}
        heads.append(names)
        assert not {"last-modified", "etag", "content-disposition"} & names
        with Image.open(io.BytesIO(jpeg)) as picture:
            assert picture.format == "JPEG" and picture.size == (ui.size, ui.size)
            assert "parameters" not in picture.info and not picture.getexif() and b"PLADIS" not in jpeg
    assert all(each == heads[0] for each in heads)


def test_votes_results_and_more_pictures(ui: WebUI) -> None:
    draw(ui, ["PLADIS off", "Paper"])
    id = newest(ui)["id"]
    pairs = ui.request(f"{VOTES}/data?test={id}")["pairs"]
    view = get(ui, id)
    while view["pair"] is not None:
        for wrong in ({"pair": 99}, {"answer": "both"}, {"question": "why"}, {"test": "../x"}):
            with pytest.raises(Refused, match="422"):
                ui.request(VOTES, {"test": id, "pair": 0, "question": "follow", "answer": "left", **wrong})
        assert view["results"] is None
        answer = "left" if pairs[view["pair"]]["left"] == 1 else "right"
        view = ui.request(VOTES, {"test": id, "pair": view["pair"], "question": view["question"], "answer": answer})
    (row,) = view["results"]
    assert (row["name"], row["other"], row["wins"], row["votes"], row["share"]) == ("Paper", "PLADIS off", 3, 3, 1)
    assert row["more"] > 0 and not row["clear"]

    assert ui.request(VOTES, {"test": id, "undo": True})["judged"] == 2
    assert get(ui, id)["results"] is None and len(get(ui, id, "&result=true")["results"]) == 1
    assert get(ui, id)["looked"] == 2
    assert ui.request(VOTES, {"test": id, "keep": True})["judged"] == 0, "the second question is open"

    more = draw(ui, ["Steady"], 1, id, "")  # its own candidates and prompts
    data = ui.request(f"{VOTES}/data?test={id}")
    assert len(more.images) == 6 and len(data["groups"]) == 6 and len(data["votes"]) == 2
    assert len({(group["prompt"], group["seed"]) for group in data["groups"]}) == 6
    with pytest.raises(Refused, match="CFG"):
        draw(ui, test=id, cfg_scale=3)
    assert len(ui.request(f"{VOTES}/data?test={id}")["groups"]) == 6


def test_the_report_is_one_file_with_pictures_settings_and_votes(ui: WebUI, drawn: Any) -> None:
    _, data = drawn
    view = get(ui, data["id"])
    ui.request(VOTES, {"test": data["id"], "pair": view["pair"], "question": "follow", "answer": "alike"})
    with fetch(ui, f"{VOTES}/report?test={data['id']}") as answer:
        page = answer.read().decode()
    assert page.count("data:image/jpeg;base64,") == 9 and 'src="http' not in page and "<script" not in page
    first = page.split("data:image/jpeg;base64,")[1].split('"')[0]
    assert Image.open(io.BytesIO(base64.b64decode(first))).size == (ui.size, ui.size)
    assert all(text in page for text in (*NAMES, *data["prompts"], "or ", "alike", "PLADIS scale: 2"))


@pytest.mark.parametrize(
    "args, said",
    [
        (["PLADIS off"], "got 1 candidates"),
        (["PLADIS off", "Paper", "Steady", "Tag-based", "Official code"], "got 5 candidates"),
        (["PLADIS off", "Nobody's"], "no longer exists"),
        (["Paper", "Paper"], "the same"),
        (["Paper", "The panel's settings"], "the same"),
        ([1, 2], "a list of names"),
    ],
)
def test_candidates_that_are_none(ui: WebUI, args: Any, said: str) -> None:
    with pytest.raises(Refused, match=said):
        draw(ui, args)


@pytest.mark.parametrize("more", [{"pictures": 51}, {"pictures": 0}, {"test": "20200101-000000-0000"}, {"lines": " "},
                                  {"pictures": 50, "lines": "\n".join(map(str, range(100)))}])  # fmt: skip
def test_numbers_are_bounded_before_anything_is_drawn(ui: WebUI, more: Any) -> None:
    before = ui.request(VOTES)["tests"]
    with pytest.raises(Refused, match="Blind test: "):
        draw(ui, **more)
    assert ui.request(VOTES)["tests"] == before


@pytest.fixture
def interrupted(ui: WebUI) -> Iterator[Picture]:
    made: list[Picture] = []
    thread = threading.Thread(target=lambda: made.append(draw(ui, ["PLADIS off", "Paper"], steps=30)))
    thread.start()
    while thread.is_alive():
        if ui.request("/sdapi/v1/progress?skip_current_image=true")["state"]["job_no"] >= 3:
            ui.request("/sdapi/v1/interrupt", {})
            break
        time.sleep(0.02)
    thread.join()
    yield made[0]


def test_interrupt_keeps_what_there_is_and_the_rest_is_drawn_later(ui: WebUI, interrupted: Picture) -> None:
    test = newest(ui)
    assert len(interrupted.images) == 2 * test["pairs"] and 1 <= test["pairs"] < 3, "whole pairs only"
    assert test["left_to_draw"] == 3 - test["pairs"]
    draw(ui, pictures=1, test=test["id"], steps=30)
    assert newest(ui)["pairs"] == 3 and newest(ui)["left_to_draw"] == 0
