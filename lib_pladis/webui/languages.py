"""The page's language: our translations under every name of a language, and for texts that gradio returns."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[2] / "localizations"

NAMES = {
    "zh_CN": r"(?!.*(hant|tw|hk|traditional|繁)).*(zh([-_ ]?(cn|sg|hans))?\b|zh[-_](cn|hans)|chinese|简|中文)",
    "ko_KR": r".*(\bko([-_]kr)?\b|korean|한국)",
    "ja_JP": r".*(\bja([-_]jp)?\b|\bjp\b|japanese|日本)",
}
"""Names of tables of other extensions in the language of one of our files: "zh-Hans (Stable)", "chinese-all-0313"."""


def our_file(name: str) -> Path | None:
    """Our translations for a table of that name, if the host doesn't find them by its own rules."""
    known = (stem for stem, pattern in NAMES.items() if name != stem and re.match(pattern, name.lower()))
    return next((FOLDER / f"{stem}.json" for stem in known), None)


def register() -> None:
    """Add our files to the host's tables of those languages."""
    for name, files in _tables().items():
        ours = our_file(name)
        if isinstance(files, list) and ours is not None and str(ours) not in files:
            files.append(str(ours))


def translations() -> dict[str, str]:
    """The web UI's table for the language of its settings page, all extensions' files together; {} for English."""
    from modules import shared

    name = shared.opts.data.get("localization")
    files: Any = _tables().get(name, [])
    found: dict[str, str] = {}
    for file in [*([files] if isinstance(files, str) else files), *filter(None, [our_file(str(name))])]:
        try:
            found.update(json.loads(Path(file).read_text(encoding="utf-8-sig")))
        except (OSError, ValueError):
            pass  # the web UI says so when it reads the file for the page
    return found


def _tables() -> dict[str, list[str]]:
    found: dict[str, list[str]] = getattr(sys.modules.get("modules.localization"), "localizations", {})
    return found
