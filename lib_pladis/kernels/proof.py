"""Proves kernels on the device: a kernel is used only if it was right there, and faster than the chunked kernel.

The first problem of a kind is computed by the chunked kernel, whose result is returned. The candidate runs on the same
tensors, and its result is compared. The verdict is kept for the process and in a file, by device, driver and versions.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any

import torch

from lib_pladis import __version__, limits
from lib_pladis.kernels.base import AttentionInputs, Kernel, Problem, Result

if TYPE_CHECKING:
    from lib_pladis.json_file import JsonFile

LOG = logging.getLogger("pladis")

TRIES = 2
"""Number of proofs that may run out of memory, or end the process, before the kernel is rejected for such problems."""

ENVIRONMENTS = 8
"""Number of environments (device, driver, versions) in the file; older ones are dropped."""


@dataclass(frozen=True)
class Verdict:
    """The result of a proof. wrong: why the kernel must not be used; "" if it was right.

    seconds, seconds_of_torch: time of one call of this kernel and of the chunked one. tries: unfinished proofs.
    """

    wrong: str = ""
    seconds: float = 0.0
    seconds_of_torch: float = 0.0
    tries: int = 0

    @property
    def times(self) -> str:
        return f"{self.seconds * 1e3:.3g} ms, torch {self.seconds_of_torch * 1e3:.3g} ms"

    @property
    def why_not(self) -> str:
        """Why the kernel is not used by `auto`, which wants the fastest; "" if it is."""
        return self.wrong or (f"slower here: {self.times}" if self.seconds > self.seconds_of_torch else "")


def seconds(run: Callable[[], object], device: torch.device) -> float:
    """Time of one run, by CUDA events on a CUDA device."""
    if device.type == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / 1e3
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun


class Proofs:
    """Verdicts by kernel, kind of problem and device.

    file: keeps them between processes. If it can't be read or written, one line says so and it is no longer used.
    """

    def __init__(self, file: JsonFile | None = None, clock: Callable[..., float] = seconds) -> None:
        self._file = file
        self._clock = clock
        self._found: dict[tuple[str, str, str], Verdict] = {}
        self._short: dict[tuple[str, str, str], int] = {}
        self._read: set[str] = set()

    def keep_in(self, file: JsonFile) -> None:
        """Keep the verdicts in this file from now on."""
        self._file = file
        self._read.clear()

    def known(self, kernel: Kernel, problem: Problem, device: torch.device) -> Verdict | None:
        """The verdict, or None."""
        place = environment(device)
        self._load(place)
        found = self._found.get((place, kernel.name, problem.kind))
        return found if found is not None and not found.tries else None

    def reject(self, kernel: Kernel, problem: Problem, device: torch.device, reason: str) -> None:
        """Do not use this kernel for such problems in this process any more."""
        self._found[environment(device), kernel.name, problem.kind] = Verdict(reason)

    def as_list(self, device: torch.device) -> list[dict[str, Any]]:
        """All verdicts of this device, in plain JSON types."""
        place = environment(device)
        self._load(place)
        found = [(name, kind, verdict) for (where, name, kind), verdict in list(self._found.items()) if where == place]
        return [{"kernel": name, "kind": kind, "why_not": v.why_not, **asdict(v)} for name, kind, v in found]

    def prove(
        self, kernel: Kernel, reference: Kernel, problem: Problem, inputs: AttentionInputs
    ) -> tuple[Verdict | None, Result]:
        """Try the kernel on these inputs. Returns the verdict, None if there is none yet, and the reference's
        result."""
        device = inputs.query.device
        at = (environment(device), kernel.name, problem.kind)
        reference_launch = reference.plan(problem)
        shown = reference.attend(reference_launch, inputs)
        if not shown.out.numel() or not shown.out.isfinite().all() or not shown.out.any():
            return None, shown  # nothing to compare
        before = self._found.get(at)
        self._keep(at, Verdict(tries=1 if before is None else before.tries + 1))  # in case the process crashes
        try:
            launch = kernel.plan(problem)
            wrong = why_wrong(kernel.attend(launch, inputs), shown, inputs)
            verdict = Verdict(wrong)
            if not wrong:
                runs = (lambda: kernel.attend(launch, inputs)), (lambda: reference.attend(reference_launch, inputs))
                own, of_torch = (min(self._clock(run, device) for _ in range(3)) for run in runs)
                verdict = Verdict("", own, of_torch)
        except Exception as error:  # noqa: BLE001 (what a compiler or driver raises is not known beforehand)
            verdict = Verdict(first_line(error))
            if short_of_memory(error):  # a temporary state, which the file does not record
                self._keep(at, before)
                self._short[at] = self._short.get(at, 0) + 1
                if self._short[at] >= TRIES:
                    self._found[at] = verdict
                return self.known(kernel, problem, device), shown
        self._keep(at, verdict)
        return verdict, shown

    def _load(self, place: str) -> None:
        """Read this environment's verdicts from the file, once."""
        if place in self._read:
            return
        self._read.add(place)
        try:
            kept = (self._file.read() or {}) if self._file is not None else {}
            for name, kinds in kept.get(place, {}).items():
                for kind, fields in kinds.items():
                    verdict = Verdict(**fields)
                    if verdict.tries >= TRIES:
                        verdict = Verdict("the process ended while it was being tried")
                    self._found.setdefault((place, name, kind), verdict)
        except (ValueError, AttributeError, TypeError) as error:
            self._done_without(error)

    def _keep(self, at: tuple[str, str, str], verdict: Verdict | None) -> None:
        place, name, kind = at
        self._found.pop(at, None)
        if verdict is not None:
            self._found[at] = verdict

        def changed(document: Any) -> dict[str, Any]:
            kept = dict(document or {})
            here = kept.pop(place, {})
            here.setdefault(name, {}).pop(kind, None)
            if verdict is not None:
                here[name][kind] = asdict(verdict)
            latest = list(kept.items())[-ENVIRONMENTS + 1 :]
            return dict([*latest, (place, here)])

        if self._file is not None:
            try:
                self._file.change(changed)
            except (ValueError, AttributeError, TypeError) as error:
                self._done_without(error)

    def _done_without(self, error: Exception) -> None:
        self._file = None
        LOG.warning("PLADIS: the verdicts on kernels can't be stored for the next start (%s)", error)


PROOFS = Proofs()
"""The verdicts of this process."""


def why_wrong(got: Result, shown: Result, inputs: AttentionInputs) -> str:
    """Why a result differs from the one that was `shown` for the same inputs; "" if it agrees."""
    query, _, value, _, mix, _ = inputs
    if got.out.shape != shown.out.shape or got.out.dtype != shown.out.dtype:
        return f"its result was {got.out.dtype} {tuple(got.out.shape)}"
    if not got.out.isfinite().all():
        return "its result was not finite"
    rounding = max(torch.finfo(query.dtype).eps, limits.FINEST) * (abs(mix.scale) + abs(1.0 - mix.scale))
    worst, off, whole = 0.0, 0.0, 0.0
    for mine, theirs, values in zip(got.out, shown.out, value):  # an entry of the batch at a time
        rows = (mine.float() - theirs.float()).square_().mean(-1)
        allowed = values.float().square().mean(-1).amax(-1, keepdim=True).mul_((limits.ROUNDINGS * rounding) ** 2)
        worst = max(worst, float((rows / allowed.clamp_(min=1e-30)).amax()))
        off += float(rows.mean())
        whole += float(theirs.float().square().mean())
    if worst > 1.0:
        return f"its result was off by {worst**0.5:.2g} times what rounding makes, in a row"
    if off > limits.MEAN_SQUARE**2 * whole:
        return f"its result was off by {(off / whole) ** 0.5:.2%}, allowed {limits.MEAN_SQUARE:.0%}"
    if shown.lse is not None and (got.lse is None or not torch.allclose(got.lse, shown.lse, 1e-5, 1e-3)):
        return "its log-sum-exp was off"
    return ""


def short_of_memory(error: Exception) -> bool:
    """Whether the error only says that memory ran out."""
    return isinstance(error, torch.cuda.OutOfMemoryError) or "out of memory" in first_line(error).lower()


def first_line(error: Exception) -> str:
    """An exception in one line."""
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]


@functools.cache
def environment(device: torch.device) -> str:
    """What a verdict is valid for: the device, its driver, and the versions of torch, Triton and PLADIS."""
    name, driver = device.type, ""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        driver = torch.version.hip or str(getattr(torch._C, "_cuda_getDriverVersion", lambda: "")())
    try:
        triton = metadata.version("triton")
    except metadata.PackageNotFoundError:
        triton = "none"
    return f"{name} | driver {driver or 'none'} | torch {torch.__version__} | Triton {triton} | PLADIS {__version__}"
