"""Settings that follow the checkpoint, on the installed gradio."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pages import NEVER, SOON, expect_text, expect_value, open_part, pick, write
from stand_in import CHECKPOINT

from lib_pladis.webui.own_presets import FILE, OwnPresets

OTHER = "other.safetensors"


@pytest.fixture
def own(data: Path) -> Iterator[OwnPresets]:
    yield OwnPresets(lambda: data / FILE)
    (data / FILE).unlink(missing_ok=True)


@pytest.fixture
def page(own: OwnPresets, open_page: Any) -> Iterator[Any]:
    """A page on which λ 3.5 was remembered for the checkpoint, which is then another, with λ 1."""
    page = open_page()
    expect_text(page, "suggestion", "SDXL")
    remember(page, "3.5")
    assert list(own.all()) == ["random-sdxl"]
    choose_checkpoint(page, OTHER)
    answered(page, OTHER)
    write(page, "scale", "1")
    yield page
    choose_checkpoint(page, CHECKPOINT)
    answered(page, CHECKPOINT)


def remember(page: Any, scale: str) -> None:
    write(page, "scale", scale)
    open_part(page, "mine", "preset_remember")
    page.click("#pladis_txt2img_preset_remember")
    expect_text(page, "preset_message", "Remembered for this checkpoint:")


def settled(page: Any) -> None:
    """Wait until the page knows what was set, and that it was long ago: else it counts as set with the checkpoint."""
    shown = "Number(document.querySelector('#pladis_txt2img_scale input[type=number]').value)"
    page.wait_for_function(f"Math.abs(pladis.values('txt2img').scale - {shown}) < 1e-9", timeout=SOON)
    page.wait_for_timeout(2_500)


def load(page: Any, checkpoint: str) -> None:
    """Choose a checkpoint, and wait for the panel's next answer about it."""
    settled(page)
    choose_checkpoint(page, checkpoint)
    answered(page, checkpoint)


def answered(page: Any, checkpoint: str) -> None:
    name = checkpoint.split("/")[-1].split(".")[0]
    page.wait_for_selector(f'#pladis_txt2img_suggestion[data-checkpoint="{name}"]', timeout=SOON)


def names(request: Any) -> str:
    """What gradio is asked for: "question" by the page, "SelectData" of a preset that was chosen in the list."""
    said = request.post_data or ""
    return said + ("SelectData" if '"event_data":{' in said.replace(" ", "") else "")


def choose_checkpoint(page: Any, checkpoint: str) -> None:
    """As in the web UI's list, which changes the page."""
    page.locator("#setting_sd_model_checkpoint input").fill(checkpoint)
    page.evaluate("document.body.append(document.createElement('p'))")


def test_choosing_a_checkpoint_sets_what_was_remembered_and_says_so(page: Any) -> None:
    load(page, CHECKPOINT)
    expect_value(page, "scale", "3.5")
    expect_text(page, "enabled", "as remembered for this checkpoint")
    assert page.input_value("#pladis_txt2img_preset input") == "random-sdxl"
    write(page, "scale", "2")
    page.wait_for_function(
        "!document.querySelector('#pladis_txt2img_enabled').innerText.includes('as remembered')", timeout=SOON
    )


def test_a_checkpoint_for_which_nothing_was_remembered_changes_nothing(page: Any) -> None:
    load(page, "third.safetensors")
    page.wait_for_timeout(NEVER)
    expect_value(page, "scale", "1")


@pytest.mark.parametrize("how", ["by hand", "by a paste"])
def test_what_is_set_after_the_choice_stays(page: Any, how: str) -> None:
    settled(page)
    choose_checkpoint(page, CHECKPOINT)  # the answer comes after what is set now
    if how == "by hand":
        write(page, "scale", "0.25")
    else:
        page.click("#txt2img_paste_plain")
    answered(page, CHECKPOINT)
    page.wait_for_timeout(NEVER)
    expect_value(page, "scale", {"by hand": "0.25", "by a paste": "1.25"}[how])


def test_a_preset_chosen_after_the_checkpoint_stays_however_late_its_values_come(page: Any) -> None:
    held: dict[str, list[Any]] = {"question": [], "SelectData": []}

    def hold(route: Any) -> None:
        kind = next((kind for kind in held if kind in names(route.request)), None)
        held[kind].append(route) if kind else route.fallback()

    settled(page)
    page.route("**/*", hold)
    choose_checkpoint(page, CHECKPOINT)
    pick(page, "Few steps")
    page.wait_for_timeout(NEVER)
    for route in held.pop("question"):
        route.fallback()
    answered(page, CHECKPOINT)
    page.wait_for_timeout(NEVER)
    expect_value(page, "scale", "1")
    (choice,) = held.pop("SelectData")
    choice.fallback()
    expect_text(page, "preset_reason", "Few steps")
    page.wait_for_timeout(NEVER)
    expect_value(page, "scale", "1")


def test_what_was_typed_into_the_list_of_checkpoints_and_left_again_changes_nothing(page: Any) -> None:
    load(page, CHECKPOINT)
    expect_value(page, "scale", "3.5")
    write(page, "scale", "2")
    settled(page)
    shown = """value => {
        document.querySelector("#setting_sd_model_checkpoint input").value = value;
        document.body.append(document.createElement("p"));  // gradio's list changes the page
    }"""
    for text in ("ran", "", CHECKPOINT):
        page.evaluate(shown, text)
        page.wait_for_timeout(2 * NEVER)
    answered(page, CHECKPOINT)
    expect_value(page, "scale", "2")


def test_a_paste_that_brings_its_checkpoint_stays(page: Any) -> None:
    settled(page)
    page.click("#txt2img_paste_plain")
    expect_value(page, "scale", "1.25")
    choose_checkpoint(page, CHECKPOINT)
    answered(page, CHECKPOINT)
    page.wait_for_timeout(NEVER)
    expect_value(page, "scale", "1.25")


def test_a_new_page_sets_nothing(page: Any, open_page: Any) -> None:
    load(page, CHECKPOINT)
    expect_value(page, "scale", "3.5")
    page.reload()
    expect_text(page, "suggestion", "SDXL")
    page.wait_for_timeout(NEVER)
    expect_value(page, "scale", "2")
