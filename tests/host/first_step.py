"""A session in the first step of a generation, for tests that call the hooked model themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from lib_pladis.facts import Conditions, Step
from lib_pladis.kernels.choice import Kernels
from lib_pladis.protocol import HostModel
from lib_pladis.run.probe import Probe
from lib_pladis.run.session import Session
from lib_pladis.settings import Settings

ON = Settings(enabled=True)
NONE = Conditions()


@contextmanager
def first_step(
    model: HostModel,
    settings: Settings = ON,
    conditions: Conditions | Callable[[], Conditions] = NONE,
    *,
    probe: Probe | None = None,
    size: tuple[int, int] | None = None,
    kernels: Kernels | None = None,
) -> Iterator[Any]:
    """The session, whose hooks are on the model until the end. It has its `comments`, and its `lines` of the log."""
    at_call = conditions if callable(conditions) else lambda: conditions
    comments: list[str] = []
    lines: list[str] = []
    session: Any = Session(settings, kernels=kernels, log=lines.append, comment=comments.append)
    session.comments, session.lines, session.probe = comments, lines, probe
    with torch.no_grad(), session.sampling():
        session.step(model, Step(0, 4, conditions=at_call, size=size))
        yield session
