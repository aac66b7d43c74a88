"""The routes of blind tests, for the page and the API."""

from __future__ import annotations

import base64
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastapi import Response

from lib_pladis import __version__
from lib_pladis.webui.blind.blind_test import BlindTest
from lib_pladis.webui.blind.draw import PACE
from lib_pladis.webui.blind.store import STORE
from lib_pladis.webui.requests import refusing

V1, PAGE = "/pladis/v1/votes", "/pladis/page/votes"
QUESTION = {"follow": "Which follows the prompt better?", "keep": "Which would you keep?"}
TEMPLATE = Path(__file__).with_name("report.html.jinja")


def votes(test: str = "", result: bool = False) -> Any:
    """Without a test: all tests, newest first, and the seconds that a step takes per pixel of the latents (0: unknown).
    With a test: what is to be judged next: "pair", "question" and "prompt"; "pair" is None when everything is judged.
    The results are included then, or if `result` requests them, which the test records."""
    if not test:
        return {"tests": [_about(each) for each in STORE.all()], "pace": PACE.seconds}
    found = STORE.get(test)
    if result and found.looked is None and found.next() is not None:

        def note(changed: BlindTest) -> None:
            changed.looked = len(changed.votes)

        found = STORE.change(test, note)
    return _view(found, result)


def vote(body: dict[str, Any]) -> Any:
    """`{"test", "pair", "question", "answer"}` is a vote, `{"test", "undo": true}` takes back the last one,
    `{"test", "keep": bool}` says whether the second question is asked too. Returns the view after it."""

    def change(test: BlindTest) -> None:
        if body.get("undo") is True:
            test.undo()
        elif isinstance(body.get("keep"), bool):
            test.keep = body["keep"]
        else:
            test.vote(body.get("pair"), body.get("question"), body.get("answer"))

    return _view(STORE.change(str(body.get("test", "")), change))


def picture(test: str, pair: int, side: str) -> Any:
    """One side of a pair, as JPEG. Nothing reveals its candidate: no metadata, no telling URL, and it is not cached."""
    data = STORE.picture(test, STORE.get(test).picture(pair, side))
    return Response(data, media_type="image/jpeg", headers={"Cache-Control": "no-store"})


def data(test: str) -> Any:
    """Everything stored about one test, and its results."""
    found = STORE.get(test)
    return {"pladis_blind_test": 1, "version": __version__, **asdict(found), "results": found.results()}


def report(test: str) -> Any:
    """One HTML file with pictures, settings and votes."""
    from jinja2 import Environment  # gradio's; late, as few ask for it

    found = STORE.get(test)

    def source(name: str) -> str:
        return "data:image/jpeg;base64," + base64.b64encode(STORE.picture(test, name)).decode()

    template = Environment(autoescape=True).from_string(TEMPLATE.read_text(encoding="utf-8"))
    given: dict[int, list[str]] = {}
    for each in found.votes:
        pair = found.pairs[each["pair"]]
        one, other = found.name(pair["left"]), found.name(pair["right"])
        answer = each["answer"] if each["answer"] == "alike" else found.name(pair[each["answer"]])
        given.setdefault(pair["group"], []).append(f"{QUESTION[each['question']]} {one} or {other}: {answer}")
    said = [" ".join(text.format(**values) for text, values in row["said"]) for row in found.results()]
    rows = list(zip((QUESTION[row["question"]] for row in found.results()), said))
    page = template.render(test=found, rows=rows, votes=given, source=source, version=__version__)
    name = f'attachment; filename="pladis-blind-test-{test}.html"'
    return Response(page, media_type="text/html; charset=utf-8", headers={"Content-Disposition": name})


def add_routes(app: Any, prefix: str, checks: list[Any]) -> None:
    """Add the routes under `prefix` to the host's FastAPI app, with the access checks `checks`."""
    for path, ask, method in (
        ("", votes, "GET"), ("", vote, "POST"), ("/picture", picture, "GET"), ("/data", data, "GET"),
        ("/report", report, "GET"),
    ):  # fmt: skip
        name = f"pladis {method} {prefix}{path}"
        app.add_api_route(prefix + path, refusing(ask), methods=[method], name=name, dependencies=checks)


def _about(test: BlindTest) -> dict[str, Any]:
    """The part of every answer about a test; it does not reveal which candidate drew which picture."""
    return {
        **{"id": test.id, "made": test.made, "checkpoint": test.checkpoint["name"], "cfg": test.cfg},
        **{"candidates": [each["name"] for each in test.candidates], "pairs": len(test.pairs), "judged": test.judged},
        **{"keep": test.keep, "votes": len(test.votes), "left_to_draw": len(test.missing(test.rounds))},
        "prompts": len(test.prompts),
    }


def _view(test: BlindTest, result: bool = False) -> dict[str, Any]:
    now = test.next()
    asked: dict[str, Any] = {"pair": None}
    if now is not None:
        asked = {"pair": now[0], "question": now[1], "prompt": test.prompt(now[0])}
    results = test.results() if result or now is None else None
    return {**_about(test), **asked, "results": results, "looked": test.looked}
