"""The page's language, for what its script can't translate: texts in boxes of gradio's that are read back."""

from __future__ import annotations

import json
import sys
from pathlib import Path


def translations() -> dict[str, str]:
    """The web UI's table for the language of its settings page, all extensions' files together; {} for English."""
    from modules import shared

    host = sys.modules.get("modules.localization")
    files = getattr(host, "localizations", {}).get(shared.opts.data.get("localization"), [])
    found: dict[str, str] = {}
    for file in [files] if isinstance(files, str) else files:
        try:
            found.update(json.loads(Path(file).read_text(encoding="utf-8-sig")))
        except (OSError, ValueError):
            pass  # the web UI says so when it reads the file for the page
    return found
