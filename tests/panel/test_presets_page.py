"""Presets as a person uses them in the page, on the installed gradio: choosing, keeping, sharing, the suggestion."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pages import NEVER, SOON, choose, expect_text, expect_value, listed, open_part, write

from lib_pladis.presets import BUILT_IN, Preset
from lib_pladis.webui.own_presets import FILE, OwnPresets


@pytest.fixture
def own(data: Path) -> Iterator[OwnPresets]:
    """What the page's server keeps; empty before and after."""
    for file in data.glob("*pladis-presets*"):
        file.unlink()
    yield OwnPresets(lambda: data / FILE)
    for file in data.glob("*pladis-presets*"):
        file.unlink()


@pytest.fixture
def page(own: OwnPresets, open_page: Any) -> Any:
    opened = open_page()
    expect_text(opened, "suggestion", "SDXL")
    return opened


def keep(page: Any, name: str, button: str = "save", tab: str = "txt2img") -> None:
    open_part(page, "mine", "preset_name", tab)
    write(page, "preset_name", name, tab)
    page.click(f"#pladis_{tab}_preset_{button}")


def shared(page: Any) -> str:
    return page.input_value("#pladis_txt2img_preset_text textarea")


def until(page: Any, holds: Callable[[], bool]) -> None:
    """Wait until it holds, the page's requests being let through meanwhile; fails where it doesn't SOON."""
    deadline = time.monotonic() + SOON / 1000
    while not holds():
        assert time.monotonic() < deadline
        page.wait_for_timeout(50)


def test_one_of_ones_own_is_in_the_list_as_soon_as_the_panel_is_open(open_page: Any, own: OwnPresets) -> None:
    open_page()  # the server, which is there before the preset
    own.save(Preset("Mine", "", {"scale": 1.0}))
    page = open_page(closed=True)
    page.evaluate("document.getElementById('closed').remove()")
    page.wait_for_selector("#pladis_txt2img_suggestion[data-answers]", timeout=SOON)
    assert listed(page) == [*BUILT_IN, "Mine"]


def test_built_in_presets_come_first_and_set_everything(page: Any) -> None:
    assert listed(page) == list(BUILT_IN)
    page.click("#txt2img_paste_start")
    expect_value(page, "start", "0.25")
    choose(page, "Few steps")
    expect_value(page, "rescale", "1")
    expect_value(page, "start", "0")
    expect_text(page, "preset_reason", BUILT_IN["Few steps"].reason)


def test_what_was_changed_since_is_set_again_by_a_click(page: Any) -> None:
    choose(page, "Few steps")
    expect_value(page, "rescale", "1")
    again = "#pladis_txt2img_preset_reason .pladis-take"
    page.wait_for_timeout(NEVER)
    assert not page.locator(again).is_visible()
    write(page, "scale", "3")
    page.wait_for_selector(again, state="visible", timeout=SOON)
    page.click(again)
    expect_value(page, "scale", "1")
    page.wait_for_selector(again, state="hidden", timeout=SOON)


WIDTHS = """() => {
    const place = document.querySelector("#pladis_txt2img_preset_reason");
    const [text, act] = [".pladis-text", ".pladis-act"].map((at) => place.querySelector(at));
    const found = [];
    for (let width = 240; width < 800; width += 10) {
        place.style.width = `${width}px`;
        const [without, seen] = [true, false].map((same) => {
            place.classList.toggle("pladis-as-set", same);
            act.style.letterSpacing = same ? "" : "0.5px";
            return place.getBoundingClientRect().height;
        });
        const [left, right] = [text, act].map((node) => node.getBoundingClientRect());
        found.push([width, without, seen, left.right <= right.left && right.right <= left.left + width]);
    }
    return found;
}"""
"""Heights of the chosen preset's line, without and with the mark at its end, at any ratio of text to room; the mark is
wider when it is seen, as under a font that comes late. And whether it is clear of the text."""


def test_nothing_moves_when_the_preset_is_another_than_what_is_set(page: Any) -> None:
    """Whatever the font, and whether or not the text would leave room for the mark."""
    found = page.evaluate(WIDTHS)
    assert [each for each in found if each[1] != each[2] or not each[3]] == []
    assert len({without for _, without, *_ in found}) == 1, "one line"


def test_the_list_begins_with_the_preset_that_the_web_uis_own_defaults_are(open_page: Any, own: OwnPresets) -> None:
    steady = BUILT_IN["Steady"]
    page = open_page(begins=json.dumps(steady.sets))
    expect_text(page, "preset_reason", steady.reason)
    assert page.input_value("#pladis_txt2img_preset input") == "Steady"
    assert not page.locator("#pladis_txt2img_preset_reason .pladis-take").is_visible()
    assert page.input_value("#pladis_txt2img_scale input[type=number]") == "0.5"
    choose(page, "Paper")
    page.wait_for_timeout(NEVER)
    page.evaluate("window.dispatchEvent(new Event('focus'))")
    page.wait_for_timeout(NEVER)
    assert page.input_value("#pladis_txt2img_preset input") == "Paper", "asked again, it stays"


def test_a_preset_without_a_reason_is_its_name_alone(page: Any, own: OwnPresets) -> None:
    keep(page, "Mine")
    expect_text(page, "preset_message", "Saved: Mine")
    assert page.inner_text("#pladis_txt2img_preset_reason").strip() == "Mine"


def test_a_button_in_a_sentence_is_one_line(open_page: Any, own: OwnPresets) -> None:
    page = open_page(width=390)
    take = page.locator("#pladis_txt2img_suggestion .pladis-take")
    take.wait_for(state="visible", timeout=SOON)
    for width in range(300, 420, 7):
        page.set_viewport_size({"width": width, "height": 900})
        assert take.bounding_box()["height"] < 30, width


def test_choosing_by_keyboard(page: Any) -> None:
    page.focus("#pladis_txt2img_preset input")
    for key in ("ArrowDown", "ArrowDown", "ArrowDown", "Enter"):
        page.keyboard.press(key)
        page.wait_for_timeout(200)
    chosen = page.input_value("#pladis_txt2img_preset input")
    assert chosen in BUILT_IN and chosen != "Paper"
    expect_text(page, "preset_reason", BUILT_IN[chosen].reason)
    for name in ("scale", "alpha", "rescale"):
        expect_value(page, name, f"{getattr(BUILT_IN[chosen].settings, name):g}")


def test_save_rename_delete_and_bring_back(page: Any, own: OwnPresets) -> None:
    write(page, "scale", "3.5")
    keep(page, "")
    expect_text(page, "preset_message", "Give it a name first.")
    assert own.all() == {}
    keep(page, "My one")
    expect_text(page, "preset_message", "Saved: My one")
    assert own.get("My one").settings.scale == 3.5
    assert listed(page) == [*BUILT_IN, "My one"]
    write(page, "scale", "4")
    page.click("#pladis_txt2img_preset_save")  # the name's box is empty: the chosen one anew
    until(page, lambda: own.get("My one").settings.scale == 4)
    keep(page, "Other <b>name</b>", "rename")
    expect_text(page, "preset_message", "Renamed to: Other <b>name</b>")
    assert list(own.all()) == ["Other <b>name</b>"]
    page.click("#pladis_txt2img_preset_delete")
    expect_text(page, "preset_message", "Deleted.")
    assert own.all() == {} and listed(page) == list(BUILT_IN)
    assert json.loads(shared(page))["name"] == "Other <b>name</b>"
    choose(page, "Paper")
    expect_value(page, "scale", "2")
    page.click("#pladis_txt2img_preset_add")
    expect_value(page, "scale", "4")
    assert list(own.all()) == ["Other <b>name</b>"]


@pytest.mark.parametrize(
    ("button", "chosen", "name", "said"),
    [
        ("save", "Steady", "Paper", "This is a built-in preset's name: Paper"),
        ("rename", "Steady", "Mine", "Built-in presets stay as they are: Steady"),
        ("delete", "Steady", "", "Built-in presets stay as they are: Steady"),
        ("save", "Steady", "There", "A preset of this name exists; choose it in the list to replace it: There"),
    ],
)
def test_what_cannot_be_done_is_said(
    page: Any, own: OwnPresets, button: str, chosen: str, name: str, said: str
) -> None:
    own.save(Preset("There", "", {"scale": 1.0}))
    choose(page, chosen)
    keep(page, name, button)
    expect_text(page, "preset_message", said)
    assert own.get("There").settings.scale == 1.0 and list(own.all()) == ["There"]


def test_a_value_that_is_not_allowed_is_not_kept(page: Any, own: OwnPresets) -> None:
    open_part(page, "advanced", "layers")
    write(page, "layers", "x9")
    keep(page, "Mine")
    expect_text(page, "preset_message", "A value is not allowed: PLADIS Layers")
    assert own.all() == {}


def test_share_and_take(page: Any, own: OwnPresets) -> None:
    choose(page, "Few steps")
    write(page, "scale", "3")
    keep(page, "Strong", "show")
    expect_text(page, "preset_message", "The settings above, as text: Strong")
    text = shared(page)
    assert own.all() == {}, "shown, not saved"
    page.reload()
    page.wait_for_function("pladis.values('txt2img') !== null")
    open_part(page, "mine", "preset_text")
    for broken, said in (("{", "This text is not JSON:"), ("[]", "This is not a preset"), ("", "Paste the text")):
        write(page, "preset_text", broken)
        page.click("#pladis_txt2img_preset_add")
        expect_text(page, "preset_message", said)
    write(page, "preset_text", text)
    page.click("#pladis_txt2img_preset_add")
    expect_value(page, "scale", "3")
    expect_value(page, "rescale", "1")
    assert list(own.all()) == ["Strong"]
    assert "Strong" in page.inner_text("#pladis_txt2img_preset_reason")


def test_two_tabs_lose_nothing_and_see_each_other(open_page: Any, own: OwnPresets) -> None:
    first, second = open_page(), open_page()
    keep(first, "One")
    expect_text(first, "preset_message", "Saved: One")
    keep(second, "Two")
    expect_text(second, "preset_message", "Saved: Two")
    assert list(own.all()) == ["One", "Two"] and listed(second) == [*BUILT_IN, "One", "Two"]
    first.evaluate("window.dispatchEvent(new Event('focus'))")
    first.wait_for_selector('#pladis_txt2img_suggestion[data-listed*="Two"]', timeout=SOON)
    assert listed(first) == [*BUILT_IN, "One", "Two"]
    assert first.input_value("#pladis_txt2img_preset input") == "One", "the choice stays"


def test_a_preset_that_somebody_deleted_is_said(page: Any, own: OwnPresets) -> None:
    keep(page, "Mine")
    expect_text(page, "preset_message", "Saved: Mine")
    choose(page, "Paper")
    own.delete("Mine")
    page.locator("#pladis_txt2img_preset input").click()
    page.locator("ul.options li, ul[role=listbox] li").filter(has_text="Mine").first.click()
    expect_text(page, "preset_message", "This preset no longer exists: Mine")


def test_a_broken_file_is_said_and_kept(page: Any, own: OwnPresets, data: Path) -> None:
    (data / FILE).write_text("{ not json")
    page.evaluate("window.dispatchEvent(new Event('focus'))")
    for tab in ("txt2img", "img2img"):  # whichever of them found it
        open_part(page, "mine", "preset_name", tab)
        expect_text(page, "preset_message", "could not be understood. It was kept as", tab)
    (aside,) = data.glob("pladis-presets.broken-*.json")
    assert aside.read_text() == "{ not json"


LOSING = """let asked = 0;
addEventListener("click", (event) => {
    if (event.target.id !== "pladis_txt2img_preset_ask" || ++asked % 2 !== LOST) return;
    event.stopImmediatePropagation();
    document.body.dataset.lost = "yes";
}, true);"""
"""Every other question of the page to its server gets lost."""


def expect_asked_again(page: Any, name: str, text: str) -> None:
    """As `expect_text`; for each question that gets lost the clock is put forward to when it is asked again."""

    def says() -> bool:
        if page.evaluate("document.body.dataset.lost") == "yes":
            page.evaluate("delete document.body.dataset.lost")
            page.clock.fast_forward(3000)
        return text in page.inner_text(f"#pladis_txt2img_{name}")

    until(page, says)


@pytest.mark.parametrize("first", [True, False])
def test_a_question_that_got_lost_is_asked_again(open_page: Any, own: OwnPresets, data: Path, first: bool) -> None:
    """gradio 3 drops one that comes before the answer to the last."""
    steady = BUILT_IN["Steady"]
    page = open_page(begins=json.dumps(steady.sets), init=LOSING.replace("LOST", str(int(first))), clock=True)
    expect_asked_again(page, "suggestion", "Suggested for SDXL, CFG 7: Official code.")
    expect_asked_again(page, "preset_reason", steady.reason)
    box = page.locator("#txt2img_cfg_scale input[type=number]")
    for cfg in ("1", "7", "1"):
        box.fill(cfg)
        box.blur()
        expect_asked_again(page, "suggestion", f"SDXL, CFG {cfg}: Official code.")
    (data / FILE).write_text("{ not json")
    page.evaluate("window.dispatchEvent(new Event('focus'))")
    open_part(page, "mine", "preset_name")
    expect_asked_again(page, "preset_message", "could not be understood. It was kept as")


def test_a_server_that_does_not_answer_is_not_asked_for_ever(open_page: Any, own: OwnPresets) -> None:
    page = open_page(
        init="""let asked = 0;
        addEventListener("click", (event) => {
            if (event.target.id !== "pladis_txt2img_preset_ask") return;
            document.body.dataset.asked = ++asked;
            event.stopImmediatePropagation();
        }, true);""",
        clock=True,
    )
    for asked in ("1", "2", "3", "4"):
        page.wait_for_function("(asked) => document.body.dataset.asked === asked", arg=asked, timeout=SOON)
        page.clock.fast_forward(3000)
    for _ in range(3):
        page.clock.fast_forward(3000)
    assert page.evaluate("document.body.dataset.asked") == "4"


def test_the_suggestion_follows_cfg_and_is_never_taken_unasked(page: Any) -> None:
    expect_text(page, "suggestion", "Suggested for SDXL, CFG 7: Official code.")
    page.wait_for_timeout(NEVER)
    expect_value(page, "scale", "2")
    box = page.locator("#txt2img_cfg_scale input[type=number]")
    box.fill("1")
    box.blur()
    expect_text(page, "suggestion", "SDXL, CFG 1: Official code.")
    expect_value(page, "scale", "2")
    layers = "document.querySelector('#pladis_txt2img_layers textarea, #pladis_txt2img_layers input').value"
    assert page.evaluate(layers) == "all"
    take = "#pladis_txt2img_suggestion .pladis-take"
    page.click(take)
    page.wait_for_function(f"{layers} === 'd,u'", timeout=SOON)
    expect_text(page, "preset_reason", "Official code")
    page.wait_for_selector(take, state="hidden", timeout=SOON)
    said = page.inner_text("#pladis_txt2img_suggestion")
    assert said.strip() == "Suggested for SDXL, CFG 1: your current settings.", "its name and reason stand above"
    write(page, "scale", "3")
    page.wait_for_selector(take, state="visible", timeout=SOON)
    page.click(take)
    expect_value(page, "scale", "2")
    assert page.input_value("#pladis_txt2img_preset input") == "Official code"
    expect_value(page, "scale", "2", "img2img")
