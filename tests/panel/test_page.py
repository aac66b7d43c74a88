"""The panel as Chromium shows it, on the installed gradio: ids, and when "Advanced" opens by itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gradio", reason="gradio is not installed here")

from tests.browser.curve_page import WEBUI, launch_chromium, serve_app

APP = Path(__file__).with_name("panel_app.py")
SCRIPT = Path(__file__).resolve().parents[2] / "javascript" / "pladis.js"
SOON = 10_000  # ms: what is to happen
NEVER = 1_500  # ms: what is not to happen; the script looks five times a second


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serve_app(tmp_path_factory.mktemp("panel") / "app.log", APP) as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launch_chromium() as chromium:
        yield chromium


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 900, "height": 900})
    context.route(lambda url: not url.startswith(address.rstrip("/")), lambda route: route.abort())
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.add_init_script(WEBUI)
    page.add_init_script(path=str(SCRIPT))
    page.goto(address)
    page.wait_for_selector("#pladis_txt2img_curve svg")
    yield page
    context.close()
    assert errors == []


def is_open(page: Any, tab: str = "txt2img") -> bool:
    return page.locator(f"#pladis_{tab}_start").is_visible()


def expect_open(page: Any, tab: str = "txt2img") -> None:
    page.wait_for_selector(f"#pladis_{tab}_start", state="visible", timeout=SOON)


def expect_value(page: Any, name: str, value: str, tab: str = "txt2img") -> None:
    at = f"#pladis_{tab}_{name} input[type=number]"
    page.wait_for_function("([at, v]) => document.querySelector(at).value === v", arg=[at, value], timeout=SOON)


def test_every_id_is_there_once(page: Any) -> None:
    ids = Counter(page.evaluate("[...document.querySelectorAll('[id^=pladis_]')].map((node) => node.id)"))
    assert {name: count for name, count in ids.items() if count > 1} == {}
    for tab in ("txt2img", "img2img"):
        assert {f"pladis_{tab}_curve", f"pladis_{tab}_preset_reason", f"pladis_{tab}_scale"} <= set(ids)


@pytest.mark.parametrize("pasted", ["start", "layers", "target", "hires"])
def test_a_paste_that_sets_something_under_advanced_opens_it(page: Any, pasted: str) -> None:
    assert not is_open(page)
    page.click(f"#txt2img_paste_{pasted}")
    expect_open(page)
    assert not is_open(page, "img2img"), "each tab for itself"


def test_a_preset_that_sets_something_under_advanced_opens_it(page: Any) -> None:
    page.click("#pladis_txt2img_preset_late")
    expect_open(page)
    expect_value(page, "start", "0.5")
    assert "Begins late." in page.inner_text("#pladis_txt2img_preset_reason")


@pytest.mark.parametrize("pressed", ["txt2img_paste_plain", "pladis_txt2img_preset_gentle"])
def test_one_that_sets_nothing_there_leaves_it_closed(page: Any, pressed: str) -> None:
    page.click(f"#{pressed}")
    expect_value(page, "scale", "1.25" if "paste" in pressed else "0.5")
    page.wait_for_timeout(NEVER)
    assert not is_open(page)


def test_who_closes_it_keeps_it_closed_until_the_next_paste(page: Any) -> None:
    page.click("#txt2img_paste_start")
    expect_open(page)
    page.click("#pladis_txt2img_advanced .label-wrap")
    page.wait_for_selector("#pladis_txt2img_start", state="hidden")
    page.wait_for_timeout(NEVER)
    assert not is_open(page)
    page.click("#txt2img_paste_plain")
    expect_value(page, "start", "0")
    page.wait_for_timeout(NEVER)
    assert not is_open(page), "all of its values are the defaults now"
    page.click("#txt2img_paste_layers")
    expect_open(page)
