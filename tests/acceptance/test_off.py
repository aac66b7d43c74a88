"""Off is off, bad input is refused by name, and nothing outlives an interrupted generation."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from lib_pladis.settings import TABLE
from playground.client import Refused
from tests.acceptance.webui import WebUI


@pytest.mark.parametrize(
    "args",
    [
        None,
        [],
        [False, 2.0, 1.5],
        [True, 0.0],
        [True, 2.0, 1.0],
        {"enabled": True, "start": 0.5, "end": 0.5},
        {"enabled": True, "start": 0.9},  # no step of four begins after 0.9
        {"enabled": True, "schedule": "cosine", "scale": 0.0},
    ],
    ids=str,
)
def test_off_is_the_hosts_picture_bit_for_bit(ui: WebUI, off: Any, args: Any) -> None:
    ui.txt2img([True])
    again = ui.txt2img(args)
    assert again.pixels == off.pixels
    assert "PLADIS" not in again.infotext
    assert all(each["calls_seen"] == 0 for each in again.passes)


def test_on_is_repeatable(ui: WebUI) -> None:
    assert ui.txt2img([True]).pixels == ui.txt2img([True]).pixels


BAD = [
    ([True, "abc"], "Scale (λ)", "'abc'", "0 to 5"),
    ([True, 5.5], "Scale (λ)", "5.5", "0 to 5"),
    ([True, 2.0, 3], "Sparsity (α)", "3", "1 to 2"),
    ([True, 2.0, True], "Sparsity (α)", "True", "1 to 2"),
    ([True, "NaN"], "Scale (λ)", "'NaN'", "0 to 5"),
    (["yes"], "PLADIS", "'yes'", "true or false"),
    ({"enabled": True, "layers": "x9"}, "Layers", "'x9'", "d0-d3,m0,u2.1"),
    ({"enabled": True, "layers": "d99"}, "Layers", "'d99'", "it has {first}"),
    ({"enabled": True, "layers": 5}, "Layers", "5", "d0-d3"),
    ({"enabled": True, "schedule": "sine"}, "λ schedule", "'sine'", "'cosine'"),
    ({"enabled": True, "target": []}, "Apply to", "[]", "'positive'"),
    ({"enabled": True, "temperature": 0}, "Sparse temperature", "0", "0.1 to 2"),
    ({"enabled": True, "lambda": 2.0}, "unknown setting", "'lambda'", "scale"),
    (
        [True, *(setting.default for setting in list(TABLE.values())[1:]), "more"],
        f"{len(TABLE) + 1} arguments",
        str(len(TABLE)),
        f"at most {len(TABLE)}",
    ),
]


@pytest.mark.parametrize(("args", "what", "got", "allowed"), BAD, ids=[str(row[0]) for row in BAD])
def test_bad_input_is_refused_by_name(ui: WebUI, off: Any, args: Any, what: Any, got: Any, allowed: Any) -> None:
    first = ui.layers[0]  # draws a picture when it is asked for first, and the report is the last one's
    with pytest.raises(Refused) as refused:
        ui.txt2img(args)
    assert refused.value.status == 422
    message = refused.value.body["detail"]
    assert what in message and got in message and allowed.format(first=first) in message
    assert ui.txt2img([False]).pixels == off.pixels


def test_bad_input_in_img2img(ui: WebUI, off: Any) -> None:
    with pytest.raises(Refused) as refused:
        ui.img2img([True, "abc"], init_images=[off.images[0]])
    assert refused.value.status == 422 and "Scale (λ)" in refused.value.body["detail"]


def test_nan_in_json_is_refused(ui: WebUI) -> None:
    with pytest.raises(Refused) as refused:
        ui.txt2img([True, float("nan")])
    assert refused.value.status == 422


def test_an_unknown_script_is_the_hosts_own_error(ui: WebUI) -> None:
    with pytest.raises(Refused) as refused:
        ui.request("/sdapi/v1/txt2img", {"alwayson_scripts": {"PLADIS2": {"args": []}}})
    assert refused.value.status == 422


def test_interrupt_leaves_nothing(ui: WebUI, off: Any) -> None:
    answer: dict[str, Any] = {}
    thread = threading.Thread(target=lambda: answer.update(on=ui.txt2img([True], steps=100)))
    thread.start()
    for _ in range(600):
        time.sleep(0.05)
        if ui.request("/sdapi/v1/progress?skip_current_image=true")["state"]["sampling_step"] >= 2:
            break
    ui.request("/sdapi/v1/interrupt", {})
    thread.join(300)
    (only,) = answer["on"].passes
    assert 0 < only["steps"] < 100, "it was interrupted in the middle"
    assert ui.txt2img([False]).pixels == off.pixels
