"""How soon the live curve is there: 16 ms, a frame of 60 a second, for the first one and from a slider to the chart.

Medians by the clock; a failure says how busy the machine is. The first chart and the whole frame are measured in
rounds, the least disturbed of which counts, and by the processor time of the page's main thread, which other programs
can't take.
"""

from __future__ import annotations

import os
import statistics
from typing import Any

from curve_page import SCRIPTS, STYLE

GOAL = 16.0  # ms
ROUNDS, MOVED = 6, 20
FIRST_ROUNDS = 3
BARE = """<body><p>A page has texts, and fonts for them.</p><svg width="80" height="20"><text y="12">-0.1</text></svg>
<div class="pladis-curve" style="width: 740px"></div></body>"""
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
MOVES = """async ([tab, moves]) => {
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
    for (let i = 0; i < moves; i++) {
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


class Busy:
    """Processor time of a page's main thread, scripts, style, layout and painting, from where it is made, in ms."""

    def __init__(self, page: Any) -> None:
        self._devtools = page.context.new_cdp_session(page)
        self._devtools.send("Performance.enable", {"timeDomain": "threadTicks"})
        self._start = self._now()

    @property
    def ms(self) -> float:
        return 1000 * (self._now() - self._start)

    def _now(self) -> float:
        metrics = self._devtools.send("Performance.getMetrics")["metrics"]
        return next(each["value"] for each in metrics if each["name"] == "TaskDuration")


def median(times: Any) -> float:
    return statistics.median(list(times))


def load() -> str:
    one, five, _ = os.getloadavg() if hasattr(os, "getloadavg") else (float("nan"),) * 3
    return f"(load {one:.1f}, {five:.1f} of 5 minutes, on {os.cpu_count()} cores)"


def first_charts(browser: Any) -> tuple[float, float]:
    """Medians over nine pages of their own, of which nothing has been compiled or laid out: work, and by the clock."""
    clock, busy = [], []
    for _ in range(9):
        page = browser.new_page()
        page.set_content(BARE)
        page.add_style_tag(path=str(STYLE))
        for script in SCRIPTS:
            page.add_script_tag(path=str(script))
        work = Busy(page)
        clock.append(page.evaluate(FIRST))
        busy.append(work.ms)
        page.close()
    return median(busy), median(clock)


def test_the_first_chart(curve_browser: Any) -> None:
    """Processor time is dearer while other programs use the caches and the other half of a core."""
    for _ in range(FIRST_ROUNDS):
        work, clock = first_charts(curve_browser)
        said = f"the first chart: {work:.1f} ms of work, {clock:.1f} ms by the clock {load()}"
        print(said)
        if work <= GOAL:
            return
    raise AssertionError(said)


def test_from_the_slider_to_the_chart(open_chart: Any) -> None:
    chart = open_chart()
    chart.page.fill("#txt2img_prompt textarea", PROMPT)
    chart.page.wait_for_function("pladis.shown('txt2img').kind === 'words'")
    chart.expect(2.0, 1.5)
    work = Busy(chart.page)
    rounds = [list(zip(*chart.page.evaluate(MOVES, ["txt2img", MOVED]))) for _ in range(ROUNDS)]
    busy = work.ms / (ROUNDS * MOVED)
    drawn = median([time for drawn, _ in rounds for time in drawn])
    painted = min(median(painted) for _, painted in rounds)
    said = (
        f"from the slider to the chart: median {drawn:.1f} ms, to its frame {painted:.1f} ms in the least disturbed "
        f"round; {busy:.1f} ms of work, with gradio's own {load()}"
    )
    print(said)
    assert drawn <= GOAL and painted <= GOAL and busy <= GOAL, said
