"""Answers about blind tests, for the page and the API, and who may vote."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lib_pladis import __version__
from lib_pladis.webui.blind.blind_test import BlindTest
from lib_pladis.webui.blind.draw import PACE, Pace
from lib_pladis.webui.blind.store import STORE, Store

V1, PAGE = "/pladis/v1/votes", "/pladis/page/votes"
QUESTION = {"follow": "Which follows the prompt better?", "keep": "Which would you keep?"}
TEMPLATE = Path(__file__).with_name("report.html.jinja")


class Answers:
    """Methods raise ValueError, with a message for the user, if what is asked for does not exist."""

    def __init__(self, store: Store = STORE, pace: Pace = PACE) -> None:
        self.store, self._pace = store, pace

    def list(self) -> dict[str, Any]:
        """All tests, newest first, and the seconds that a step takes per pixel of the latents (0: not known)."""
        return {"tests": [_about(test) for test in self.store.all()], "pace": self._pace.seconds}

    def view(self, test: str, result: bool = False) -> dict[str, Any]:
        """What is to be judged now: "pair", "question" and "prompt". "pair" is None when everything is judged. The
        results are included then, or if `result` asks for them, which the test remembers."""
        found = self.store.get(test)
        if result and found.looked is None and found.next() is not None:

            def note(changed: BlindTest) -> None:
                changed.looked = len(changed.votes)

            found = self.store.change(test, note)
        return _view(found, result)

    def vote(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """`{"test", "pair", "question", "answer"}` is a vote, `{"test", "undo": true}` takes back the last one,
        `{"test", "keep": bool}` says whether the second question is asked too. Returns the view after it."""

        def change(test: BlindTest) -> None:
            if body.get("undo") is True:
                test.undo()
            elif isinstance(body.get("keep"), bool):
                test.keep = body["keep"]
            else:
                test.vote(body.get("pair"), body.get("question"), body.get("answer"))

        return _view(self.store.change(str(body.get("test", "")), change))

    def picture(self, test: str, pair: int, side: str) -> bytes:
        """One side of a pair, as JPEG. Neither the file nor the way to it tells whose it is."""
        return self.store.picture(test, self.store.get(test).picture(pair, side))

    def data(self, test: str) -> dict[str, Any]:
        """Everything stored about one test, and its results."""
        found = self.store.get(test)
        return {"pladis_blind_test": 1, "version": __version__, **asdict(found), "results": found.results()}

    def report(self, test: str) -> str:
        """One HTML file with pictures, settings and votes."""
        from jinja2 import Environment  # gradio's; late, as few ask for it

        found = self.store.get(test)

        def source(name: str) -> str:
            return "data:image/jpeg;base64," + base64.b64encode(self.store.picture(test, name)).decode()

        page = Environment(autoescape=True).from_string(TEMPLATE.read_text(encoding="utf-8"))
        votes: dict[int, list[str]] = {}
        for vote in found.votes:
            pair = found.pairs[vote["pair"]]
            one, other = found.name(pair["left"]), found.name(pair["right"])
            answer = vote["answer"] if vote["answer"] == "alike" else found.name(pair[vote["answer"]])
            votes.setdefault(pair["group"], []).append(f"{QUESTION[vote['question']]} {one} or {other}: {answer}")
        said = [" ".join(text.format(**values) for text, values in row["said"]) for row in found.results()]
        rows = list(zip((QUESTION[row["question"]] for row in found.results()), said))
        return page.render(test=found, rows=rows, votes=votes, source=source, version=__version__)


def add_routes(app: Any, answers: Answers, prefix: str, checks: list[Any]) -> None:
    """Add the routes under `prefix` to the host's FastAPI app, with the access checks `checks`."""
    from fastapi import HTTPException, Response

    def answer(ask: Callable[[], Any]) -> Any:
        try:
            return ask()
        except ValueError as error:
            raise HTTPException(status_code=422, detail=str(error)) from error

    def votes(test: str = "", result: bool = False) -> Any:
        return answer(lambda: answers.view(test, result) if test else answers.list())

    def vote(body: dict[str, Any]) -> Any:
        return answer(lambda: answers.vote(body))

    def picture(test: str, pair: int, side: str) -> Any:
        # no date, no length of a file's name, nothing that is kept: both sides take the same way
        data = answer(lambda: answers.picture(test, pair, side))
        return Response(data, media_type="image/jpeg", headers={"Cache-Control": "no-store"})

    def data(test: str) -> Any:
        return answer(lambda: answers.data(test))

    def report(test: str) -> Any:
        name = f'attachment; filename="pladis-blind-test-{test}.html"'
        page = answer(lambda: answers.report(test))
        return Response(page, media_type="text/html; charset=utf-8", headers={"Content-Disposition": name})

    for path, ask, method in (
        ("", votes, "GET"), ("", vote, "POST"), ("/picture", picture, "GET"), ("/data", data, "GET"),
        ("/report", report, "GET"),
    ):  # fmt: skip
        name = f"pladis {method} {prefix}{path}"
        app.add_api_route(prefix + path, ask, methods=[method], name=name, dependencies=checks)


def _about(test: BlindTest) -> dict[str, Any]:
    """What every answer about a test contains. Nothing in it tells whose picture is whose."""
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
