"""Settings that follow the checkpoint, on the installed gradio."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pages import NEVER, SOON, choose, expect_text, expect_value, open_part, write
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
    load(page, OTHER)
    write(page, "scale", "1")
    yield page
    load(page, CHECKPOINT)


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
    box = page.locator("#setting_sd_model_checkpoint input")
    settled(page)
    box.fill(checkpoint)
    box.blur()
    name = checkpoint.split("/")[-1].split(".")[0]
    page.wait_for_selector(f'#pladis_txt2img_suggestion[data-checkpoint="{name}"]', timeout=SOON)


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


@pytest.mark.parametrize("how", ["by hand", "by a paste", "by a preset"])
def test_what_is_set_after_the_choice_stays(page: Any, how: str) -> None:
    box = page.locator("#setting_sd_model_checkpoint input")
    settled(page)
    box.fill(CHECKPOINT)  # the answer comes after what is set now
    if how == "by hand":
        write(page, "scale", "0.25")
    elif how == "by a paste":
        page.click("#txt2img_paste_plain")
    else:
        choose(page, "Few steps")
    page.wait_for_selector('#pladis_txt2img_suggestion[data-checkpoint="random-sdxl"]', timeout=SOON)
    page.wait_for_timeout(NEVER)
    expect_value(page, "scale", {"by hand": "0.25", "by a paste": "1.25", "by a preset": "1"}[how])


def test_a_paste_that_brings_its_checkpoint_stays(page: Any) -> None:
    settled(page)
    page.click("#txt2img_paste_plain")
    expect_value(page, "scale", "1.25")
    box = page.locator("#setting_sd_model_checkpoint input")
    box.fill(CHECKPOINT)
    box.blur()
    page.wait_for_selector('#pladis_txt2img_suggestion[data-checkpoint="random-sdxl"]', timeout=SOON)
    page.wait_for_timeout(NEVER)
    expect_value(page, "scale", "1.25")


def test_a_new_page_sets_nothing(page: Any, open_page: Any) -> None:
    load(page, CHECKPOINT)
    expect_value(page, "scale", "3.5")
    page.reload()
    expect_text(page, "suggestion", "SDXL")
    page.wait_for_timeout(NEVER)
    expect_value(page, "scale", "2")
