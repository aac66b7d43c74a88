"""How soon the live curve is there: 16 ms, a frame of 60 a second, for the first one and from a slider to the chart.

Medians, as other programs may run on the machine; a failure says how many did.
"""

from __future__ import annotations

import os
import statistics
from typing import Any

from curve_page import SCRIPTS, STYLE

GOAL = 16.0  # ms
PROMPT = "a red circle left of a blue square on grey, a green star, a pink ring"

FIRST = """() => {
    const box = document.querySelector(".pladis-curve");
    const row = { kind: "example", tokens: pladis.tokens, logits: pladis.logits };
    const start = performance.now();
    pladis.draw(box, row, { scale: 2, alpha: 1.5, temperature: 1, rescale: 0.5 }, 740);
    box.getBoundingClientRect();
    return performance.now() - start;
}"""

# From the slider's event to the chart with its layout; and until the frame with it has been handed on to be painted,
# as input comes at the beginning of a frame: a message that is sent then is read after it.
MOVES = """async (tab) => {
    const frame = () => new Promise((done) => requestAnimationFrame(done));
    const after = () => new Promise((done) => {
        const channel = new MessageChannel();
        channel.port1.onmessage = done;
        channel.port2.postMessage(null);
    });
    const input = document.querySelector(`#pladis_${tab}_scale input[type=range]`);
    const box = document.querySelector(`#pladis_${tab}_curve .pladis-curve`);
    const bar = () => box.querySelector("rect[data-series=blend]");
    const times = [];
    for (let i = 0; i < 60; i++) {
        const before = bar().dataset.value;
        await frame();
        input.value = String(1 + i / 20);
        const start = performance.now();
        input.dispatchEvent(new Event("input", { bubbles: true }));
        box.getBoundingClientRect();
        const drawn = performance.now();
        if (bar().dataset.value === before) throw new Error("not drawn when the event has been told");
        await after();
        times.push([drawn - start, performance.now() - start]);
    }
    return times;
}"""


def median(times: Any) -> float:
    return statistics.median(list(times))


def load() -> str:
    one, five, _ = os.getloadavg() if hasattr(os, "getloadavg") else (float("nan"),) * 3
    return f"(load {one:.1f}, {five:.1f} of 5 minutes, on {os.cpu_count()} cores)"


def test_the_first_chart(curve_browser: Any) -> None:
    """Of a page of its own each time: nothing has been compiled or laid out."""
    times = []
    for _ in range(9):
        page = curve_browser.new_page()
        page.set_content('<body><div class="pladis-curve" style="width: 740px"></div></body>')
        page.add_style_tag(path=str(STYLE))
        for script in SCRIPTS:
            page.add_script_tag(path=str(script))
        times.append(page.evaluate(FIRST))
        page.close()
    said = f"the first chart: median {median(times):.1f} ms, {min(times):.1f} to {max(times):.1f} {load()}"
    print(said)
    assert median(times) <= GOAL, said


def test_from_the_slider_to_the_chart(open_chart: Any) -> None:
    chart = open_chart()
    chart.page.fill("#txt2img_prompt textarea", PROMPT)
    chart.page.wait_for_function("pladis.shown('txt2img').kind === 'words'")
    chart.expect(2.0, 1.5)
    drawn, painted = zip(*chart.page.evaluate(MOVES, "txt2img"))
    said = f"from the slider to the chart: median {median(drawn):.1f} ms, to its frame {median(painted):.1f} ms {load()}"
    print(said)
    assert median(drawn) <= GOAL and median(painted) <= GOAL, said
