"""Our translations under the names that other extensions' tables have."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lib_pladis.webui import languages

CHINESE = (
    "zh-Hans (Stable)",
    "zh-Hans (Testing)",
    "zh_Hans",
    "zh-CN",
    "chinese-all-0313",
    "chinese-english-0313",
    "简体中文",
)
KOREAN = ("ko-KR", "ko", "korean", "한국어")
JAPANESE = ("ja-JP", "ja", "jp", "japanese", "日本語")
OTHERS = ("zh_TW", "zh-Hant (Stable)", "繁體中文", "zh-HK", "None", "", "de_DE", "fr", "kor", "zh_CN", "ko_KR", "ja_JP")


@pytest.mark.parametrize(
    ("names", "stem"), [(CHINESE, "zh_CN"), (KOREAN, "ko_KR"), (JAPANESE, "ja_JP"), (OTHERS, None)]
)
def test_a_table_gets_our_file_of_its_language(names: tuple[str, ...], stem: str | None) -> None:
    for name in names:
        found = languages.our_file(name)
        assert (found.stem if found else None) == stem, name
        assert found is None or found.exists()


def test_the_hosts_tables_and_the_panel_have_our_texts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    theirs = tmp_path / "zh-Hans (Stable).json"
    theirs.write_text(json.dumps({"Seed": "随机种子"}), encoding="utf-8")
    host: Any = SimpleNamespace(localizations={"zh-Hans (Stable)": [str(theirs)], "old": "old.json"})
    shared: Any = SimpleNamespace(opts=SimpleNamespace(data={"localization": "zh-Hans (Stable)"}))
    monkeypatch.setitem(sys.modules, "modules", SimpleNamespace(shared=shared))
    monkeypatch.setitem(sys.modules, "modules.localization", host)
    assert languages.translations() == {**json.loads(theirs.read_text(encoding="utf-8")), **ours()}
    for _ in range(2):
        languages.register()
    assert host.localizations["zh-Hans (Stable)"] == [str(theirs), str(languages.FOLDER / "zh_CN.json")]
    assert host.localizations["old"] == "old.json"
    assert languages.translations()["Seed"] == "随机种子"


def ours() -> dict[str, str]:
    found: dict[str, str] = json.loads((languages.FOLDER / "zh_CN.json").read_text(encoding="utf-8"))
    return found
