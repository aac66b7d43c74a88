"""Checks API requests for PLADIS where the hosts read their arguments, and refuses bad ones.

This is one method of their API. It runs before any callback of a script, and before a scheduler queues the request. The
hosts draw a plain picture if `args` is missing, and raise a KeyError if it is an object. So the method is wrapped while
the script is loaded.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import HTTPException

from lib_pladis.json_file import FileError
from lib_pladis.settings import SettingsError, shortened
from lib_pladis.webui import arguments

METHOD = "init_script_args"
SHAPE = 'alwayson_scripts: {"PLADIS": {"args": [{"scale": 2.0}]}}'


def check(alwayson_scripts: Any) -> None:
    """Raises SettingsError if PLADIS is named there without a valid list of arguments."""
    for name, given in (alwayson_scripts or {}).items():
        if str(name).lower() != "pladis":
            continue
        if not isinstance(given, Mapping) or "args" not in given:
            raise SettingsError(f'PLADIS: "args" is missing: got {shortened(given)}, allowed: {SHAPE}')
        args = given["args"]
        if not isinstance(args, (list, tuple)):
            raise SettingsError(f'PLADIS: "args" is not a list: got {shortened(args)}, allowed: {SHAPE}')
        if args and isinstance(args[0], Mapping) and any(value not in ("", None) for value in args[1:]):
            raise SettingsError(f"PLADIS: got {shortened(args)}, allowed: nothing after an object, as in {SHAPE}")
        arguments.strictly(args)


def refusing(answer: Callable[..., Any]) -> Callable[..., Any]:
    """The same function for a route, with status 422 and the message if something is requested that does not exist."""

    @functools.wraps(answer)
    def answered(*args: Any, **kwargs: Any) -> Any:
        try:
            return answer(*args, **kwargs)
        except (SettingsError, FileError) as error:
            raise HTTPException(status_code=422, detail=str(error)) from error

    return answered


def install() -> Callable[[], None]:
    """Check the requests of the host's API, if it has one (`--api`). Returns a function that restores its method."""
    api = getattr(sys.modules.get("modules.api.api"), "Api", None)
    theirs = getattr(api, METHOD, None)
    if theirs is None:
        return lambda: None

    @functools.wraps(theirs)
    def checked(self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        check(getattr(request, "alwayson_scripts", None))
        return theirs(self, request, *args, **kwargs)

    def undo() -> None:
        if getattr(api, METHOD) is checked:  # unless another extension has wrapped it since
            setattr(api, METHOD, theirs)

    setattr(api, METHOD, checked)
    return undo
