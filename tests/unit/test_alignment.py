"""benchmarks/align: grids, prompts, the store, the runner, the statistics and the report."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.align import prompts, statistics
from benchmarks.align.point import Point, grid, parse_values, varied
from benchmarks.align.report import Report
from benchmarks.align.runner import Plan, rescore, run
from benchmarks.align.store import Record, Store
from benchmarks.align.webui import Drawing, WebUI, WebUIError
from lib_pladis.settings import TABLE, Setting, SettingsError
from playground.client import NoAnswer

ROOT = Path(__file__).resolve().parents[2]
DRAWING = Drawing(4, "Euler", "Karras", 64, 64, "")
COMMON = {"steps": 4}


def png(colour: str = "red") -> Any:
    data = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(data, "png")
    return data.getvalue()


class FakeUI(WebUI):
    """Gives plain pictures; fails with `error` at the request number `fails_at`."""

    def __init__(self, error: Any = None, fails_at: int = 0, forever: bool = True) -> None:
        super().__init__("http://fake")
        self.asked: list[tuple[str, int, int, Point]] = []
        self.error, self.fails_at, self.forever = error, fails_at, forever

    def txt2img(self, prompt: str, seed: int, count: int, point: Point, drawing: Drawing) -> list[bytes]:
        self.asked.append((prompt, seed, count, point))
        at = len(self.asked) - 1
        if self.error and (at == self.fails_at or (self.forever and at > self.fails_at)):
            raise self.error
        return [png() for _ in range(count)]


@pytest.fixture
def plan() -> Any:
    return Plan(grid({"cfg": [5.0], "scale": [1.0]}), prompts.playground("one", 3, 0), range(10, 15), batch=2)


def test_grid_has_off_once_at_every_cfg_and_merges_what_installs_nothing() -> None:
    points = grid({"cfg": [5.0, 1.0], "scale": [0.0, 2.0], "alpha": [1.0, 1.5]})
    assert points[:2] == [Point(5, scale=0), Point(1, scale=0)]
    assert points[2:] == [Point(5), Point(1)]
    assert Point(5).arguments["scale"] == 2.0 and Point(5).off.arguments == {"enabled": False}


def test_a_new_setting_is_an_axis_and_leaves_the_seeds_of_older_results(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = ", ".join(
        ("cfg=5.0", "scale=2.0", "alpha=1.5", "layers='all'", "start=0.0", "end=1.0", "schedule='constant'",
         "target='both'", "temperature=1.0")
    )  # fmt: skip
    assert str(Point(5)) == f"Point({usual})"
    assert str(Point(5, rescale=0.5)) == f"Point({usual}, rescale=0.5)"
    new = Setting("new", "New", "float", 1.0, "", maximum=2.0, row="sparse")
    monkeypatch.setitem(TABLE, "new", new)
    spec: Any = importlib.util.spec_from_file_location("point_with_a_new_setting", ROOT / "benchmarks/align/point.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    assert module.AXES[-1] == "new"
    assert str(module.Point(5)) == f"Point({usual})"
    point = module.Point(5, new=0.5)
    assert str(point) == f"Point({usual}, new=0.5)" and point.name(["new"]) == "new=0.5"
    assert point.arguments["new"] == 0.5 and module.Point.read(vars(point)) == point
    assert module.Point.read(vars(Point(5))) == module.Point(5)
    assert module.parse_values("new", "0.5, 2") == [0.5, 2.0]
    with pytest.raises(SettingsError, match="New"):
        module.Point(5, new=3)


def test_names_tell_what_varies() -> None:
    points = grid({"cfg": [5.0], "layers": ["all", "m0"]})
    assert varied(points) == ["layers"]
    assert [point.name(varied(points)) for point in points] == ["off", "layers=all", "layers=m0"]
    assert varied(grid({"cfg": [5.0, 1.0], "scale": [1.0]})) == ["cfg", "scale", "alpha"]


def test_values_with_commas_stand_in_quotes() -> None:
    assert parse_values("layers", 'all,"d0-d1,m0"') == ["all", "d0-d1,m0"]
    assert parse_values("scale", "0, 1.5") == [0.0, 1.5]


@pytest.mark.parametrize(
    "axis, text, said",
    [("scale", "7", "Scale"), ("alpha", "3", "Sparsity"), ("layers", "x9", "Layers"), ("target", "none", "Apply to")],
)
def test_bad_values_are_refused_in_the_extensions_words(axis: Any, text: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        parse_values(axis, text)


@pytest.mark.parametrize("text", ["", "abc", "0", "-1", "1,nan"])
def test_bad_cfg_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="--cfg: got"):
        parse_values("cfg", text)


@pytest.mark.parametrize(
    "make, kinds", [(prompts.playground, prompts.PLAYGROUND_KINDS), (prompts.geneval, prompts.GENEVAL_KINDS)]
)
def test_prompts_are_the_same_every_time_and_a_longer_list_begins_with_the_shorter(make: Any, kinds: Any) -> None:
    for kind in kinds:
        few, many = make(kind, 5, 0), make(kind, 40, 0)
        assert many[:5] == few
        assert len({prompt.text for prompt in many}) == 40
    with pytest.raises(ValueError, match="--kinds: got 'nonsense'"):
        make("nonsense", 1, 0)


def test_genevals_tasks_ask_for_what_they_are_named_after() -> None:
    for prompt in prompts.geneval("counting", 30, 0):
        assert prompt.text.split()[3] in prompts.COUNTS
    for prompt in prompts.geneval("binding", 30, 0):
        assert len([word for word in prompt.text.split() if word in prompts.PAINTS]) >= 2
    for prompt in prompts.geneval("position", 30, 0):
        assert any(f" {side} " in prompt.text for side in prompts.SIDES)


def test_mixed_takes_the_kinds_in_turns() -> None:
    kinds = [prompt.kind for prompt in prompts.mixed(("one", "three"), prompts.playground, 2)]
    assert kinds == ["one", "three", "one", "three"]


def test_prompts_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("# mine\na cat\n\na dog\na cat\n", encoding="utf-8")
    assert [prompt.text for prompt in prompts.from_file(path)] == ["a cat", "a dog"]
    path.write_text("#\n", encoding="utf-8")
    with pytest.raises(ValueError, match="no prompts"):
        prompts.from_file(path)


def test_a_package_of_the_same_name_does_not_come_first(tmp_path: Path) -> None:
    """fairscale, which image-reward needs, installs a top-level package `benchmarks`."""
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "__init__.py").write_text("raise RuntimeError('the other one')")
    command = [sys.executable, str(ROOT / "benchmarks" / "alignment.py"), "--help"]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True)
    assert done.returncode == 0 and "--webui" in done.stdout, done.stderr


def test_run_fills_the_store_and_asks_for_nothing_twice(tmp_path: Path, plan: Plan) -> None:
    ui = FakeUI()
    store = Store(tmp_path, COMMON)
    run(plan, store, [ui], DRAWING, ["exact"])
    assert len(store.records) == 2 * 3 * 5
    assert [count for _, _, count, _ in ui.asked] == [2, 2, 1] * 6
    first = {(prompt, point) for prompt, _, _, point in ui.asked[:6]}
    assert first == {(plan.prompts[0].text, point) for point in plan.points}, "prompt by prompt"
    assert not plan.missing(Store(tmp_path, COMMON))
    assert all((tmp_path / record.picture).exists() for record in store.records.values())


@pytest.mark.parametrize("error", [KeyboardInterrupt(), WebUIError("status 500"), NoAnswer("gone")])
def test_whatever_stops_it_all_that_was_made_is_kept_and_the_next_run_goes_on(
    tmp_path: Path, plan: Plan, error: Any
) -> None:
    store = Store(tmp_path, COMMON)
    with pytest.raises((KeyboardInterrupt, WebUIError)):
        run(plan, store, [FakeUI(error, fails_at=4)], DRAWING, ["exact"])
    kept = Store(tmp_path, COMMON)
    assert len(kept.records) == 2 + 2 + 1 + 2
    ui = FakeUI()
    run(plan, kept, [ui], DRAWING, ["exact"])
    assert len(kept.records) == 30
    assert sum(count for _, _, count, _ in ui.asked) == 30 - 7


def test_the_others_take_over_from_a_web_ui_that_is_gone(tmp_path: Path, plan: Plan) -> None:
    store = Store(tmp_path, COMMON)
    gone, well = FakeUI(NoAnswer("gone"), fails_at=1), FakeUI()
    run(plan, store, [gone, well], DRAWING, ["exact"])
    assert len(store.records) == 30
    assert len(gone.asked) <= 2


def test_a_torn_last_line_is_left_out(tmp_path: Path, plan: Plan) -> None:
    store = Store(tmp_path, COMMON)
    run(plan, store, [FakeUI()], DRAWING, ["exact"])
    path = tmp_path / "results.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    again = Store(tmp_path, COMMON)
    assert len(again.records) == 29
    run(plan, again, [FakeUI()], DRAWING, ["exact"])
    assert len(Store(tmp_path, COMMON).records) == 30


def test_results_of_another_run_are_not_mixed_in(tmp_path: Path) -> None:
    Store(tmp_path, COMMON).require({"model": "a"})
    Store(tmp_path, COMMON).require({"model": "a"})
    with pytest.raises(ValueError, match="steps was 4, is 5"):
        Store(tmp_path, {"steps": 5})
    with pytest.raises(ValueError, match="model was 'a', is 'b'"):
        Store(tmp_path, COMMON).require({"model": "b"})


def test_pictures_are_scored_again_for_a_new_score_only(tmp_path: Path, plan: Plan) -> None:
    store = Store(tmp_path, COMMON)
    run(plan, store, [FakeUI()], DRAWING, [])
    assert rescore(plan, store, ["exact"], ["right"]) == 30
    assert rescore(plan, Store(tmp_path, COMMON), ["exact"], ["right"]) == 0


def records(differences: Any, prompt_count: int = 40, seeds: int = 4, noise: float = 0.3) -> Any:
    """Off and on records; the on score of prompt i, seed j is the off score plus differences(i)."""
    rng = np.random.default_rng(0)
    found = []
    for i in range(prompt_count):
        for j in range(seeds):
            before = rng.normal(0.5, noise)
            for point, value in ((Point(5, scale=0), before), (Point(5), before + differences(i))):
                found.append(Record(point, f"prompt {i}", "kind", j, {"CLIPScore": value}, ""))
    return found


def test_differences_are_paired() -> None:
    one = statistics.estimate(records(lambda i: 0.01), Point(5), "CLIPScore")
    assert one is not None
    assert one.difference == pytest.approx(0.01)
    assert (one.low, one.high) == pytest.approx((0.01, 0.01)), "the noise that both share is gone"
    assert one.clear and one.pictures == 160 and one.prompts == 40


def test_the_interval_holds_its_level_over_prompts() -> None:
    """Of many studies with a true difference of 0 about 95% of the intervals hold it."""
    rng = np.random.default_rng(1)
    held = 0
    for study in range(300):
        effects = rng.normal(0, 1, 40)
        low, high = statistics.interval([np.repeat(effect, 4) for effect in effects], f"study {study}")
        held += low <= 0 <= high
    assert 0.90 <= held / 300 <= 0.985


def test_one_prompt_has_no_interval() -> None:
    made = records(lambda i: 0.1, prompt_count=1)
    one = statistics.estimate(made, Point(5), "CLIPScore")
    assert one is not None
    assert one.difference == pytest.approx(0.1) and np.isnan([one.low, one.high]).all() and not one.clear
    assert "| +0.100 |" in Report(made, grid({"cfg": [5.0]}), ["CLIPScore"]).table()


def test_points_without_a_partner_have_no_estimate() -> None:
    only_on = [record for record in records(lambda i: 0.1) if not record.point.is_off]
    assert statistics.estimate(only_on, Point(5), "CLIPScore") is None


def test_report_marks_what_is_clear_and_draws(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    noise = rng.normal(0, 1, 40)
    clear = Report(records(lambda i: 0.1), grid({"cfg": [5.0]}), ["CLIPScore"]).table()
    unclear = Report(records(lambda i: noise[i] - noise.mean()), grid({"cfg": [5.0]}), ["CLIPScore"]).table()
    assert "**+0.100 (+0.100 … +0.100)**" in clear
    assert "**" not in unclear


def test_report_of_a_run(tmp_path: Path, plan: Plan) -> None:
    store = Store(tmp_path, COMMON)
    run(plan, store, [FakeUI()], DRAWING, ["exact"])
    for record in list(store.records.values())[:3]:  # a gain or a loss to show
        store.add(Record(**{**vars(record), "scores": {**record.scores, "right": 1.0 - record.scores["right"]}}))
    points = grid({"cfg": [5.0], "scale": [1.0, 2.0]})
    made = Report(list(store.records.values()), points, ["right", "all right"], ["fit"])
    assert made.points == [Point(5, scale=0), Point(5, scale=1)], "points without pictures are left out"
    assert not made.panels(), "one scale is no curve"
    made.write(tmp_path / "page" / "report.md")
    page = (tmp_path / "page" / "report.md").read_text(encoding="utf-8")
    assert made.table() in page and "- all right %: " in page and "- fit %: " in page
    extremes = made.extremes(Point(5, scale=1), "right")
    changes = [on.scores["right"] - off.scores["right"] for off, on in (*extremes.gains, *extremes.losses)]
    assert changes and all(changes), "only pictures that changed"


def answering(infotext: Any) -> Any:
    return {"images": ["aGk="], "info": json.dumps({"infotexts": [infotext]})}


def test_a_picture_that_says_otherwise_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    ui = WebUI("http://fake/")
    monkeypatch.setattr(ui, "request", lambda *args: answering("a cat\nSteps: 4"))
    assert ui.txt2img("a cat", 1, 1, Point(5, scale=0), DRAWING) == [b"hi"]
    with pytest.raises(WebUIError, match="should have been on"):
        ui.txt2img("a cat", 1, 1, Point(5), DRAWING)
    monkeypatch.setattr(ui, "request", lambda *args: answering("a cat\nSteps: 4, PLADIS scale: 2"))
    with pytest.raises(WebUIError, match="should have been off"):
        ui.txt2img("a cat", 1, 1, Point(5, scale=0), DRAWING)


def test_another_point_can_be_what_it_is_compared_with() -> None:
    made = records(lambda i: 0.1)
    same = statistics.estimate(made, Point(5), "CLIPScore", Point(5).off)
    assert same == statistics.estimate(made, Point(5), "CLIPScore")
    assert statistics.estimate(made, Point(5), "CLIPScore", Point(7).off) is None
