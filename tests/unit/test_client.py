"""playground/client.py and playground/server.py against a server of our own."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from playground import server
from playground.client import Client, NoAnswer, Refused

REFUSALS = {
    "/detail": (422, b'{"detail": "Scale: got 7"}', "Scale: got 7"),
    "/errors": (500, b'{"errors": "no"}', "no"),
    "/html": (502, b"<html>", "<html>"),
    "/list": (400, b"[1]", "[1]"),
}


class Handler(BaseHTTPRequestHandler):
    """Echoes what it was asked; refuses and misbehaves where the path says so."""

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        asked = {
            "method": self.command,
            "body": self.rfile.read(length).decode(),
            "login": self.headers["Authorization"],
        }
        status, data, _ = REFUSALS.get(self.path, (200, json.dumps(asked).encode(), ""))
        if self.path == "/page":
            data = b"<html>"
        if self.path == "/gone":
            self.close_connection = True
            return
        self.send_response(status)
        self.end_headers()
        self.wfile.write(data)

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{http.server_port}"
        http.shutdown()


def test_get_and_post(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # would refuse
    client = Client(f"http://{address}/")
    assert client.request("/x") == {"method": "GET", "body": "", "login": None}
    assert client.request("/x", {"λ": 2}) == {"method": "POST", "body": json.dumps({"λ": 2}), "login": None}


def test_a_login_in_the_address(address: str) -> None:
    client = Client(f"http://me:p%40ss@{address}")
    assert client.url == f"http://{address}"
    assert client.request("/x")["login"] == "Basic " + base64.b64encode(b"me:p@ss").decode()


@pytest.mark.parametrize("path", REFUSALS)
def test_refusals_have_their_words(address: str, path: str) -> None:
    with pytest.raises(Refused) as refused:
        Client(f"http://{address}").request(path)
    status, _, reason = REFUSALS[path]
    assert (refused.value.status, refused.value.reason) == (status, reason)


@pytest.mark.parametrize("path", ["/page", "/gone"])
def test_what_is_no_answer(address: str, path: str) -> None:
    with pytest.raises(NoAnswer, match=path):
        Client(f"http://{address}").request(path)


def test_nobody_there() -> None:
    client = Client("http://127.0.0.1:9")
    assert not client.answers("/")
    with pytest.raises(NoAnswer, match="refused"):
        client.request("/x")


def test_waiting_for_a_server_and_for_one_that_ends(address: str) -> None:
    code = "import time; time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    try:
        server.wait(process, f"http://{address}", "/html", 10)
        with pytest.raises(server.ServerError, match="no answer after 1 s"):
            server.wait(process, "http://127.0.0.1:9", "/", 1)
    finally:
        server.stop(process)
    with pytest.raises(server.ServerError, match="ended with status"):
        server.wait(process, "http://127.0.0.1:9", "/", 60)
