"""PNG info: the settings of a picture, written into it and read back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lib_pladis import __version__
from lib_pladis.settings import BESIDE, HIRES, TABLE, Settings, SettingsError

PREFIX = "PLADIS "
VERSION = "PLADIS version"
FAILED = "PLADIS failed calls"
ALWAYS = ("scale", "alpha")


def parameters(settings: Settings, hires: bool) -> dict[str, str]:
    """Generation parameters of a picture made with `settings`: λ and α always, others when not default.

    Those of the Hires. fix pass only with the override on, and only if there is such a pass (`hires`).
    """
    written = {}
    for name, setting in TABLE.items():
        value = getattr(settings, name)
        wanted = hires and settings.hr_override if name in HIRES else name in ALWAYS or value != setting.default
        if setting.infotext and wanted:
            written[setting.infotext] = setting.format(value)
    return {**written, VERSION: __version__}


def read(params: Mapping[str, Any]) -> dict[str, Any] | None:
    """The settings' values from pasted generation parameters; None if the picture was made without PLADIS.

    Settings of what is shown beside a picture are left out. Raises SettingsError for a value out of range.
    """
    if TABLE["scale"].infotext not in params:
        return None
    values = {
        name: setting.parse_text(str(params[setting.infotext])) if setting.infotext in params else setting.default
        for name, setting in TABLE.items()
        if name not in BESIDE
    }
    values["enabled"] = True
    values["hr_override"] = TABLE["hr_scale"].infotext in params
    return values


def write(p: Any, settings: Settings) -> None:
    """Add the parameters to what `p` writes into its pictures."""
    p.extra_generation_params.pop(FAILED, None)  # from an earlier batch
    p.extra_generation_params.update(parameters(settings, has_hires_pass(p)))


def note_failed(p: Any, failed: int, calls: int) -> None:
    """Write into the pictures of `p` in how many attention calls PLADIS failed; nothing if there are none."""
    if failed:
        p.extra_generation_params[FAILED] = f"{failed} of {calls}"


def has_hires_pass(p: Any) -> bool:
    """True if `p` (None of img2img's has the field) is drawn again by Hires. fix."""
    return bool(getattr(p, "enable_hr", False))


def remove(p: Any) -> bool:
    """Remove our parameters from `p`, in a dict of its own (XYZ cells share theirs); True if there were any."""
    theirs = {k: v for k, v in p.extra_generation_params.items() if not k.startswith(PREFIX)}
    had_ours = len(theirs) < len(p.extra_generation_params)
    p.extra_generation_params = theirs
    return had_ours


def says(text: str) -> bool:
    """Whether a picture's parameters say that it was made with PLADIS."""
    return f", {TABLE['scale'].infotext}: " in text.rpartition("\n")[2]


def problem(params: Mapping[str, Any]) -> str:
    """Why pasted settings are rejected; "" if they are accepted, or if there are none."""
    try:
        read(params)
    except SettingsError as error:
        return str(error)
    return ""


def _reader(name: str) -> Callable[[Mapping[str, Any]], Any]:
    def value(params: Mapping[str, Any]) -> Any:
        """None leaves the panel as it is."""
        if problem(params):
            return None
        values = read(params)
        return (values or {}).get(name, False if name == "enabled" else None)

    return value


# One function per setting, the same object in both tabs: by its identity the host pairs the tabs' fields
READERS: dict[str, Callable[[Mapping[str, Any]], Any]] = {name: _reader(name) for name in TABLE}
