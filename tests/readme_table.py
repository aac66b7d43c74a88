"""The pages' tables of settings, presets and suggestions, made from the code.

`python -m tests.readme_table` puts them in.
"""

from __future__ import annotations

from pathlib import Path

from lib_pladis.presets import PRESETS, Preset
from lib_pladis.settings import TABLE, Setting
from lib_pladis.suggestion import GUIDED, JOINT, RULES, UNETS, UNGUIDED, Rule

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    "settings": ROOT / "docs" / "settings.md",
    "presets": ROOT / "docs" / "presets.md",
    "suggestions": ROOT / "docs" / "presets.md",
}
"""By name, the page that a table stands in."""

KINDS = {
    "few steps": "named for few steps: turbo, lightning, LCM, hyper, schnell, distilled, 4-step and the like",
    "tags": "named for tags: Pony, Illustrious, NoobAI, Animagine and the like",
    "studied": "the playground's own",
    "studied few steps": "the playground's own of 4 steps",
    "": "",
}
CFGS = {GUIDED: "above 1", UNGUIDED: "1", "": "any"}
"""What the rules' kinds and CFG scales are in words."""

MARK = "<!-- {name}: made by python -m tests.readme_table -->", "<!-- end of {name} -->"


def row(setting: Setting) -> str:
    default = "off" if setting.default is False else setting.format(setting.default)
    allowed = setting.allowed.replace("|", "\\|")
    infotext = f"`{setting.infotext}`" if setting.infotext else "–"
    return f"| `{setting.name}` | {setting.label} | {default} | {allowed} | {infotext} | {setting.help} |"


def preset_row(preset: Preset) -> str:
    values = ", ".join(f"`{name}` {TABLE[name].format(value)}" for name, value in preset.values.items())
    return f"| {preset.name} | {values} | {preset.reason} |"


def rule_row(rule: Rule) -> str:
    about = ", ".join(filter(None, [{**UNETS, **JOINT}.get(rule.family), KINDS[rule.kind]]))
    return f"| {about} | {CFGS[rule.cfg]} | {rule.preset or 'none'} |"


def tables() -> dict[str, str]:
    """Marked tables by name, as they stand in `PAGES`."""
    heads = {
        "settings": "| API name | Label | Default | Allowed | PNG info | What it does |\n|---|---|---|---|---|---|",
        "presets": "| Preset | Sets | Why |\n|---|---|---|",
        "suggestions": "| the checkpoint | CFG | suggested |\n|---|---|---|",
    }
    rows = {
        "settings": map(row, TABLE.values()),
        "presets": map(preset_row, PRESETS),
        "suggestions": map(rule_row, RULES),
    }
    return {
        name: "\n".join([MARK[0].format(name=name), head, *rows[name], MARK[1].format(name=name)])
        for name, head in heads.items()
    }


def place(name: str, text: str) -> slice:
    """Where the table of that name stands in a page's text, its marks included."""
    begin, end = (mark.format(name=name) for mark in MARK)
    start = text.index(begin)
    return slice(start, text.index(end, start) + len(end))


if __name__ == "__main__":
    for name, table in tables().items():
        text = PAGES[name].read_text(encoding="utf-8")
        where = place(name, text)
        PAGES[name].write_text(text[: where.start] + table + text[where.stop :], encoding="utf-8")
