"""A web UI's API over HTTP, for the benchmarks and the tests. Standard library only."""

from __future__ import annotations

import base64
import http.client
import json
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import unquote, urlsplit

LOOPBACK = ("127.0.0.1", "localhost", "::1")


class NoAnswer(OSError):
    """Nobody answers at the address, or not in JSON."""


class Refused(Exception):
    """The web UI answered with an error: `status`, and `body` as it came (an object, or {"errors": text})."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(f"{status}: {body}")
        self.status, self.body = status, body

    @property
    def reason(self) -> str:
        """The web UI's words, at most 600 characters."""
        return str(self.body.get("detail") or self.body.get("errors") or self.body)[:600]


class Client:
    """The web UI at `url`, such as http://127.0.0.1:7860; `http://user:password@host` logs in as --api-auth wants it.

    A proxy named in the environment is used, but not to reach this machine.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url.rstrip("/"))
        self.url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        self._headers = {"Content-Type": "application/json"}
        if parts.username is not None:
            login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._headers["Authorization"] = "Basic " + base64.b64encode(login.encode()).decode()
        proxies = [urllib.request.ProxyHandler({})] if parts.hostname in LOOPBACK else []
        self._open = urllib.request.build_opener(*proxies).open

    def request(self, path: str, body: Any = None, timeout: float = 900) -> Any:
        """GET, or POST where there is a body; the JSON that comes back. Raises Refused and NoAnswer."""
        data = None if body is None else json.dumps(body).encode()
        try:
            with self._open(urllib.request.Request(self.url + path, data, self._headers), timeout=timeout) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise Refused(error.code, _object(error.read())) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise NoAnswer(f"{self.url}{path}: {getattr(error, 'reason', error)}") from error

    def answers(self, path: str) -> bool:
        """Whether something answers there at once, in whatever words."""
        try:
            with self._open(self.url + path, timeout=5):
                return True
        except urllib.error.HTTPError:
            return True
        except (OSError, http.client.HTTPException):
            return False


def _object(data: bytes) -> dict[str, Any]:
    text = data.decode(errors="replace")
    try:
        values = json.loads(text)
    except ValueError:
        values = None
    return values if isinstance(values, dict) else {"errors": text}
