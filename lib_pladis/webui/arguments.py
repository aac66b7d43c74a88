"""PLADIS's values among the script arguments of `p`.

Everything that must apply to copies of `p` is stored there: other extensions pass script arguments on, even to other
machines (stable-diffusion-webui-distributed), but not attributes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from lib_pladis.settings import BESIDE, TABLE, Settings, SettingsError

_WISHES = "pladis_beside"
"""Attribute of `p` with the settings of Compare and Look inside: only this machine should carry them out."""


def read(args: Sequence[Any]) -> Settings:
    """The settings from script arguments; the argument after the last setting must be empty.

    Other extensions call the host with unusual arguments. If they don't switch PLADIS on, bad values give the defaults
    (off); if they do, bad values raise SettingsError.
    """
    try:
        return strictly(args)
    except SettingsError:
        if args and (args[0] is True or isinstance(args[0], Mapping)):
            raise
        return Settings()


def strictly(args: Sequence[Any]) -> Settings:
    """The same for arguments that are certainly meant for PLADIS: any bad value raises SettingsError."""
    args = list(args)
    while args and args[-1] in ("", None) and len(args) > len(TABLE):
        args.pop()
    return Settings.from_args(args)


def of(p: Any) -> dict[str, Any]:
    """The values in `p.script_args`; {} where PLADIS has no place there. Raises SettingsError for bad ones."""
    place = _place(p)
    return {} if place is None else asdict(read(list(p.script_args or ())[place]))


def put(p: Any, values: Mapping[str, Any]) -> bool:
    """Change some of the values in `p.script_args`, in a new list, because copies of `p` share it. Returns False if
    PLADIS has no place there. Raises SettingsError for bad values."""
    place = _place(p)
    given = list(getattr(p, "script_args", None) or ())
    if place is None or len(given) < place.stop:
        return False
    changed = {**asdict(read(given[place])), **values}
    given[place] = [*changed.values(), *[""] * (place.stop - place.start - len(changed))]
    p.script_args = type(p.script_args)(given)
    return True


def _place(p: Any) -> slice | None:
    for script in getattr(getattr(p, "scripts", None), "alwayson_scripts", None) or ():
        if getattr(script, "name", None) == "pladis":
            return slice(script.args_from, script.args_to)
    return None


def set_aside(p: Any, args: Sequence[Any]) -> None:
    """Prepare the script arguments of `p` for being passed on by other extensions: make them a list if the API sent an
    object, and move the settings of Compare and Look inside to an attribute."""
    try:
        settings = read(args)
    except SettingsError:
        return  # reported when the generation begins
    wanted = settings.compare or settings.look
    if not wanted and not (args and isinstance(args[0], Mapping)):
        return
    if put(p, {name: TABLE[name].default for name in BESIDE}) and wanted:
        setattr(p, _WISHES, {name: getattr(settings, name) for name in BESIDE})


def wishes(p: Any) -> dict[str, Any]:
    """The values that `set_aside` has moved to the attribute."""
    found: dict[str, Any] = vars(p).get(_WISHES, {})
    return found


def make_plain(p: Any) -> None:
    """Switch PLADIS off in `p`, a copy, on this and other machines."""
    vars(p).pop(_WISHES, None)
    put(p, {"enabled": False, **{name: TABLE[name].default for name in BESIDE}})
