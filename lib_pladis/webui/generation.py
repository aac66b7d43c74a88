"""Turns the host's callbacks into sessions: begin, each batch, each denoiser call, end. Only this file knows `p`."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

from lib_pladis.facts import Conditions, Prompts, Step
from lib_pladis.hosts import model_in_use
from lib_pladis.hosts.padding import parts_at_step, whole_at_step
from lib_pladis.kernels.choice import Kernels
from lib_pladis.run.probe import Probe
from lib_pladis.run.report import Report
from lib_pladis.run.session import Session
from lib_pladis.settings import Settings, SettingsError
from lib_pladis.webui import arguments, infotext, options, xyz
from lib_pladis.webui.beside import Beside
from lib_pladis.webui.compare import Comparison, left_out, stopping
from lib_pladis.webui.look import Look
from lib_pladis.webui.model import check_layers
from lib_pladis.webui.shares import Shares


@dataclass(eq=False)
class _Generation:
    """A generation in progress. `job`: the host's job that it belongs to. `session`: None if PLADIS does nothing in
    it."""

    p: Any
    report: Report
    job: object
    session: Session | None = None
    comparison: Comparison | None = None
    half: Comparison | None = None
    """The comparison if this is its plain half, or is nested in it."""
    look: Look | None = None
    shares: Shares = field(default_factory=Shares)

    @property
    def has_more(self) -> bool:
        """Whether `finish` has something to do after all other scripts."""
        return bool(self.comparison or self.look or self.shares.with_others(self.p))


class Generations:
    """All generations of this web UI, with and without PLADIS."""

    def __init__(self) -> None:
        self.last = Report()
        """The last generation that the page or the API started. Generations started inside it are nested in it."""
        self.beside = Beside()
        self._open: list[_Generation] = []  # innermost last
        self._sampling: list[_Sample] = []  # those inside p.sample(), innermost last
        self._prepared: tuple[Any, int, Comparison | None] | None = None

    def prepare(self, p: Any, args: Sequence[Any]) -> None:
        """Before any script has changed `p` (`Script.before_process`; not every host has it)."""
        comparison = Comparison(p) if self._half() is None and _wants_comparison(p, args) else None
        self._prepared = (p, getattr(p, "batch_size", 0), comparison)

    def begin(self, p: Any, args: Sequence[Any]) -> None:
        """Start of one generation (`Script.process`): read the settings.

        Bad settings stop the generation: the host's next call whose exceptions it does not catch, `p.init`, raises
        SettingsError. The page shows it, and the API answers with status 422.
        """
        generation = self._entered(p)
        report = generation.report
        prepared, self._prepared = self._prepared, None
        _take_off(p)
        infotext.remove(p)
        if generation.half is not None:
            return
        try:
            settings = _settings(p, args)
            if settings.enabled:
                check_layers(p.sd_model, settings.layers)
        except SettingsError as error:
            report.error = str(error)
            refuse(p, error)
            return
        report.enabled = settings.enabled
        report.settings = {name: value for name, value in asdict(settings).items() if name != "look_words"}
        report.why_idle = _why_idle(p, settings)
        if report.why_idle:
            if settings.enabled and not xyz.varied(p):  # a cell of a plot may well be the plain picture
                comment(p, f"PLADIS: not applied: {report.why_idle}")
            return
        session = Session(
            settings, kernels=Kernels(options.kernel(), say), log=say, comment=lambda text: comment(p, text)
        )
        report.passes = session.passes
        generation.session = session
        infotext.write(p, settings)
        if self._open[0] is not generation:
            return
        comparison = None
        if prepared is not None and prepared[0] is p:
            _, asked, comparison = prepared
            generation.shares.begin(p, asked)
        if settings.look:
            report.look = left_out(p)
            if report.look:
                comment(p, f"PLADIS: no look inside: {report.look}")
            else:
                generation.look = Look(settings)
        if settings.compare:
            generation.comparison = comparison or Comparison(p)

    def begin_batch(self, p: Any) -> None:
        """Before `p.sample` of one batch: wrap it so that it runs inside the session, and write the PNG info."""
        generation = self._opened(p)
        if generation is None or generation.session is None:
            return
        if generation.comparison is not None and not getattr(p, "iteration", 0):
            generation.comparison.announce(p)
        generation.shares.begin_batch(p)
        infotext.write(p, generation.session.settings)  # again: an earlier batch may have been plain
        standing = vars(p).get("sample")
        if not isinstance(standing, _Sample) or standing.spent:
            p.sample = _Sample(p, generation, generation.session, self._sampling)

    def before_denoiser(self, params: Any) -> None:
        """Before each denoiser call (`on_cfg_denoiser`): hook the model that this call will use."""
        if not self._sampling:
            return
        sample = self._sampling[-1]
        p, session = sample.p, sample.session
        denoiser = getattr(params, "denoiser", None)
        if getattr(denoiser, "p", p) is not p:  # a nested generation without PLADIS
            session.suspend()
            return
        index = getattr(denoiser, "step", params.sampling_step)
        total = getattr(denoiser, "total_steps", None) or params.total_sampling_steps or p.steps
        size = tuple(params.x.shape[-2:]) if hasattr(getattr(params, "x", None), "shape") else None
        step = Step(index, total, bool(getattr(p, "is_hr_pass", False)), lambda: _conditions(params), size)
        try:
            session.step(model_in_use(p.sd_model), step)
        except Exception as error:  # noqa: BLE001 (the host would print it at every step and go on)
            session.suspend()
            sample.failed(f"{type(error).__name__}: {error}")

    def end_batch(self, p: Any) -> None:
        """After `p.sample` of one batch (`Script.postprocess_batch`): note if the user has stopped the generation."""
        generation = self._opened(p)
        comparison = generation and (generation.comparison or generation.half)
        if comparison and stopping():
            comparison.stopped = True

    def end(self, p: Any, processed: Any = None) -> None:
        """End of one generation (`Script.postprocess`), whose pictures are in `processed`."""
        _take_off(p)
        prepared, self._prepared = self._prepared, None
        if prepared is not None and prepared[0] is p and arguments.wishes(p):
            processed.comments += "PLADIS: nothing was drawn on this machine: nothing is compared or looked at\n"
        generation = self._opened(p)
        if processed is not None and left_out(p):
            self.beside.tell_all(p, processed)
        if generation is not None and not generation.has_more:
            self._close(generation)

    def finish(self, p: Any, processed: Any) -> None:
        """Add what is shown beside the pictures, after all other scripts (the last `postprocess`)."""
        generation = self._opened(p)
        if generation is None:
            return
        try:
            self._finish(generation, processed)
        finally:
            self._close(generation)

    def _finish(self, generation: _Generation, processed: Any) -> None:
        p, report = generation.p, generation.report
        drawn = generation.shares.look_at(p, processed)
        notes = drawn.notes
        if generation.comparison is not None:
            generation.comparison.shared = generation.shares.with_others(p)
            notes.append(generation.comparison.make(p, processed, report, drawn.on))
        if generation.look is not None:
            if drawn.elsewhere:
                generation.look.problems.append("pictures that another machine has drawn are not looked at")
            report.look = generation.look.finish(p, processed, drawn.here)
            notes.append(generation.look.notice)
            say(report.look)
        notes = list(filter(None, notes))
        for note in notes:
            say(note)
        self.beside.tell(p, processed, report.pairs, generation.look, notes)

    def _close(self, generation: _Generation) -> None:
        if generation in self._open:
            del self._open[self._open.index(generation) :]

    def _opened(self, p: Any) -> _Generation | None:
        return next((each for each in self._open if each.p is p), None)

    def _half(self) -> Comparison | None:
        """The comparison whose plain half is being drawn, or None."""
        job = _job()
        comparisons = [each.comparison for each in self._open if each.comparison and each.job == job]
        return next((each for each in comparisons if each.drawing), None)

    def _entered(self, p: Any) -> _Generation:
        """Register a new generation. It is nested if another one of the same job is in progress."""
        job = _job()
        self._open = [each for each in self._open if each.job == job and each.p is not p]
        generation = _Generation(p, Report(), job, half=self._half())
        if self._open:
            self._open[-1].report.nested.append(generation.report)
        else:
            self.last = generation.report
        self._open.append(generation)
        return generation


def _settings(p: Any, args: Sequence[Any]) -> Settings:
    return replace(arguments.read(args), **arguments.wishes(p))


def _wants_comparison(p: Any, args: Sequence[Any]) -> bool:
    try:
        settings = _settings(p, args)
    except SettingsError:
        return False  # `begin` reports it
    return settings.enabled and settings.compare


def comment(p: Any, text: str) -> None:
    """Show `text` under the picture and in the console."""
    say(text)
    if hasattr(p, "comment"):
        p.comment(text)


def say(text: str) -> None:
    """Print a line, also on consoles that have no Greek letters."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    if encoding.lower().startswith("cp"):
        text = text.replace("λ", "lambda").replace("α", "alpha").replace("φ", "phi")
    print(text.encode(encoding, "replace").decode(encoding))


class _Sample:
    """Replaces `p.sample` and runs it inside the session, once. It removes itself first, so that copies of `p` don't
    have it.

    If another script has wrapped it meanwhile, it can't be removed; after its run it only passes calls on.
    """

    def __init__(self, p: Any, generation: _Generation, session: Session, sampling: list[_Sample]) -> None:
        self.p, self.session, self._generation = p, session, generation
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
                made = sample(*args, **kwargs)
            self._generation.shares.drawn += len(getattr(self.p, "seeds", None) or ())
            return made
        finally:
            if self.session.probe is not None:
                self.session.probe.forget()
                self.session.probe = None
            self._sampling.pop()
            for reason, count in self._failures.items():
                error = f"not applied in {count} step{'s' * (count > 1)}: {reason}"
                self._generation.report.error = error
                comment(self.p, f"PLADIS: {error}")
            passes = self.session.passes[done_before:]
            infotext.note_failed(
                self.p, sum(each.calls_failed for each in passes), sum(each.calls_seen for each in passes)
            )
            if not any(each.calls_blended for each in passes) and infotext.remove(self.p):
                why = "; ".join(dict.fromkeys(reason for each in passes for reason in each.reasons))
                comment(self.p, f"PLADIS: not applied to this picture{why and f' ({why})'}")

    def _probe(self) -> Probe | None:
        """The probe of Look inside, if requested. An error only cancels the look."""
        look = self._generation.look
        if look is None:
            return None
        try:
            return look.begin_batch(self.p)
        except Exception as error:  # noqa: BLE001 (what a host's tokenizer raises is not known beforehand)
            traceback.print_exc()
            look.problems.append(f"{type(error).__name__}: {error}")
            return None

    def failed(self, reason: str) -> None:
        """Note an error of PLADIS in a step; its traceback is printed the first time."""
        if reason not in self._failures:
            traceback.print_exc()
        self._failures[reason] = self._failures.get(reason, 0) + 1

    def take_off(self, p: Any) -> None:
        """Restore the previous `sample`, unless another script has wrapped ours."""
        if vars(p).get("sample") is not self:
            return
        if self.theirs is None:
            del p.sample
        else:
            p.sample = self.theirs


def _take_off(p: Any) -> None:
    """Remove a `_Sample` left on `p` by an earlier run, or by the original that it was copied from."""
    sample = vars(p).get("sample")
    if isinstance(sample, _Sample):
        sample.take_off(p)


def refuse(p: Any, error: Exception) -> None:
    """Make `p.init`, the host's next call whose exceptions it does not catch, raise this error."""
    theirs = vars(p).get("init")

    def init(*args: Any, **kwargs: Any) -> None:
        if theirs is None:
            del p.init
        else:
            p.init = theirs
        raise error

    p.init = init
    comment(p, str(error))  # for cells of a plot the host prints errors only to the console


def _why_idle(p: Any, settings: Settings) -> str:
    hires = infotext.has_hires_pass(p)
    first = settings.why_idle()
    return first if not (hires and not settings.why_idle(hires=True)) else ""


def _job() -> object:
    """Identifies the host's current job. Nested generations belong to the same job."""
    from modules import shared

    return getattr(getattr(shared, "state", None), "time_start", None)


def _conditions(params: Any) -> Conditions:
    """The current conditions of a denoiser call; other callbacks may have changed them."""
    positive, negative = (_tensor(getattr(params, name, None)) for name in ("text_cond", "text_uncond"))
    return Conditions(positive, negative, lambda: _prompts(getattr(getattr(params, "denoiser", None), "p", None)))


def _prompts(p: Any) -> Prompts:
    """The prompts of the current batch and pass."""
    from modules import prompt_parser

    hires = bool(getattr(p, "is_hr_pass", False))
    positive, negative = (
        (getattr(p, f"hr_{name}", None) if hires else None) or getattr(p, name, None) or ()
        for name in ("prompts", "negative_prompts")
    )
    return parts_at_step(positive, prompt_parser), whole_at_step(negative, prompt_parser)


def _tensor(cond: Any) -> Any:
    """The text's tensor; SDXL's conditions are a dict with it under `crossattn`."""
    return cond["crossattn"] if isinstance(cond, dict) else cond


generations = Generations()
"""The generations of this web UI."""
