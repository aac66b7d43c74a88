"""`/pladis/v1`: the settings' schema, the version, and what the last generation really did."""

from __future__ import annotations

from typing import Any

from lib_pladis import __version__
from lib_pladis.settings import TABLE, Setting
from lib_pladis.webui.generation import Generations


def schema() -> dict[str, Any]:
    """JSON schema of the settings, as the one dict that `alwayson_scripts` takes."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "PLADIS",
        "description": "alwayson_scripts: {'PLADIS': {'args': [<this object>]}}, or its values as a list in this order",
        "type": "object",
        "properties": {name: _property(setting) for name, setting in TABLE.items()},
        "additionalProperties": False,
    }


def _property(setting: Setting) -> dict[str, Any]:
    row = {"title": setting.label, "description": setting.help, "default": setting.default}
    if setting.kind == "bool":
        return {**row, "type": "boolean"}
    if setting.kind == "float":
        return {**row, "type": "number", "minimum": setting.minimum, "maximum": setting.maximum}
    if setting.kind == "choice":
        return {**row, "type": "string", "enum": list(setting.choices)}
    return {**row, "type": "string"}


def version() -> dict[str, str]:
    """The extension's version."""
    return {"version": __version__}


def add_routes(app: Any, generations: Generations) -> None:
    """Add the routes to the host's FastAPI app."""

    def report() -> dict[str, Any]:
        """What the last generation really did, pass by pass."""
        return generations.last.as_dict()

    for function in (schema, version, report):
        app.add_api_route(f"/pladis/v1/{function.__name__}", function, methods=["GET"])
