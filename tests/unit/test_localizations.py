"""Korean, Japanese and simplified Chinese are whole, and say nothing that isn't asked for."""

from __future__ import annotations

import re

import pytest

from lib_pladis.presets import BUILT_IN
from lib_pladis.webui import page
from tests.texts import LANGUAGES, ROOT, VIEWS, texts, translations

GREEK = re.compile("[\u0370-\u03ff]")
KEPT = re.compile(r"\{\w+\}|\d+(?:\.\d+)?")
"""What is the same in every language: places to fill in, and figures."""

SCRIPTS = {"ko_KR": "[\uac00-\ud7a3]", "ja_JP": "[\u3040-\u30ff\u4e00-\u9fff]", "zh_CN": "[\u4e00-\u9fff]"}


def test_the_three_languages_are_there_by_the_names_that_the_hosts_languages_have() -> None:
    assert set(LANGUAGES) == set(SCRIPTS)


@pytest.mark.parametrize("language", SCRIPTS)
def test_none_is_missing_and_none_is_stale(language: str) -> None:
    known, wanted = set(translations(language)), texts()
    file = LANGUAGES[language].name
    assert sorted(wanted - known) == [], f"to be translated in {file}; python -m tests.texts lists them"
    assert sorted(known - wanted) == [], f"in {file}, and no text of the page"


@pytest.mark.parametrize("language", SCRIPTS)
def test_a_preset_is_called_in_each_text_what_it_is_called_in_the_list(language: str) -> None:
    said = translations(language)
    missing = [page.PRESET + name for name in BUILT_IN if page.PRESET + name not in said]
    assert missing == [], f"to be translated in {LANGUAGES[language].name}"
    called = [said[page.PRESET + name] for name in BUILT_IN]
    assert len(set(called)) == len(BUILT_IN), "to be told apart"
    for english, text in said.items():
        for name in BUILT_IN:
            assert not re.search(rf"\b{name}\b", text), f"{english!r}: {name} is {said[page.PRESET + name]}"


@pytest.mark.parametrize("language", SCRIPTS)
def test_figures_greek_letters_and_places_to_fill_in_are_kept(language: str) -> None:
    for english, said in translations(language).items():
        assert set(GREEK.findall(english)) == set(GREEK.findall(said)), english
        assert set(KEPT.findall(english)) <= set(KEPT.findall(said)), english
        assert re.search(SCRIPTS[language], said), english
        assert said == said.strip() and "\n" not in said


def test_the_inventory_is_not_blind() -> None:
    """One text of each source, so that a source that is no longer found is noticed."""
    wanted = {
        "Scale (λ)", "Steps", "Modified", "from {value}", "Save these settings", "Saved:", "Advanced",
        "Give it a name first.", "There are too many presets of this name:", "sum {sum}", "on · {set}",
        "Formula", "Preset · Steady", "Next picture",
        "Kernel (auto: the fastest that this machine can run)",
    }  # fmt: skip
    assert wanted <= texts()


@pytest.mark.parametrize("language", SCRIPTS)
def test_no_word_of_the_charts_example_is_translated(language: str) -> None:
    """The host puts a translation wherever that text stands, in the chart as well."""
    script = (ROOT / "javascript" / "pladis_math.js").read_text(encoding="utf-8")
    tokens = re.findall(r'"([^"]+)"', script[script.index("TOKENS = [") : script.index("LOGITS = [")])
    assert "on" in tokens and not set(tokens) & set(translations(language))


@pytest.mark.parametrize("name", VIEWS)
def test_the_views_have_the_texts_that_are_said_to_be_theirs(name: str) -> None:
    source = (ROOT / "javascript" / name).read_text(encoding="utf-8")
    for text in VIEWS[name]:
        assert f'"{text}"' in source
