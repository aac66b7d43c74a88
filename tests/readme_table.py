"""The README's tables of settings and presets, made from `lib_pladis.settings`: `python -m tests.readme_table`."""

from __future__ import annotations

from lib_pladis.presets import PRESETS, Preset
from lib_pladis.settings import TABLE, Setting

MARK = "<!-- {name}: made by python -m tests.readme_table -->", "<!-- end of {name} -->"


def row(setting: Setting) -> str:
    default = "off" if setting.default is False else setting.format(setting.default)
    allowed = setting.allowed.replace("|", "\\|")
    infotext = f"`{setting.infotext}`" if setting.infotext else "–"
    return f"| `{setting.name}` | {setting.label} | {default} | {allowed} | {infotext} | {setting.help} |"


def preset_row(preset: Preset) -> str:
    values = ", ".join(f"`{name}` {TABLE[name].format(value)}" for name, value in preset.values.items())
    return f"| {preset.name} | {values} | {preset.reason} |"


def tables() -> dict[str, str]:
    """Marked tables by name, as they stand in the README."""
    heads = {
        "settings": "| API name | Label | Default | Allowed | PNG info | What it does |\n|---|---|---|---|---|---|",
        "presets": "| Preset | Sets | Why |\n|---|---|---|",
    }
    rows = {"settings": map(row, TABLE.values()), "presets": map(preset_row, PRESETS)}
    return {
        name: "\n".join([MARK[0].format(name=name), head, *rows[name], MARK[1].format(name=name)])
        for name, head in heads.items()
    }


if __name__ == "__main__":
    print("\n\n".join(tables().values()))
