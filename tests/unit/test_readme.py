"""The README and the pages under docs/ tell what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.readme_table import PAGES, place, tables

ROOT = Path(__file__).resolve().parents[2]
TEXTS = {path: path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]}


def found(pattern: str) -> list[tuple[Path, str]]:
    return sorted({(path, match) for path, text in TEXTS.items() for match in re.findall(pattern, text)})


@pytest.mark.parametrize("name", tables())
def test_the_tables_are_the_codes(name: str) -> None:
    text = TEXTS[PAGES[name]]
    assert text[place(name, text)] == tables()[name], "run python -m tests.readme_table"


@pytest.mark.parametrize(("page", "target"), found(r"\]\((?!https?:|#)([^)]+)\)"))
def test_links_and_pictures_exist(page: Path, target: str) -> None:
    assert (page.parent / target.split("#")[0]).exists()


@pytest.mark.parametrize(("page", "target"), found(r"\]\(((?!https?:)[^)]*#[^)]+)\)"))
def test_links_into_a_page_name_a_heading(page: Path, target: str) -> None:
    file, _, anchor = target.partition("#")
    text = TEXTS[(page.parent / file).resolve() if file else page]
    headings = [re.sub(r"[^\w\- ]", "", line.lstrip("# ").lower()).replace(" ", "-") for line in text.splitlines()]
    assert anchor in headings


@pytest.mark.parametrize(("page", "command"), found(r"python ((?:playground|tests|benchmarks)/[\w/]+\.py)"))
def test_commands_name_files_that_exist(page: Path, command: str) -> None:
    assert (ROOT / command).exists()


SOURCE = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "lib_pladis").rglob("*.py"))
MESSAGES = re.findall(r"`([^`]+)`", " ".join(re.findall(r"(?m)^\| ([^|]*)\|", TEXTS[ROOT / "docs/troubleshooting.md"])))


@pytest.mark.parametrize("message", sorted(set(MESSAGES)))
def test_messages_that_are_explained_are_the_codes_own(message: str) -> None:
    source = re.sub(r'"\s*f?"', "", SOURCE).replace("\\'", "'")  # strings that run over lines are one
    said = message.replace("PLADIS: not applied: ", "").removeprefix("PLADIS: ")
    for part in said.split("…"):
        assert part.strip(" .:,()s") in source
