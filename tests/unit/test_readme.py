"""The README tells what the code does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.readme_table import MARK, tables

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", tables())
def test_the_tables_are_the_codes(name: str) -> None:
    begin, end = (mark.format(name=name) for mark in MARK)
    found = README[README.index(begin) : README.index(end) + len(end)]
    assert found == tables()[name], "run python -m tests.readme_table and paste"


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\((?!https?:|#)([^)]+)\)", README))))
def test_links_and_pictures_exist(target: str) -> None:
    assert (ROOT / target.split("#")[0]).exists()


@pytest.mark.parametrize(
    "command", sorted(set(re.findall(r"python ((?:playground|tests|benchmarks)/[\w/]+\.py)", README)))
)
def test_commands_name_files_that_exist(command: Any) -> None:
    assert (ROOT / command).exists()
