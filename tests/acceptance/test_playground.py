"""What only the playground does: it knows which words its model knows, and has more of AUTOMATIC1111's samplers."""

from __future__ import annotations

import pytest

from lib_pladis.presets import BUILT_IN
from lib_pladis.settings import TABLE
from playground import server
from tests.acceptance.webui import Refused, WebUI


@pytest.fixture
def playground(ui: WebUI) -> WebUI:
    if ui.kind != "playground":
        pytest.skip(f"this is {ui.kind}")
    return ui


@pytest.mark.parametrize(
    ("prompt", "named"),
    [
        ("a cat", ["cat"]),
        ("A Cat left of a (castle:1.2) AND a [red] zebra :0.5 BREAK a ring", ["cat", "castle", "zebra"]),
        ("a red circle left of a blue square", []),
        ("a photo of a green cross, a pink star and an orange triangle in a row, on a plain background", []),
        ("on the left a (black:1.1) ring AND a yellow star in the top left corner BREAK there is a cross", []),
    ],
)
def test_words_that_the_model_never_learnt_are_named(playground: WebUI, prompt: str, named: list[str]) -> None:
    comments = playground.txt2img(None, prompt=prompt, steps=1).info["comments"]
    assert [f"“{word}”" in comments for word in named] == [True] * len(named)
    assert comments.count("“") == len(named)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"args": {"0": 1}}, '"args" is not a list'),
        ({"args": None}, '"args" is missing'),
        ({}, '"args" is missing'),
        ([True], '"args" is missing'),
    ],
)
def test_arguments_that_are_no_list_are_refused(playground: WebUI, given: object, message: str) -> None:
    with pytest.raises(Refused) as refused:
        playground.request("/sdapi/v1/txt2img", {"steps": 1, "alwayson_scripts": {"Known words": given}})
    assert refused.value.status == 422
    assert message in refused.value.body["detail"] and "allowed: " in refused.value.body["detail"]


@pytest.mark.parametrize("sampler", ["DPM++ SDE", "DPM++ 2S a", "Euler a", "LMS", "DPM2", "DDIM"])
def test_a_picture_is_the_same_alone_and_in_a_batch(playground: WebUI, sampler: str) -> None:
    two = playground.txt2img([False], sampler_name=sampler, batch_size=2).pixels
    alone = playground.txt2img([False], sampler_name=sampler, seed=8).pixels[0]
    assert len(two) == 2 and max(abs(a - b) for a, b in zip(two[1], alone)) <= 1, "rounding of the batch at most"
    assert two[0] != two[1]


def test_its_page_begins_where_its_model_was_measured_to_gain_and_the_api_does_not(playground: WebUI) -> None:
    process, url = server.start("--ui-config-file", str(server.RUN.parent / "host" / "ui-config.json"))
    try:
        server.wait(process, url)
        own = WebUI(url)
        for panel in own.request("/sdapi/v1/script-info"):
            if panel["name"] == "pladis":
                shown = {control["label"]: control["value"] for control in panel["args"]}
                for name, value in BUILT_IN["No guidance"].sets.items():
                    assert shown[TABLE[name].label] == value, name
        page = {one["props"].get("elem_id"): one["props"].get("value") for one in own.request("/config")["components"]}
        for tab in ("txt2img", "img2img"):
            assert (page[f"{tab}_cfg_scale"], page[f"{tab}_steps"]) == (1.0, 10)
        image = own.txt2img([True], steps=1)
        assert "PLADIS scale: 2" in image.infotext
    finally:
        server.stop(process)
