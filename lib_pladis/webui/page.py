"""The data that the page's scripts (javascript/) find in the panel, and the panel's texts as HTML.

Each sentence is a node of its own, because the web UIs translate whole text nodes.
"""

from __future__ import annotations

import html
import json
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from lib_pladis.json_file import FileError
from lib_pladis.presets import BUILT_IN, PRESET_SETS
from lib_pladis.settings import TABLE
from lib_pladis.suggestion import UNKNOWN, Suggestion
from lib_pladis.webui.tokens import IN_BETWEEN

MAIN = "main"
"""The row that is always visible; all others are under "Advanced"."""

BESIDE = "beside"
"""The row of Compare and Look inside, always visible as well."""

TOKEN = secrets.token_urlsafe()
"""Identifies requests of the web UI's own page: whoever got the page has it (with `--gradio-auth`, after login)."""

DRAWN = ("scale", "alpha", "temperature", "rescale")
"""The settings that the chart follows."""

SHORT = {
    "scale": "λ {value}",
    "alpha": "α {value}",
    "start": "from {value}",
    "end": "to {value}",
    "temperature": "T {value}",
    "rescale": "φ {value}",
}
"""How the panel's title writes some settings; other numbers follow their labels, all else is written as it is."""

ALWAYS = ("scale", "alpha")
"""Settings that the panel's title always shows; the others only if they differ from their defaults."""


def facts() -> dict[str, Any]:
    """What the page's script knows of the settings.

    `defaults`: of all, in the order in which gradio sends their values. `advanced`, `presets`: which ones are under
    Advanced, and which a preset sets. `ranges`: of the sliders that the chart follows. `glance`: how the panel's title
    writes them, name -> [pattern, always]. `sliders`: their labels. `choices`: settings with named values. `helped`:
    what has a help text. `between`: words of a prompt that the chart leaves out. `token`: sent with the page's
    requests.
    """
    return {
        "defaults": {name: setting.default for name, setting in TABLE.items()},
        "advanced": [name for name, setting in TABLE.items() if setting.row not in (MAIN, BESIDE)],
        "presets": PRESET_SETS,
        "ranges": {name: [TABLE[name].minimum, TABLE[name].maximum] for name in DRAWN},
        "glance": {
            name: [
                SHORT.get(name, f"{setting.label} {{value}}" if setting.kind == "float" else "{value}"),
                name in ALWAYS,
            ]
            for name, setting in TABLE.items()
            if setting.infotext and setting.row != "hires"
        },
        "sliders": {name: setting.label for name, setting in TABLE.items() if setting.kind == "float"},
        "choices": [name for name, setting in TABLE.items() if setting.kind == "choice"],
        "helped": ["preset", "preset_name", "preset_text", *(name for name in TABLE if name != "enabled")],
        "between": sorted(IN_BETWEEN),
        "token": TOKEN,
    }


def chart(elem_id: str) -> str:
    """The element of the chart. The id is in the markup: gradio 3 writes an HTML component's `elem_id` twice."""
    data = html.escape(json.dumps(facts()))
    return f'<div id="{elem_id}" data-facts="{data}"><div class="pladis-curve"></div></div>'


CHANGED, AGAIN = "Modified", "Reset"


def _line(elem_id: str, kind: str, said: str, act: str = "", **data: object) -> str:
    """A line of the panel. Its whole text is shown while it has the focus or the pointer. `act` at its end is visible
    if the settings differ from `data["sets"]`, which the script decides (without `pladis-as-set`)."""
    told = "".join(f' data-{name}="{html.escape(str(value))}"' for name, value in data.items())
    text = f'<div class="pladis-text" tabindex="0" role="note">{said}</div>' if said else ""
    return f'<div id="{elem_id}" class="pladis-line pladis-{kind} pladis-as-set"{told}>{text}{act}</div>'


def _take(preset: str, text: str) -> str:
    return f'<button type="button" class="pladis-take" data-preset="{html.escape(preset)}">{text}</button>'


def reason(
    elem_id: str, preset: str = "", text: str = "", sets: Mapping[str, Any] | None = None, called: str = ""
) -> str:
    """The line that says what the chosen preset is for. `sets`: what it sets; `called`: its name in the page's
    language."""
    if not preset:
        return _line(elem_id, "reason", "")
    why = f": <span>{html.escape(text)}</span>" if text else ""
    return _line(
        elem_id,
        "reason",
        f"<b>{html.escape(called or preset)}</b>{why}",
        f'<span class="pladis-act"><span>{CHANGED}</span> · {_take(preset, AGAIN)}</span>',
        sets=json.dumps(sets or {}),
    )


PRESET = "Preset · "
"""Prefix of a built-in preset's name in the translation tables: the name alone could be a word of a prompt."""

SUGGESTED, TAKE, AS_SET = "Suggested for", "Apply", "your current settings."


def suggestion(
    elem_id: str,
    listed: Sequence[str],
    found: Suggestion | None = None,
    called: str = "",
    question: int = 0,
    said: Sequence[str] = (),
    checkpoint: str = "",
    follow: str = "",
) -> str:
    """The line that suggests a preset for the model in use, with a button to apply it.

    `listed`: the presets in the page's list, which the page sends back with its next question. `called`: the preset's
    name in the page's language; `said`: the words of a blind test, likewise. `question`: the number of the page's
    question that this answers; gradio may drop one, and answers may overtake each other. If the suggested preset is
    set already, its reason is shown above, and the line doesn't repeat it. `checkpoint`: the chosen one; `follow`: the
    preset that choosing it sets ("": none).
    """
    data: dict[str, Any] = {"listed": json.dumps(list(listed))}
    if found is None:
        return _line(elem_id, "suggestion", "", **data)
    data |= {"answers": question, "checkpoint": checkpoint, "follow": follow}
    if found.why == UNKNOWN:
        data["again"] = ""
    texts = [f"<span>{html.escape(text)}</span>" for text in (found.why, *said)]
    act = ""
    if found.preset:
        data["sets"] = json.dumps(found.own.sets if found.own else BUILT_IN[found.preset].sets)
        other = f"<b>{html.escape(called or found.preset)}</b>."
        if found.own is None:
            other += f" {texts.pop(0)}"
        texts[:0] = [f'<span class="pladis-other">{other}</span><span class="pladis-same">{AS_SET}</span>']
        act = f'<span class="pladis-act">{_take(found.preset, TAKE)}</span>'
    text = f"<span>{SUGGESTED}</span> {html.escape(found.about)}: {' '.join(texts)}"
    return _line(elem_id, "suggestion", text, act, **data)


def message(elem_id: str, text: str = "", detail: str = "", *, error: bool = False) -> str:
    """The result of a click: a sentence, and what it is about."""
    kind = ' pladis-error" role="alert' if error else ""
    said = f"<span>{html.escape(text)}</span> <b>{html.escape(detail)}</b>" if text else ""
    return f'<div id="{elem_id}" class="pladis-message{kind}">{said}</div>'


def failure(elem_id: str, error: FileError) -> str:
    """An error as a message for the user."""
    return message(elem_id, error.text, error.detail, error=True)


FORMULA_TITLE = "Formula"
FORMULA = (
    ("blend = λ · α-entmax(z / T) + (1 − λ) · softmax(z)", "z are the attention's logits, one for each token."),
    ("out = blend · V · ((1 − φ) + φ · ‖softmax(z) · V‖ / ‖blend · V‖)", "V are the tokens' values."),
)


def formula() -> str:
    """A “?” that opens the formula behind the sliders."""
    rows = "".join(f"<p><code>{html.escape(code)}</code><br><span>{text}</span></p>" for code, text in FORMULA)
    return (
        f'<details class="pladis-formula"><summary><span aria-hidden="true">?</span>'
        f"<span>{FORMULA_TITLE}</span></summary>{rows}</details>"
    )
