"""`/pladis/v1` answers whom the host's own routes answer, on the installed gradio and FastAPI."""

from __future__ import annotations

import secrets
import sys
import types
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

gr = pytest.importorskip("gradio", reason="gradio is not installed here")

from fastapi import Depends, FastAPI, HTTPException  # noqa: E402
from fastapi.security import HTTPBasic, HTTPBasicCredentials  # noqa: E402
from fastapi.testclient import TestClient  # noqa: E402

from lib_pladis import __version__  # noqa: E402
from lib_pladis.settings import TABLE, Settings, SettingsError  # noqa: E402
from lib_pladis.webui import api, page  # noqa: E402
from lib_pladis.webui.blind.store import STORE  # noqa: E402

ROUTES = ("schema", "version", "report", "look", "votes", "kernels")
USER, PASSWORD = "ann", "sesame"
REPORT: dict[str, Any] = {"passes": []}


class Looked:
    """A look, as far as a route goes."""

    def as_dict(self, stage: str, steps: str, layers: str, own_scale: bool) -> dict[str, Any]:
        if stage == "third":
            raise SettingsError("PLADIS look stage: got 'third', allowed: first")
        return {"shown": [stage, steps, layers, own_scale]}


def look(name: str) -> Any:
    if name != "known":
        raise SettingsError("PLADIS look: got '', allowed: a name")
    return Looked()


def host(
    monkeypatch: pytest.MonkeyPatch, *, page: bool, with_api: bool, api_auth: str = "", gradio_auth: Any = None
) -> Any:
    """A host's app as it stands when `on_app_started` fires, with PLADIS's routes; a client of it."""
    if page:
        with gr.Blocks(analytics_enabled=False) as demo:
            gr.Textbox()
        demo.auth, demo.auth_message = gradio_auth, None
        app = gr.routes.App.create_app(demo)
    else:
        app = FastAPI()
    if with_api:
        app.add_api_route("/sdapi/v1/options", lambda: {"sd": 1}, dependencies=api_checks(api_auth))
    shared: Any = types.ModuleType("modules.shared")
    shared.cmd_opts = SimpleNamespace(api_auth=api_auth or None, gradio_auth=gradio_auth)
    modules: Any = types.ModuleType("modules")
    modules.shared = shared
    monkeypatch.setitem(sys.modules, "modules", modules)
    monkeypatch.setitem(sys.modules, "modules.shared", shared)
    monkeypatch.setattr(STORE, "path", lambda: Path("no such folder"))
    api.add_routes(app, lambda: REPORT, look)
    return app, TestClient(app)


def api_checks(api_auth: str) -> list[Any]:
    """What the hosts' API makes of `--api-auth user:password,...`."""
    known = dict(each.split(":") for each in api_auth.split(",")) if api_auth else {}

    def auth(credentials: HTTPBasicCredentials = Depends(HTTPBasic())) -> bool:
        if secrets.compare_digest(credentials.password, known.get(credentials.username, "")):
            return True
        raise HTTPException(401, "Incorrect username or password", {"WWW-Authenticate": "Basic"})

    return [Depends(auth)] if known else []


def statuses(client: TestClient, **request: Any) -> set[int]:
    answers = [client.get(f"/pladis/v1/{name}?name=known", **request) for name in ROUTES]
    vote = client.post("/pladis/v1/votes", json={"test": "none"}, **request).status_code
    return {answer.status_code for answer in answers} | ({vote} - {422})


@pytest.mark.parametrize("api_auth", ["", f"{USER}:{PASSWORD}"])
@pytest.mark.parametrize("gradio_auth", [None, lambda user, password: False])
def test_the_page_asks_without_the_apis_credentials(
    monkeypatch: pytest.MonkeyPatch, api_auth: str, gradio_auth: Any
) -> None:
    _, client = host(monkeypatch, page=True, with_api=True, api_auth=api_auth, gradio_auth=gradio_auth)
    for headers in ({}, {"X-Pladis-Page": "guessed"}, {"X-Pladis-Page": "λ"}):
        sent = {name: text.encode() for name, text in headers.items()}
        for method, path in (("GET", "look"), ("GET", "votes"), ("POST", "votes"), ("GET", "votes/picture")):
            refused = client.request(method, f"/pladis/page/{path}", headers=sent)
            assert refused.status_code == 401 and "www-authenticate" not in refused.headers
    token = page.facts()["token"]
    answer = client.get("/pladis/page/look?name=known&stage=hires", headers={"X-Pladis-Page": token})
    assert answer.status_code == 200 and answer.json()["shown"] == ["hires", "all", "all", False]
    refused = client.get("/pladis/page/look?name=known&stage=third", headers={"X-Pladis-Page": token})
    assert refused.status_code == 422
    assert client.get("/pladis/page/votes", headers={"X-Pladis-Page": token}).json()["tests"] == []
    if gradio_auth is not None:
        assert token not in client.get("/").text and client.get("/config").status_code == 401


@pytest.mark.parametrize("page", [True, False], ids=["page", "nowebui"])
def test_a_host_without_credentials_answers_everybody(monkeypatch: pytest.MonkeyPatch, page: bool) -> None:
    _, client = host(monkeypatch, page=page, with_api=True)
    assert statuses(client) == {200}
    assert client.get("/pladis/v1/version").json() == {"version": __version__}
    assert client.get("/pladis/v1/report").json() == REPORT


def test_a_look_is_asked_for_by_its_parts_and_a_bad_part_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    _, client = host(monkeypatch, page=False, with_api=True)
    assert client.get("/pladis/v1/look?name=known").json() == {"shown": ["", "all", "all", False]}
    answer = client.get("/pladis/v1/look?name=known&stage=hires&steps=last&layers=u&own_scale=true")
    assert answer.json() == {"shown": ["hires", "last", "u", True]}
    refused = client.get("/pladis/v1/look?name=known&stage=third")
    assert refused.status_code == 422 and "allowed: first" in refused.json()["detail"]
    for nobody in ("", "?name=guessed"):
        assert client.get(f"/pladis/v1/look{nobody}").status_code == 422


@pytest.mark.parametrize("page", [True, False], ids=["page", "nowebui"])
def test_api_auth(monkeypatch: pytest.MonkeyPatch, page: bool) -> None:
    _, client = host(monkeypatch, page=page, with_api=True, api_auth=f"bob:other,{USER}:{PASSWORD}")
    for credentials in (None, (USER, "wrong"), (USER, ""), ("nobody", PASSWORD), ("bob", PASSWORD)):
        assert client.get("/sdapi/v1/options", auth=credentials).status_code == 401
        assert statuses(client, auth=credentials) == {401}, credentials
    assert statuses(client, auth=(USER, PASSWORD)) == {200}


@pytest.mark.parametrize("with_api", [True, False], ids=["--api", "no --api"])
def test_gradio_auth_asks_for_its_login(monkeypatch: pytest.MonkeyPatch, with_api: Any) -> None:
    _, client = host(monkeypatch, page=True, with_api=with_api, gradio_auth=[(USER, PASSWORD)])
    assert client.get("/config").status_code == 401
    assert statuses(client) == {401}
    assert statuses(client, auth=(USER, PASSWORD)) == {401}, "the page's login is a cookie"
    assert client.post("/login", data={"username": USER, "password": "wrong"}).status_code == 400
    assert statuses(client) == {401}
    assert client.post("/login", data={"username": USER, "password": PASSWORD}).status_code == 200
    assert statuses(client) == {200}


def test_with_both_it_is_the_apis(monkeypatch: pytest.MonkeyPatch) -> None:
    both: dict[str, Any] = {"api_auth": f"{USER}:{PASSWORD}", "gradio_auth": [("page", "word")]}
    _, client = host(monkeypatch, page=True, with_api=True, **both)
    client.post("/login", data={"username": "page", "password": "word"})
    assert client.get("/sdapi/v1/options").status_code == 401
    assert statuses(client) == {401}
    assert statuses(client, auth=(USER, PASSWORD)) == {200}


@pytest.mark.parametrize("lost", ["api", "page"])
def test_a_host_whose_check_is_not_found_has_the_pages_route_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], lost: Any
) -> None:
    monkeypatch.setattr(api, "HOSTS_OWN", ("/elsewhere",))
    login: dict[str, Any] = {"api_auth": f"{USER}:{PASSWORD}"} if lost == "api" else {"gradio_auth": [(USER, PASSWORD)]}
    app, _ = host(monkeypatch, page=lost == "page", with_api=True, **login)
    offered = {route.path for route in app.routes if "pladis" in route.path}
    assert api.PAGE in offered and all(path.startswith("/pladis/page/") for path in offered)
    assert "/pladis/v1 is not offered" in capsys.readouterr().out


def test_the_schema_is_of_the_object_that_is_sent() -> None:
    schema = api.schema()
    defaults = {name: row["default"] for name, row in schema["properties"].items()}
    assert list(defaults) == list(TABLE)
    assert Settings.from_args([{}]) == Settings.from_dict(defaults)
