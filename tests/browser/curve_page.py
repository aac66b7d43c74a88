"""What the tests of the live curve stand on: Chromium, the chart in a page, and closed forms as an oracle."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import torch

from tests.oracle import entmax_by_bisection
from tests.run import find_browser

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted((ROOT / "javascript").glob("*.js"))
STYLE = ROOT / "style.css"

CHROMIUM = find_browser()
CHROMIUM_ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# What a web UI's page offers to extensions, as far as the scripts use it.
WEBUI = """
const updated = [];
let timer = 0;
window.gradioApp = () => document.querySelector("gradio-app") || document;
window.onAfterUiUpdate = (callback) => updated.push(callback);
document.addEventListener("DOMContentLoaded", () => {
    new MutationObserver(() => {
        clearTimeout(timer);
        timer = setTimeout(() => updated.forEach((callback) => callback()), 200);
    }).observe(document, { childList: true, subtree: true });
});
"""


def sparse_by_sorting(logits: list[float], alpha: float) -> list[float]:
    """Closed forms of α-entmax for α = 1.5 and 2 (Peters et al. 2019, algorithm 2); ValueError for another α."""
    if alpha not in (1.5, 2.0):
        raise ValueError(f"alpha: got {alpha}, allowed: 1.5, 2")
    z = [x * (alpha - 1.0) for x in logits]
    best: list[float] = []
    for k in range(1, len(z) + 1):
        top = sorted(z, reverse=True)[:k]
        mean = sum(top) / k
        if alpha == 2.0:
            tau = mean - 1.0 / k
        else:
            spread = sum((x - mean) ** 2 for x in top)
            if spread > 1.0:
                break
            tau = mean - math.sqrt((1.0 - spread) / k)
        if top[-1] <= tau:
            break
        best = [max(x - tau, 0.0) ** (1.0 / (alpha - 1.0)) for x in z]
    return best


def softmax(logits: list[float]) -> list[float]:
    weights = [math.exp(z - max(logits)) for z in logits]
    return [w / sum(weights) for w in weights]


def blend(logits: list[float], scale: float, alpha: float, temperature: float, rescale: float = 0.0) -> list[float]:
    """The blend's weights; brought back by `rescale` to their norm under softmax."""
    z = [x / temperature for x in logits]
    if alpha in (1.5, 2.0):
        sparse = sparse_by_sorting(z, alpha)
    else:
        sparse = entmax_by_bisection(torch.tensor(z, dtype=torch.float64), alpha).tolist()
    dense = softmax(logits)
    blended = [scale * s + (1 - scale) * d for s, d in zip(sparse, dense)]
    length, wanted = (math.sqrt(sum(w * w for w in row)) for row in (blended, dense))
    return [w * ((1 - rescale) + rescale * wanted / length) for w in blended]


def launch_chromium() -> Any:
    """A context manager giving a headless Chromium; skips, by name, where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM:
        pytest.skip("no Chromium on the PATH (CHROMIUM can name one)")

    @contextmanager
    def opened() -> Iterator[Any]:
        with sync_api.sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGS)
            try:
                yield browser
            finally:
                browser.close()

    return opened()


def only(url: str) -> dict[str, Any]:
    """Options of a page that loads nothing but from the host of `url`: all else is left to a proxy that isn't there.

    A route that aborts such requests would switch the browser's cache off.
    """
    return {"proxy": {"server": "http://127.0.0.1:9", "bypass": urlsplit(url).hostname}}


class Chart:
    """The chart of one tab in an open page."""

    def __init__(self, page: Any, tab: str = "txt2img") -> None:
        self.page = page
        self.tab = tab

    @property
    def logits(self) -> list[float] | None:
        """Of the row that is shown; None while it is a look inside's, which has weights only."""
        return self.page.evaluate("(tab) => pladis.row(tab).logits", self.tab)

    @property
    def tokens(self) -> list[str]:
        """What stands under the bars."""
        at = f"#pladis_{self.tab}_curve .pladis-token"
        return [text.strip("\u2060") for text in self.page.locator(at).all_text_contents()]

    def values(self) -> dict[str, list[float]]:
        return self.page.evaluate(
            """(tab) => Object.fromEntries(["softmax", "entmax", "blend"].map((name) => [name,
                [...document.querySelectorAll(
                    `#pladis_${tab}_curve rect[data-series=${name}]`)]
                    .map((bar) => Number(bar.dataset.value))]))""",
            self.tab,
        )

    def set(self, name: str, value: float | str, kind: str = "number") -> None:
        box = self.page.locator(f"#pladis_{self.tab}_{name} input[type={kind}]")
        box.evaluate(
            """(input, value) => {
                input.value = value;
                input.dispatchEvent(new Event("input", { bubbles: true }));
            }""",
            str(value),
        )

    def expect(self, scale: float, alpha: float, temperature: float = 1.0, rescale: float = 0.0) -> None:
        """Waits until the blend's bars show these settings; fails with what they show."""
        deadline = time.monotonic() + 120
        while True:
            logits = self.logits
            want = blend(logits, scale, alpha, temperature, rescale) if logits else None
            got = self.values()["blend"]
            if want and got == pytest.approx(want, abs=1e-9):
                return
            assert time.monotonic() < deadline, (got, want)
            time.sleep(0.05)

    def summary(self) -> str:
        return self.page.inner_text(f"#pladis_{self.tab}_curve .pladis-summary")

    def shoot(self, name: str) -> None:
        folder = os.environ.get("CURVE_SHOTS")
        if folder:
            import gradio

            path = Path(folder) / f"gradio{gradio.__version__.split('.')[0]}-{name}.png"
            self.page.screenshot(path=str(path))


def luminance(colour: str) -> float:
    """WCAG 2 relative luminance of a computed `rgb(r, g, b)`."""
    assert colour.startswith("rgb("), f"{colour} is not opaque"
    channels = [int(part) / 255 for part in colour[4:-1].split(",")]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)
