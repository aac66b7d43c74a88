"""What the page's scripts do while nobody uses the panel: counted, not timed."""

from __future__ import annotations

from typing import Any

COUNTING = """
window.work = { timers: 0, questions: 0, looks: 0 };
const ours = () => /pladis/.test(new Error().stack.split("\\n").slice(2).join());
const counted = (owner, name, kind) => {
    const theirs = owner[name];
    owner[name] = function (...given) { if (ours()) work[kind] += 1; return theirs.apply(this, given); };
};
for (const name of ["setTimeout", "setInterval", "requestAnimationFrame", "requestIdleCallback"]) {
    counted(window, name, "timers");
}
counted(window, "fetch", "questions");
counted(HTMLElement.prototype, "click", "questions");
for (const name of ["querySelector", "querySelectorAll"]) {
    for (const owner of [Document.prototype, Element.prototype]) counted(owner, name, "looks");
}
"""
BEGIN = "() => { Object.assign(work, { timers: 0, questions: 0, looks: 0 }); }"
QUIET = 2_000  # ms, in which a timer of five a second would run ten times


def test_nothing_runs_while_the_panel_is_closed(open_page: Any) -> None:
    page = open_page(init=COUNTING, closed=True)
    page.wait_for_timeout(1000)
    said = page.get_attribute("#pladis_txt2img_suggestion", "data-answers")
    assert said is None, "the server is not asked before the panel opens"
    page.evaluate(BEGIN)
    page.wait_for_timeout(QUIET)
    assert page.evaluate("work") == {"timers": 0, "questions": 0, "looks": 0}

    changes = 5  # of the host's page, as a running generation brings them
    for _ in range(changes):
        page.evaluate("document.body.append(document.createElement('p'))")
        page.wait_for_timeout(300)
    work = page.evaluate("work")
    assert work["timers"] == work["questions"] == 0 and work["looks"] <= 8 * changes, (
        "two looks a tab, and the host's for its root"
    )

    page.evaluate(BEGIN)
    page.evaluate("document.getElementById('closed').remove()")
    page.wait_for_selector("#pladis_txt2img_suggestion[data-answers]")
    assert page.evaluate("work.questions") >= 1, "and the count is not blind"
