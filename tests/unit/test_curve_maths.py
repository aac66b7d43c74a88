"""The live curve's maths against `lib_pladis.math.sparse.entmax` and closed forms, in Node where there is one."""

from __future__ import annotations

import itertools
import json
import math
import shutil
import subprocess
import sys
from typing import Any

import pytest

from tests.browser.curve_page import ROOT, blend, softmax, sparse_by_sorting

SCRIPT = ROOT / "javascript" / "pladis_math.js"

ALPHAS = [1.0, 1.0 + 1e-6, 1.01, 1.1, 1.25, 1.333, 1.5, 1.75, 1.9, 2.0]
TEMPERATURES = [0.1, 0.5, 1.0, 2.0]
SCALES = [0.0, 0.5, 1.0, 2.0, 5.0]
ROWS = [
    None,  # the chart's own logits
    [0.0, 0.0, 0.0],
    [3.0],
    [40.0, -40.0, 39.5, 0.0],
    [math.sin(7.0 * i) * 4.0 for i in range(77)],
]

EVALUATE = """(rows) => ({
    logits: pladis.logits,
    rows: rows.map(([z, scale, alpha, temperature]) => {
        const logits = z || pladis.logits;
        return {
            softmax: pladis.softmax(logits),
            entmax: pladis.entmax(logits.map((x) => x / temperature), alpha),
            blend: pladis.rows(logits, { scale, alpha, temperature }).blend,
        };
    }),
})"""


def evaluate_in_javascript(request: pytest.FixtureRequest, rows: Any, evaluate: str = EVALUATE) -> Any:
    """What a function of the script's own `pladis` gives for `rows`."""
    node = shutil.which("node")
    if node:
        program = (
            f"const pladis = require({json.dumps(str(SCRIPT))}); const evaluate = {evaluate};"
            "process.stdout.write(JSON.stringify("
            "evaluate(JSON.parse(require('fs').readFileSync(0, 'utf8')))));"
        )
        done = subprocess.run(
            [node, "-e", program],
            input=json.dumps(rows),
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(done.stdout)
    page = request.getfixturevalue("chromium").new_page()
    page.add_script_tag(path=str(SCRIPT))
    return page.evaluate(evaluate, rows)


@pytest.fixture(scope="module")
def computed(request: pytest.FixtureRequest) -> tuple[list[list[Any]], dict[str, Any]]:
    rows = [
        [logits, scale, alpha, temperature]
        for logits, scale, alpha, temperature in itertools.product(ROWS, SCALES, ALPHAS, TEMPERATURES)
    ]
    return rows, evaluate_in_javascript(request, rows)


def test_maths_equals_lib_pladis_sparse(computed: tuple[list[list[Any]], dict[str, Any]]) -> None:
    torch = pytest.importorskip("torch", reason="lib_pladis.math.sparse needs torch")
    sys.path.insert(0, str(ROOT))
    from lib_pladis.math.sparse import entmax

    rows, answer = computed
    for (logits, scale, alpha, temperature), got in zip(rows, answer["rows"]):
        z = torch.tensor(logits or answer["logits"], dtype=torch.float64)
        dense = torch.softmax(z, dim=-1)
        sparse = entmax(z / temperature, alpha, dim=-1)
        want = {
            "softmax": dense,
            "entmax": sparse,
            "blend": scale * sparse + (1.0 - scale) * dense,
        }
        for name, weights in want.items():
            gap = (torch.tensor(got[name], dtype=torch.float64) - weights).abs().max().item()
            assert gap <= 1e-5, (name, logits, scale, alpha, temperature, gap)


def test_maths_equals_closed_forms(computed: tuple[list[list[Any]], dict[str, Any]]) -> None:
    rows, answer = computed
    seen = 0
    for (logits, scale, alpha, temperature), got in zip(rows, answer["rows"]):
        z = logits or answer["logits"]
        for weights in got.values():
            assert sum(weights) == pytest.approx(1.0, abs=1e-9)
        assert got["softmax"] == pytest.approx(softmax(z), abs=1e-12)
        if alpha == 1.0:
            assert got["entmax"] == pytest.approx(softmax([x / temperature for x in z]), abs=1e-12)
        if alpha in (1.5, 2.0):
            seen += 1
            want = sparse_by_sorting([x / temperature for x in z], alpha)
            assert got["entmax"] == pytest.approx(want, abs=1e-9)
            assert [w == 0 for w in got["entmax"]] == [w == 0 for w in want]
            assert got["blend"] == pytest.approx(blend(z, scale, alpha, temperature), abs=1e-8)
    assert seen == len(ROWS) * len(SCALES) * len(TEMPERATURES) * 2


MEASURED = "(cases) => cases.map(([row, settings]) => pladis.measuredRows(row, settings))"


@pytest.mark.parametrize("schedule", ["constant", "linear down"])
def test_measured_weights_follow_scale_as_the_rows_behind_them_do(
    request: pytest.FixtureRequest, schedule: str
) -> None:
    """Means over rows of six of nine keys, measured at λ 2 and α 1.5, against the rows themselves at another λ."""
    rows = [[math.sin(3.7 * i + 1.3 * k) * 2.0 for i in range(9)] for k in range(7)]

    def mean(of: list[list[float]]) -> list[float]:
        return [sum(column) / len(of) for column in zip(*of)]

    dense, sparse = mean([softmax(row) for row in rows]), mean([sparse_by_sorting(row, 1.5) for row in rows])
    at = {scale: mean([blend(row, scale, 1.5, 1.0) for row in rows]) for scale in (0.0, 0.5, 2.0, 3.5)}
    seen = {"plain": dense[:6], "pladis": at[2.0][:6], "from": {"scale": 2.0, "schedule": schedule}}
    cases = [(seen, {"scale": scale, "rescale": rescale}) for scale in at for rescale in (0.0, 0.4, 1.0)]
    for (_, asked), got in zip(cases, evaluate_in_javascript(request, cases, MEASURED)):
        blended = at[asked["scale"]][:6]
        lengths = [math.hypot(*row, 1 - sum(row)) for row in (dense[:6], blended)]  # the keys left out are one
        factor = 1 - asked["rescale"] + asked["rescale"] * lengths[0] / lengths[1]
        assert got["softmax"] == dense[:6]
        assert got["factor"] == pytest.approx(factor, abs=1e-12)
        assert got["blend"] == pytest.approx([factor * weight for weight in blended], abs=1e-12)
        if schedule == "constant":
            assert got["entmax"] == pytest.approx(sparse[:6], abs=1e-12)
        else:
            assert got["entmax"] is None, "which λ it had is not known"
