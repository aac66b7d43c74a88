"""What the page's script (javascript/pladis.js) finds in the panel: the chart's place, and facts of the settings."""

from __future__ import annotations

import html
import json
from typing import Any

from lib_pladis.settings import TABLE

MAIN = "main"
"""The row that is always seen; all others are under "Advanced"."""

BESIDE = "beside"
"""The row of what is shown beside the picture, always seen as well."""

DRAWN = ("scale", "alpha", "temperature")
"""What the chart shows."""


def facts() -> dict[str, Any]:
    """`ranges` of the sliders that the chart follows, and the defaults of what is under Advanced."""
    return {
        "ranges": {name: [TABLE[name].minimum, TABLE[name].maximum] for name in DRAWN},
        "advanced": {name: setting.default for name, setting in TABLE.items() if setting.row not in (MAIN, BESIDE)},
    }


def chart(elem_id: str) -> str:
    """The chart's place. The id is in the markup: gradio 3 writes an HTML component's `elem_id` twice."""
    data = html.escape(json.dumps(facts()))
    return f'<div id="{elem_id}" data-facts="{data}"><div class="pladis-curve"></div></div>'


def reason(elem_id: str, preset: str = "", text: str = "") -> str:
    """The place that says what the chosen preset is for."""
    said = f"<b>{html.escape(preset)}</b>: {html.escape(text)}" if preset else ""
    return f'<div id="{elem_id}" class="pladis-reason">{said}</div>'
