"""From the host's callbacks to sessions: begin, each batch, each denoiser call, end. The only room that knows `p`."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from lib_pladis.hosts import model_in_use
from lib_pladis.hosts.prompts import parts_at_step, whole_at_step
from lib_pladis.kernels.choice import NAMES, Kernels
from lib_pladis.run.probe import Probe
from lib_pladis.run.report import Report
from lib_pladis.run.session import Session
from lib_pladis.run.step import Prompts, Step, Texts
from lib_pladis.settings import TABLE, Settings, SettingsError
from lib_pladis.webui import infotext, xyz
from lib_pladis.webui.compare import Comparison, half_of, left_out, picture_places, stopping
from lib_pladis.webui.layers import check_layers
from lib_pladis.webui.look import Look


@dataclass
class _Generation:
    """One that has begun and not ended. `job` is the host's job that it belongs to; no session: nothing to do."""

    p: Any
    report: Report
    job: object
    session: Session | None = None
    comparison: Comparison | None = None
    half: Comparison | None = None
    """The comparison whose plain half this is."""
    look: Look | None = None


class Generations:
    """What this web UI generates, with PLADIS or without."""

    def __init__(self) -> None:
        self.last = Report()
        """The generation that a person, or the API, started last; those inside it are nested in it."""
        self.look = Look()
        """What that generation was looked at, once it has ended: others may ask while it runs."""
        self._open: list[_Generation] = []  # innermost last
        self._sampling: list[_Sample] = []  # those inside p.sample(), innermost last
        self._prepared: tuple[Any, Comparison] | None = None

    def prepare(self, p: Any, args: Sequence[Any]) -> None:
        """Before any script has touched `p` (`Script.before_process`; not every host has it)."""
        self._prepared = (p, Comparison(p)) if half_of(p) is None and _wants_comparison(args) else None

    def begin(self, p: Any, args: Sequence[Any]) -> None:
        """Start of one generation (`Script.process`): read the settings.

        Bad settings refuse the generation: the host's next unguarded call, `p.init`, raises SettingsError,
        which the UI shows and the API answers with status 422.
        """
        generation = self._entered(p)
        report = generation.report
        prepared = None
        if self._prepared is not None and self._prepared[0] is p:
            prepared, self._prepared = self._prepared[1], None
        _forget(p)
        infotext.remove(p)
        if generation.half is not None:
            return
        try:
            settings = Settings.from_dict({**read(args), **xyz.overrides(p)})
            if settings.enabled:
                check_layers(p.sd_model, settings.layers)
        except SettingsError as error:
            report.error = str(error)
            _refuse(p, error)
            return
        report.enabled = settings.enabled
        report.settings = asdict(settings)
        report.why_idle = _why_idle(p, settings)
        if report.why_idle:
            if settings.enabled and not xyz.overrides(p):  # a cell of a plot may well be the plain picture
                comment(p, f"PLADIS: not applied: {report.why_idle}")
            return
        session = Session(settings, kernels=Kernels(backend(), say), log=say, comment=lambda text: comment(p, text))
        report.passes = session.passes
        generation.session = session
        infotext.write(p, settings)
        p.pladis_generation = generation
        if self._open[0] is not generation:
            return
        if settings.look:
            report.look = left_out(p)
            if not report.look:
                generation.look = Look(settings)
        if settings.compare:
            generation.comparison = prepared or Comparison(p)

    def begin_batch(self, p: Any) -> None:
        """Before `p.sample` of one batch: from here on it runs inside the session, and its pictures say so."""
        generation = vars(p).get("pladis_generation")
        if generation is None:
            return
        if generation.comparison is not None and not getattr(p, "iteration", 0):
            generation.comparison.announce(p)
        infotext.write(p, generation.session.settings)  # anew: an earlier batch may have been left plain
        standing = vars(p).get("sample")
        if not isinstance(standing, _Sample) or standing.spent:
            p.sample = _Sample(p, generation, generation.session, self._sampling)

    def before_denoiser(self, params: Any) -> None:
        """Before each denoiser call (`on_cfg_denoiser`): hooks on the model that this call will use."""
        if not self._sampling:
            return
        sample = self._sampling[-1]
        p, session = sample.p, sample.session
        denoiser = getattr(params, "denoiser", None)
        if getattr(denoiser, "p", p) is not p:  # somebody's generation inside ours, without PLADIS
            session.suspend()
            return
        index = getattr(denoiser, "step", params.sampling_step)
        total = getattr(denoiser, "total_steps", None) or params.total_sampling_steps or p.steps
        size = tuple(params.x.shape[-2:]) if hasattr(getattr(params, "x", None), "shape") else None
        step = Step(index, total, bool(getattr(p, "is_hr_pass", False)), lambda: _texts(params), size)
        try:
            session.step(model_in_use(p.sd_model), step)
        except Exception as error:  # noqa: BLE001 (the host would swallow it, and print it at every step)
            session.suspend()
            sample.failed(f"{type(error).__name__}: {error}")

    def end_batch(self, p: Any) -> None:
        """After `p.sample` of one batch (`Script.postprocess_batch`), while the host still knows if it was stopped."""
        generation = self._opened(p)
        comparison = generation and (generation.comparison or generation.half)
        if comparison and stopping():
            comparison.stopped = True

    def end(self, p: Any, processed: Any = None) -> None:
        """End of one generation (`Script.postprocess`), whose pictures are in `processed`."""
        try:
            self._finish(p, processed)
        finally:
            _forget(p)
            for depth, each in enumerate(self._open):
                if each.p is p:
                    del self._open[depth:]
                    break

    def _finish(self, p: Any, processed: Any) -> None:
        """Add what is shown beside the pictures."""
        generation = self._opened(p)
        if generation is None:
            return
        places = picture_places(processed) if generation.look is not None else []
        said = []  # what goes to the log, and what of it goes under the picture
        if generation.comparison is not None:
            text = generation.comparison.make(p, processed, generation.report)
            said.append((text, text))
        if generation.look is not None:
            generation.report.look = generation.look.finish(processed, places)
            said.append((generation.report.look, generation.look.notice))
            self.look = generation.look
        for text, notice in said:
            if text:
                say(text)
            if notice:
                processed.comments += f"{notice}\n"  # those of p have been read

    def _opened(self, p: Any) -> _Generation | None:
        return next((each for each in self._open if each.p is p), None)

    def _entered(self, p: Any) -> _Generation:
        """A generation that begins; inside another one, if one of the same job has not ended."""
        job = _job()
        self._open = [each for each in self._open if each.job == job and each.p is not p]
        generation = _Generation(p, Report(), job, half=half_of(p))
        if self._open:
            generation.half = generation.half or self._open[-1].half
            self._open[-1].report.nested.append(generation.report)
        else:
            self.last = generation.report
            self.look = Look()
        self._open.append(generation)
        return generation


def read(args: Sequence[Any]) -> dict[str, Any]:
    """Setting values from script arguments; the one after the last setting must be empty."""
    args = list(args)
    while args and args[-1] in ("", None) and len(args) > len(TABLE):
        args.pop()
    return asdict(Settings.from_args(args))


def _wants_comparison(args: Sequence[Any]) -> bool:
    try:
        values = read(args)
    except SettingsError:
        return False  # said when it begins
    return bool(values["enabled"] and values["compare"])


def backend() -> str:
    """The kernel chosen on the settings page; auto if that isn't one (a file of another version's)."""
    from modules import shared

    name = shared.opts.data.get("pladis_backend", "auto")
    return name if name in NAMES else "auto"


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
    """`p.sample`, run inside the session once; takes itself off before, so that no copy of p carries it.

    Where another script has wrapped it in the meantime it can't, and is from then on what was there before it.
    """

    def __init__(self, p: Any, generation: _Generation, session: Session, sampling: list[_Sample]) -> None:
        self.p, self.session, self.report, self._look = p, session, generation.report, generation.look
        standing = vars(p).get("sample")
        self.theirs: Callable[..., Any] | None = standing.theirs if isinstance(standing, _Sample) else standing
        self.spent = False
        self._sampling = sampling
        self._failures: dict[str, int] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        sample = partial(type(self.p).sample, self.p) if self.theirs is None else self.theirs
        if self.spent:
            return sample(*args, **kwargs)
        self.spent = True
        self.take_off(self.p)
        for outer in self._sampling:
            outer.session.suspend()
        self._sampling.append(self)
        done_before = len(self.session.passes)
        self.session.probe = self._probe()
        try:
            with self.session.sampling():
                return sample(*args, **kwargs)
        finally:
            if self.session.probe is not None:
                self.session.probe.forget()
                self.session.probe = None
            self._sampling.pop()
            for reason, count in self._failures.items():
                self.report.error = f"not applied in {count} step{'s' * (count > 1)}: {reason}"
                comment(self.p, f"PLADIS: {self.report.error}")
            if not any(each.calls_blended for each in self.session.passes[done_before:]) and infotext.remove(self.p):
                comment(self.p, "PLADIS: not applied to this picture, which carries no PLADIS parameters")

    def _probe(self) -> Probe | None:
        """What looks inside, where that is wanted; a failure costs the look and nothing else."""
        if self._look is None:
            return None
        try:
            return self._look.begin_batch(self.p)
        except Exception as error:  # noqa: BLE001 (what a host's tokenizer raises is not known beforehand)
            traceback.print_exc()
            self._look.problems.append(f"{type(error).__name__}: {error}")
            return None

    def failed(self, reason: str) -> None:
        """Note an error of ours in a step; its traceback is printed the first time."""
        if reason not in self._failures:
            traceback.print_exc()
        self._failures[reason] = self._failures.get(reason, 0) + 1

    def take_off(self, p: Any) -> None:
        """Put back the `sample` that stood there before, unless somebody's stands over it."""
        if vars(p).get("sample") is not self:
            return
        if self.theirs is None:
            del p.sample
        else:
            p.sample = self.theirs


def _forget(p: Any) -> None:
    """Take off whatever an earlier run, or the original of a copied p, left on `p`."""
    sample = vars(p).get("sample")
    if isinstance(sample, _Sample):
        sample.take_off(p)
    vars(p).pop("pladis_generation", None)


def _refuse(p: Any, error: SettingsError) -> None:
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
    hires = infotext.has_hires_pass(p)
    first = settings.why_idle()
    return first if not (hires and not settings.why_idle(hires=True)) else ""


def _job() -> object:
    """What tells one of the host's jobs from another; generations inside others belong to their job."""
    from modules import shared

    return getattr(getattr(shared, "state", None), "time_start", None)


def _texts(params: Any) -> Texts:
    """The conditions of a denoiser call, as they are now: other callbacks may have changed them."""
    positive, negative = (_tensor(getattr(params, name, None)) for name in ("text_cond", "text_uncond"))
    return Texts(positive, negative, lambda: _prompts(getattr(getattr(params, "denoiser", None), "p", None)))


def _prompts(p: Any) -> Prompts:
    """The prompts of the batch that is sampled now, of the pass that it is in."""
    from modules import prompt_parser

    hires = bool(getattr(p, "is_hr_pass", False))
    positive, negative = (
        (getattr(p, f"hr_{name}", None) if hires else None) or getattr(p, name, None) or ()
        for name in ("prompts", "negative_prompts")
    )
    return parts_at_step(positive, prompt_parser), whole_at_step(negative, prompt_parser)


def _tensor(cond: Any) -> Any:
    """SDXL's conditions are a dict, whose `crossattn` is the text's."""
    return cond["crossattn"] if isinstance(cond, dict) else cond
