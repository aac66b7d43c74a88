"""All texts of the extension's page, and the translations of them: `python -m tests.texts` prints what is missing.

The web UIs read `localizations/<language>.json` of each extension, and put a translation in the place of a whole text.
"""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

from lib_pladis import json_file, presets, suggestion
from lib_pladis.settings import TABLE
from lib_pladis.webui import page
from lib_pladis.webui.blind import blind_test, draw, prompts, tally

ROOT = Path(__file__).resolve().parents[1]
LANGUAGES = {path.stem: path for path in sorted((ROOT / "localizations").glob("*.json"))}

NAMES = {"PLADIS"}
"""What is the same in every language."""

VIEWS = {
    "pladis_view_compare.js": ("Compare", "plain"),
    "pladis_view_look.js": ("Look inside", "Layer by layer", "Steps", "Layers", "Pass"),
}
"""Texts of the views under the gallery, which the web UI translates where they are put in."""

ABOUT = "Look inside · "
"""What stands before a text of the views in the table of translations, where the text alone could be a prompt's."""

VALUE = "Value · "
"""The same for the values of a setting that is chosen by name."""

SCRIPTS = {path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / "javascript").glob("*.js"))}


def _views() -> set[str]:
    """Those texts: what `said` is asked for, and the names that it is asked for by their keys."""
    script = SCRIPTS["pladis_view_look.js"]
    found = set(re.findall(r'\bsaid\("([^"]+)"', "".join(SCRIPTS.values())))
    for name in ("NAMES", "PASSES"):
        found |= set(re.findall(r': "([^"]+)"', script[script.index(f"const {name} = ") :].partition("};")[0]))
    for list_ in re.findall(r"const (?:KINDS|MODES) = \[([^\]]+)\]", "".join(SCRIPTS.values())):
        found |= set(re.findall(r'"(\w+)"', list_))
    return {ABOUT + text for text in found - {"Hires. fix"}}


def _strings(path: Path, wanted: str) -> set[str]:
    """Constants of a module: the first argument of each call of `wanted`, or the values of a dict of that name."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == wanted and node.args:
            found |= {arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant)}
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == wanted:
            values = node.value.values if isinstance(node.value, ast.Dict) else [node.value]
            found |= {value.value for value in values if isinstance(value, ast.Constant)}
    return {text for text in found if isinstance(text, str)}


def texts() -> set[str]:
    """Every text that a person reads in the panel and on the settings page."""
    webui = ROOT / "lib_pladis" / "webui"
    found = {text for setting in TABLE.values() for text in (setting.label, setting.help)}
    found |= {preset.reason for preset in presets.PRESETS} | {page.PRESET + preset.name for preset in presets.PRESETS}
    found |= {VALUE + choice for setting in TABLE.values() if setting.kind == "choice" for choice in setting.choices}
    found |= {rule.why for rule in suggestion.RULES} | {suggestion.NO_FIGURES, suggestion.UNKNOWN}
    found |= {suggestion.OWN, suggestion.OWN_OFF, suggestion.OWN_SO_FAR}
    found |= {*prompts.SOURCES, blind_test.OFF, draw.PANEL, *tally.SAID.values()}
    found |= {page.CHANGED, page.AGAIN, page.SUGGESTED, page.TAKE, page.AS_SET, page.FORMULA_TITLE}
    found |= {text for _, text in page.FORMULA}
    found |= {
        pattern for pattern, _ in page.facts()["glance"].values() if re.search("[a-z]", pattern.replace("{value}", ""))
    }
    for name in ("LABELS", "HELP", "SAID"):
        found |= _strings(webui / "preset_panel.py", name) | _strings(webui / "blind" / "panel.py", name)
    for name in ("ADVANCED", "WEIGHTS", "BLIND_TEST", "NOT_TAKEN", "TWICE"):
        found |= _strings(webui / "panel.py", name)
    for name in ("KERNEL_LABEL", "CHECK", "FOLLOW_LABEL", "FOUND"):
        found |= _strings(webui / "options.py", name)
    for path in (ROOT / "lib_pladis" / "presets.py", *webui.glob("*.py")):
        found |= _strings(path, "PresetError")
    found |= _strings(ROOT / "lib_pladis" / "json_file.py", "FileError")
    found |= {json_file.CANNOT_READ, json_file.CANNOT_WRITE}
    for script in SCRIPTS.values():
        found |= set(re.findall(r'\bt\("([^"]+)"', script))
    return (found | {text for of_view in VIEWS.values() for text in of_view} | _views()) - NAMES


def translations(language: str) -> dict[str, str]:
    return json.loads(LANGUAGES[language].read_text(encoding="utf-8"))


if __name__ == "__main__":
    for language in LANGUAGES:
        print(language, "misses", sorted(texts() - set(translations(language))))
