"""Accessibility of a part of a page: axe-core's findings."""

from __future__ import annotations

from importlib import resources
from typing import Any

import pytest

AT_ONCE = ("preset", "scale", "compare", "look", "blind_test")
"""What is used most of the panel."""

GRAVE = ("serious", "critical")

RUN = """async (at) => (await axe.run(at)).violations.map(({id, impact, help, nodes}) => ({
    id, impact, help, nodes: nodes.map((node) => `${node.html} ${node.failureSummary}`) }))"""

CUT = """(at) => [...document.querySelectorAll(`${at} *`)].filter((node) => {
    if (["TEXTAREA", "INPUT", "OPTION"].includes(node.tagName) || node.closest("svg, ul")) return false;
    if (node.closest(".pladis-text:not(:focus)")) return false; // its focus shows the whole
    const hasText = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
    if (!hasText || !node.getClientRects().length) return false;
    const frame = document.querySelector(at).getBoundingClientRect();
    const box = node.getBoundingClientRect();
    const style = getComputedStyle(node);
    const hides = ["hidden", "clip"].includes(style.overflowX) || style.textOverflow === "ellipsis";
    const hidden = hides && node.scrollWidth > node.clientWidth + 1;
    return box.left < frame.left - 1 || box.right > frame.right + 1 || hidden;
}).map((node) => node.innerText)"""


def grave_violations(page: Any, at: str) -> list[Any]:
    """Violations that axe-core calls serious or critical, inside the elements that `at` selects."""
    package = pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
    page.evaluate(resources.files(package).joinpath("axe.min.js").read_text(encoding="utf-8"))
    return [found for found in page.evaluate(RUN, at) if found["impact"] in GRAVE]


def height_at_once(page: Any, tab: str) -> float:
    """Pixels from the panel's top to the end of what is used most; raises where one of that isn't seen."""
    boxes = [page.locator(f"#pladis_{tab}_{name}").bounding_box() for name in ("enabled", *AT_ONCE)]
    assert all(box and box["height"] for box in boxes), dict(zip(("enabled", *AT_ONCE), boxes))
    return max(box["y"] + box["height"] for box in boxes[1:]) - boxes[0]["y"]


def cut_texts(page: Any, at: str) -> list[str]:
    """Texts inside `at` that stand out of it, or that their own box cuts off."""
    return page.evaluate(CUT, at)
