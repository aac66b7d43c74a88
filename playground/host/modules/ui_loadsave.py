"""What the page's controls start with where that isn't their own value: the webui's ui-config.json, read only."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

ui_settings: Mapping[str, Any] = {}
"""By the webui's paths, such as "customscript/pladis.py/txt2img/Scale (λ)/value"."""


def load(path: str) -> None:
    """Read such a file ("": nothing is set). Raises OSError where it isn't there, ValueError where it isn't JSON."""
    global ui_settings
    ui_settings = json.loads(Path(path).read_text(encoding="utf-8")) if path else {}


def apply(place: str, controls: Iterable[Any]) -> None:
    """Give controls their values; `place` is a tab, or "customscript/<file>/<tab>" for a script's."""
    for control in controls:
        key = f"{place}/{control.label}/value"
        if key in ui_settings:
            control.value = ui_settings[key]
