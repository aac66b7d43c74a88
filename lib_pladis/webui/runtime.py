"""From the host's callbacks to a session: begin, each batch, each denoiser call, end."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from lib_pladis.blend import Conditioning
from lib_pladis.report import Report
from lib_pladis.session import Session, Step
from lib_pladis.settings import TABLE, Settings, SettingsError
from lib_pladis.webui import infotext, xyz
from lib_pladis.webui.models import check_layers, host_model

_sampling: list[tuple[Any, Session]] = []  # generations inside p.sample(), innermost last
last_report = Report()


def begin(p: Any, args: Sequence[Any]) -> None:
    """Start of one generation (`Script.process`): read the settings, write the infotext.

    Bad settings refuse the generation: the host's next unguarded call, `p.init`, raises SettingsError,
    which the UI shows and the API answers with status 422.
    """
    global last_report
    last_report = Report()
    _forget(p)
    infotext.remove(p)
    try:
        settings = Settings.from_dict({**read(args), **xyz.overrides(p)})
        if settings.enabled:
            check_layers(p.sd_model, settings.layers)
    except SettingsError as error:
        last_report.error = str(error)
        _refuse(p, error)
        return
    last_report.enabled = settings.enabled
    last_report.settings = asdict(settings)
    last_report.why_idle = _why_idle(p, settings)
    if last_report.why_idle:
        if settings.enabled and settings.start >= settings.end:
            comment(p, f"PLADIS: not applied: {last_report.why_idle}")
        return
    session = Session(settings, backend=backend(), log=say, comment=lambda text: comment(p, text))
    last_report.passes = session.passes
    infotext.write(p, settings)
    p.pladis_session = session


def begin_batch(p: Any) -> None:
    """Before `p.sample` of one batch: from here on it runs inside the session."""
    session = vars(p).get("pladis_session")
    if session is None or isinstance(vars(p).get("sample"), _Sample):
        return
    p.sample = _Sample(p, session)


def before_denoiser(params: Any) -> None:
    """Before each denoiser call (`on_cfg_denoiser`): hooks on the model that this call will use."""
    if not _sampling:
        return
    p, session = _sampling[-1]
    denoiser = getattr(params, "denoiser", None)
    if getattr(denoiser, "p", p) is not p:  # somebody's generation inside ours, without PLADIS
        session.suspend()
        return
    index = getattr(denoiser, "step", params.sampling_step)
    total = getattr(denoiser, "total_steps", None) or params.total_sampling_steps or p.steps
    step = Step(index, total, bool(getattr(p, "is_hr_pass", False)), _conditioning(params))
    try:
        session.step(host_model(p.sd_model), step)
    except Exception as error:
        session.suspend()
        last_report.error = f"{type(error).__name__}: {error}"
        comment(p, f"PLADIS: not applied: {last_report.error}")
        raise


def end(p: Any) -> None:
    """End of one generation (`Script.postprocess`)."""
    _forget(p)


def read(args: Sequence[Any]) -> dict[str, Any]:
    """Setting values from script arguments; the one after the last setting must be empty."""
    args = list(args)
    while args and args[-1] in ("", None) and len(args) > len(TABLE):
        args.pop()
    return asdict(Settings.from_args(args))


def backend() -> str:
    """The kernel chosen on the settings page."""
    from modules import shared

    return str(shared.opts.data.get("pladis_backend", "auto"))


def comment(p: Any, text: str) -> None:
    """Show `text` under the picture and in the console."""
    say(text)
    if hasattr(p, "comment"):
        p.comment(text)


def say(text: str) -> None:
    """One line on the console, also on one that can't write Greek letters."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    text = text.replace("λ", "lambda").replace("α", "alpha") if encoding.lower().startswith("cp") else text
    print(text.encode(encoding, "replace").decode(encoding))


class _Sample:
    """`p.sample`, run inside the session; takes itself off afterwards, so that no copy of p carries it."""

    def __init__(self, p: Any, session: Session) -> None:
        self.p, self.session = p, session
        self.theirs: Callable[..., Any] | None = vars(p).get("sample")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.take_off(self.p)
        for _, outer in _sampling:
            outer.suspend()
        _sampling.append((self.p, self.session))
        try:
            with self.session.sampling():
                return self.p.sample(*args, **kwargs)
        finally:
            _sampling.pop()
            if not self.session.applied and infotext.remove(self.p):
                comment(self.p, "PLADIS: not applied to this picture, which carries no PLADIS parameters")

    def take_off(self, p: Any) -> None:
        if self.theirs is None:
            del p.sample
        else:
            p.sample = self.theirs


def _forget(p: Any) -> None:
    """Take off whatever an earlier run, or the original of a copied p, left on `p`."""
    sample = vars(p).get("sample")
    if isinstance(sample, _Sample):
        sample.take_off(p)
    vars(p).pop("pladis_session", None)


def _refuse(p: Any, error: SettingsError) -> None:
    vars(error).update(status_code=422, detail=str(error))
    theirs = vars(p).get("init")

    def init(*args: Any, **kwargs: Any) -> None:
        if theirs is None:
            del p.init
        else:
            p.init = theirs
        raise error

    p.init = init
    say(str(error))


def _why_idle(p: Any, settings: Settings) -> str:
    hires = bool(getattr(p, "enable_hr", False))
    first = settings.why_idle()
    return first if not (hires and not settings.why_idle(hires=True)) else ""


def _conditioning(params: Any) -> Conditioning:
    cond, uncond = (getattr(getattr(params, name, None), "shape", None) for name in ("text_cond", "text_uncond"))
    return Conditioning(
        positive_rows=int(cond[0]) if cond else None,
        positive_tokens=int(cond[1]) if cond else None,
        negative_tokens=int(uncond[1]) if uncond else None,
    )
