"""What a person does in the panel's page, on either gradio."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

APP = Path(__file__).with_name("panel_app.py")
ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted((ROOT / "javascript").glob("*.js"))
STYLE = ROOT / "style.css"
SOON = 120_000  # ms: what is to happen; only what never does takes as long
NEVER = 1_500  # ms: what is not to happen


def expect_value(page: Any, name: str, value: str, tab: str = "txt2img") -> None:
    at = f"#pladis_{tab}_{name} input[type=number]"
    page.wait_for_function("([at, v]) => document.querySelector(at).value === v", arg=[at, value], timeout=SOON)


def expect_text(page: Any, name: str, text: str, tab: str = "txt2img") -> None:
    """Wait until an element of the panel says `text` somewhere."""
    at = f"#pladis_{tab}_{name}"
    page.wait_for_function(
        "([at, text]) => (document.querySelector(at) || {innerText: ''}).innerText.includes(text)",
        arg=[at, text],
        timeout=SOON,
    )


def listed(page: Any, tab: str = "txt2img") -> list[str]:
    """The presets in the list, which is opened for it."""
    page.locator(f"#pladis_{tab}_preset input").click()
    options = page.locator("ul.options li, ul[role=listbox] li").all_inner_texts()
    page.keyboard.press("Escape")
    page.locator(f"#pladis_{tab}_preset input").blur()
    return [text.replace("✓", "").strip() for text in options]


def pick(page: Any, preset: str, tab: str = "txt2img") -> None:
    page.locator(f"#pladis_{tab}_preset input").click()
    text = re.compile(rf"(^|\s){re.escape(preset)}\s*$")
    page.locator("ul.options li, ul[role=listbox] li").filter(has_text=text).first.click()


def choose(page: Any, preset: str, tab: str = "txt2img") -> None:
    """Pick a preset in the list, and wait until it is set."""
    pick(page, preset, tab)
    expect_text(page, "preset_reason", preset, tab)
    page.locator(f"#pladis_{tab}_preset input").blur()


def open_part(page: Any, name: str, inside: str, tab: str = "txt2img") -> None:
    """Open one of the panel's accordions by its head."""
    if not page.locator(f"#pladis_{tab}_{inside}").is_visible():
        page.locator(f"#pladis_{tab}_{name} .label-wrap").first.click()
    page.wait_for_selector(f"#pladis_{tab}_{inside}", state="visible", timeout=SOON)


def write(page: Any, name: str, text: str, tab: str = "txt2img") -> None:
    box = page.locator(f"#pladis_{tab}_{name}").locator("textarea, input").first
    box.fill(text)
    box.blur()


def open_all(page: Any) -> None:
    """All of the panel: its folded parts, a message, and the line of a preset that was modified."""
    page.wait_for_selector("#pladis_txt2img_suggestion .pladis-take", state="visible", timeout=SOON)
    open_part(page, "advanced", "start")
    open_part(page, "mine", "preset_name")
    open_part(page, "weights", "curve")
    page.locator("#pladis_txt2img_enabled details summary").click()
    page.click("#pladis_txt2img_preset_save")
    page.wait_for_selector("#pladis_txt2img_preset_message.pladis-error", timeout=SOON)
    write(page, "scale", "3")
    page.wait_for_selector("#pladis_txt2img_preset_reason .pladis-take", state="visible", timeout=SOON)
