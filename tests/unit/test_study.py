"""docs/alignment.md says what the committed scores say."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from benchmarks import study
from benchmarks.align.point import Point
from lib_pladis.presets import BUILT_IN

TEXT = study.PAGE.read_text(encoding="utf-8")
README = (study.ROOT / "README.md").read_text(encoding="utf-8")


def test_the_tables_are_those_of_the_committed_scores() -> None:
    assert all(f"<!-- table: {name} -->" in TEXT for name in study.TABLES)
    assert study.with_tables(TEXT) == TEXT


def test_the_readme_names_no_figure_that_the_page_has_not() -> None:
    told = re.findall(r"[+-][\d.]+ \([+-][\d.]+ … [+-][\d.]+\)", README)
    assert all(figure in TEXT for figure in told)


@pytest.mark.parametrize(("model", "cfg"), [(study.MANY, 5.0), (study.MANY, 1.0), (study.FEW, 1.0)])
def test_the_first_part_is_whole(model: study.Model, cfg: float) -> None:
    for scale in (0.0, *study.SCALES):
        found = study.part(model, study.first).estimate(Point(cfg, scale), study.SCORE)
        assert found and found.pictures == 2048


def test_what_is_judged_on_fresh_prompts_shares_none_with_what_was_chosen_on() -> None:
    for model in (study.MANY, study.FEW):
        prompts = [
            {one.prompt for one in model.records if of(one)} for of in (study.first, study.fresh, study.guidance)
        ]
        assert not any(a & b for i, a in enumerate(prompts) for b in prompts[:i])


@pytest.mark.parametrize("name", study.FRESH_PRESETS)
def test_presets_are_judged_by_500_pictures_or_more(name: str) -> None:
    for model, cfg in study.COLUMNS.values():
        found = study.part(model, study.fresh).estimate(Point.of(BUILT_IN[name], cfg), study.SCORE)
        assert found and found.pictures >= 500


def test_every_point_beside_guidance_has_the_same_pictures() -> None:
    records = study.part(study.MANY, study.guidance).records
    counts = Counter(record.point for record in records)
    wanted = {Point(cfg).off for cfg in study.GUIDANCE}
    wanted |= {Point(cfg, scale) for cfg in study.GUIDANCE[:4] for scale in study.SCALES}
    assert set(counts) == wanted and len(set(counts.values())) == 1
    assert len({(record.prompt, record.seed) for record in records}) == next(iter(counts.values())) >= 500


def test_the_playground_begins_where_a_gain_was_found() -> None:
    begins = json.loads((study.ROOT / "playground" / "host" / "ui-config.json").read_text(encoding="utf-8"))
    cfg = begins["txt2img/CFG Scale/value"]
    point = Point(cfg, begins["customscript/pladis.py/txt2img/Scale (λ)/value"])
    assert point == Point.of(BUILT_IN["No guidance"], cfg)
    assert begins["txt2img/Sampling steps/value"] == study.MANY.drawing.steps
    for of in (study.fresh, study.guidance):
        found = study.part(study.MANY, of).estimate(point, study.SCORE)
        assert found and found.low > 0


def test_every_picture_of_the_page_exists() -> None:
    pictures = re.findall(r"!\[[^]]*\]\(([^)]+)\)", TEXT)
    assert len(pictures) == 3
    for picture in pictures:
        assert (Path(study.PAGE).parent / picture).is_file(), picture
