"""`/pladis/v1`: the settings' schema, the version, what the last generation really did, and the kernels."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import Depends, Header, HTTPException

from lib_pladis import __version__
from lib_pladis.settings import LONGEST_TEXT, TABLE, Setting
from lib_pladis.webui import page
from lib_pladis.webui.blind import answers as blind
from lib_pladis.webui.card import CARD
from lib_pladis.webui.look import Look
from lib_pladis.webui.requests import refusing

HOSTS_OWN = ("/sdapi/v1/options", "/config")
"""A route of the host's API and a route of its page (gradio). Each keeps the host's own access check."""

PAGE = "/pladis/page/look"
"""The same as /pladis/v1/look, for the web UI's own page, which has no API credentials."""


def schema() -> dict[str, Any]:
    """JSON schema of the settings: the one object that `alwayson_scripts` takes. By default it switches PLADIS on."""
    properties = {name: _property(setting) for name, setting in TABLE.items()}
    properties["enabled"]["default"] = True
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "PLADIS",
        "description": "alwayson_scripts: {'PLADIS': {'args': [<this object>]}}, or its values as a list in this "
        "order; enabled is true by default in the object, false in the list",
        "type": "object",
        "properties": properties,
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
    return {**row, "type": "string", "maxLength": LONGEST_TEXT}


def add_routes(app: Any, report: Callable[[], dict[str, Any]], look: Callable[[str], Look]) -> None:
    """Add the routes to the host's FastAPI app, with the host's own access control.

    `report` returns what the last generation did; `look` returns the look of a name, and a name is known only to the
    client that got the pictures. If the host asks for credentials but its check can't be found, only the page's route
    is added.
    """

    @refusing
    def looked(
        name: str = "", stage: str = "", steps: str = "all", layers: str = "all", own_scale: bool = False
    ) -> dict[str, Any]:
        return look(name).as_dict(stage, steps, layers, own_scale)

    app.add_api_route(PAGE, looked, methods=["GET"], name="pladis page look", dependencies=_of_the_page())
    blind.add_routes(app, blind.PAGE, _of_the_page())
    checks = offer(app, {"report": report, "look": looked})
    if checks is not None:
        blind.add_routes(app, blind.V1, checks)


def offer(app: Any, answers: Mapping[str, Callable[..., Any]]) -> list[Any] | None:
    """Add these answers, and those that every host gives, under /pladis/v1. Returns the access checks. If the host
    asks for credentials and there is no check, nothing is added."""
    checks = hosts_checks(app)
    if not checks and _asks_for_credentials(app):
        print(f"PLADIS: /pladis/v1 is not offered: no check of credentials found at {' or '.join(HOSTS_OWN)}")
        return None
    usual = {"schema": schema, "version": lambda: {"version": __version__}, "kernels": CARD.as_dict}
    for name, answer in {**usual, **answers}.items():
        app.add_api_route(f"/pladis/v1/{name}", answer, methods=["GET"], name=f"pladis {name}", dependencies=checks)
    return checks


def _of_the_page() -> list[Any]:
    """The check that the web UI's page asks. It sends no `WWW-Authenticate`, so that no browser asks for a password."""

    def known(x_pladis_page: str = Header("")) -> None:
        if not secrets.compare_digest(x_pladis_page.encode(), page.TOKEN.encode()):
            raise HTTPException(status_code=401, detail="for the web UI's own page; the API's is /pladis/v1/look")

    return [Depends(known)]


def hosts_checks(app: Any) -> list[Any]:
    """The FastAPI dependencies by which the host admits clients.

    With `--api-auth` they are its API's (HTTP Basic); otherwise its page's, gradio's login check, which admits
    everybody unless `--gradio-auth` is set. Under `--nowebui` there is no page, so there are none.
    """
    for path in HOSTS_OWN:
        for route in app.routes:
            checks = getattr(route, "dependencies", None)
            if getattr(route, "path", None) == path and checks:
                return list(checks)
    return []


def _asks_for_credentials(app: Any) -> bool:
    from modules import shared

    return bool(getattr(app, "auth", None) or getattr(shared.cmd_opts, "api_auth", None))
