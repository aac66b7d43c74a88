"""The README's table of settings, made from `lib_pladis.settings.TABLE`: `python -m tests.readme_table`."""

from __future__ import annotations

from lib_pladis.settings import TABLE, Setting

BEGIN, END = "<!-- settings: made by python -m tests.readme_table -->", "<!-- end of settings -->"


def row(setting: Setting) -> str:
    default = "off" if setting.default is False else setting.format(setting.default)
    allowed = setting.allowed.replace("|", "\\|")
    infotext = f"`{setting.infotext}`" if setting.infotext else "–"
    return f"| `{setting.name}` | {setting.label} | {default} | {allowed} | {infotext} | {setting.help} |"


def table() -> str:
    head = "| API name | Label | Default | Allowed | PNG info | What it does |\n|---|---|---|---|---|---|"
    return "\n".join([BEGIN, head, *map(row, TABLE.values()), END])


if __name__ == "__main__":
    print(table())
