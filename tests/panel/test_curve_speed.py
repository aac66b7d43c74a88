"""What the live curve costs, counted: nodes made and attributes written, for the first chart and a slider's move.

The milliseconds are printed (`pytest -s`); they fail nothing, as they are the machine's as much as ours.
"""

from __future__ import annotations

from typing import Any

PROMPT = "a red circle left of a blue square on grey, a green star, a pink ring"
MOVES = 20

COUNTING = """
window.work = { made: 0, written: 0, measured: 0 };
const counted = (owner, name, kind) => {
    const theirs = owner[name];
    owner[name] = function (...given) { work[kind] += 1; return theirs.apply(this, given); };
};
for (const name of ["createElement", "createElementNS", "createTextNode"]) counted(Document.prototype, name, "made");
counted(Element.prototype, "setAttribute", "written");
counted(Element.prototype, "getBoundingClientRect", "measured");
"""

FIRST = """() => {
    const box = document.createElement("div");
    document.body.append(box);
    const row = { kind: "example", tokens: pladis.tokens, logits: pladis.logits };
    Object.assign(work, { made: 0, written: 0, measured: 0 });
    const start = performance.now();
    pladis.draw(box, row, { scale: 2, alpha: 1.5, temperature: 1, rescale: 0.5 }, 740);
    const told = { ...work, ms: performance.now() - start };
    box.remove();
    return told;
}"""

MOVE = """async (moves) => {
    const input = document.querySelector("#pladis_txt2img_scale input[type=range]");
    const bar = () => document.querySelector("#pladis_txt2img_curve rect[data-series=blend]").dataset.value;
    const node = document.querySelector("#pladis_txt2img_curve svg");
    let [frames, made, written, ms] = [0, 0, 0, 0];
    for (let i = 0; i < moves; i++) {
        await new Promise(requestAnimationFrame);
        const before = bar();
        Object.assign(work, { made: 0, written: 0 });
        const start = performance.now();
        input.value = String(1 + i / 20);
        input.dispatchEvent(new Event("input", { bubbles: true }));
        for (; bar() === before && frames < 100; frames++) await new Promise(requestAnimationFrame);
        ms += performance.now() - start;
        made += work.made;
        written += work.written;
    }
    return { frames, made, written, ms: ms / moves,
        same: node === document.querySelector("#pladis_txt2img_curve svg") };
}"""


def test_the_first_chart_is_made_of_few_nodes(open_page: Any) -> None:
    work = open_page(init=COUNTING).evaluate(FIRST)
    print(work)
    assert work["made"] <= 150 and work["written"] <= 600 and work["measured"] == 0


def test_a_move_of_a_slider_makes_no_node_and_is_seen_in_the_next_frame(open_chart: Any) -> None:
    page = open_chart(init=COUNTING).page
    page.fill("#txt2img_prompt textarea", PROMPT)
    page.wait_for_function("pladis.row('txt2img').kind === 'words'")
    work = page.evaluate(MOVE, MOVES)
    print(work)
    assert work["same"] and work["frames"] <= 2 * MOVES
    assert work["made"] <= 12 * MOVES, "but the marks of an axis that changes"
    assert work["written"] <= 200 * MOVES
