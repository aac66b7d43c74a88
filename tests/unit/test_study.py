"""docs/alignment.md says what the committed scores say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks.align.compared import Compared
from benchmarks.align.publish import PAGE, README, SCORES, read_scores, report_of, with_tables
from benchmarks.align.second import COLUMNS, COMPARISONS
from benchmarks.align.study import EXPERIMENTS, MODELS

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / PAGE).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def scores() -> Any:
    return {model: read_scores(ROOT / SCORES.format(model=model)) for model in MODELS}


@pytest.mark.parametrize("page", [PAGE, README])
def test_the_tables_are_those_of_the_committed_scores(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert "<!-- table: " in text and with_tables(text, ROOT) == text


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: experiment.name)
def test_every_experiment_is_on_the_page_and_whole(experiment: Any, scores: Any) -> None:
    assert f"<!-- table: {experiment.name} -->" in TEXT
    made = report_of(experiment, scores[experiment.model])
    assert made.points == list(experiment.points)
    whole = len(experiment.prompts) * len(experiment.seeds)
    for point in experiment.points:
        found = made.estimate(point, "right")
        assert found and found.pictures == whole >= 500, point


@pytest.mark.parametrize("comparison", COMPARISONS, ids=lambda comparison: comparison.name)
def test_every_comparison_is_on_the_page_and_its_points_are_whole(comparison: Any, scores: Any) -> None:
    assert f"<!-- table: {comparison.name} -->" in TEXT
    made = Compared(comparison, scores)
    for column in comparison.columns:
        experiment = comparison.experiment(column.model)
        assert made.pictures(column) in (0, len(experiment.plan.pairs)), column.title


def test_claims_are_made_everywhere_and_of_enough_pictures(scores: Any) -> None:
    claims = next(one for one in COMPARISONS if one.name == "claims")
    made = Compared(claims, scores)
    assert all(made.pictures(column) >= 500 for column in COLUMNS)


def test_every_picture_of_the_page_exists() -> None:
    pictures = re.findall(r"!\[[^]]*\]\(([^)]+)\)", TEXT)
    assert pictures
    for picture in pictures:
        assert (ROOT / PAGE).parent.joinpath(picture).is_file(), picture
