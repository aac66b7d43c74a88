"""A stand-in for the host's `p` and its models, and a generation's course as `process_images` takes it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from PIL import Image

from lib_pladis.settings import TABLE

ON, OFF = [True, 2.0, 1.5], [False]

SCRIPTS = SimpleNamespace(
    alwayson_scripts=[
        SimpleNamespace(name="before", args_from=1, args_to=2),
        SimpleNamespace(name="pladis", args_from=2, args_to=3 + len(TABLE)),
    ]
)
"""A tab's scripts: the dropdown has the first of the arguments, and ours one more than there are settings."""


def script_args(chosen: int = 0, **values: Any) -> tuple[Any, ...]:
    """Those of a generation, with these values and else the defaults."""
    ours = [values.get(name, setting.default) for name, setting in TABLE.items()]
    return (chosen, "before's", *ours, "", "after's")


class FakeModel:
    """A host model whose hooks are entries of a set."""

    hooked: set[str] = set()  # noqa: RUF012
    current: Any
    kind = "fake"
    layers: dict[Any, Any] = {}  # noqa: RUF012

    def __init__(self, name: str) -> None:
        from lib_pladis.models.base import LayerName

        self.name = name
        self.layers = {LayerName("m", 0, 0): None}

    def same_as(self, other: Any) -> Any:
        return other.name == self.name

    def serves(self, other: Any) -> Any:
        return self.same_as(other) and self.name in self.hooked

    def install(self, names: Any, current: Any) -> Any:
        from lib_pladis.protocol import Installed

        self.hooked.add(self.name)
        FakeModel.current = staticmethod(current)
        return Installed(hooked=list(names))

    def remove(self) -> None:
        self.hooked.discard(self.name)


class P:
    """What `process_images` calls on a generation, in its order."""

    generations: Any
    batch_size = n_iter = 1

    def __init__(self, model: str = "first", steps: int = 4) -> None:
        self.sd_model = model
        self.steps = steps
        self.extra_generation_params: dict[str, Any] = {}
        self.comments: list[str] = []
        self.initialised = False
        self.calls_attention = True
        self.during: Any = lambda index: None
        self.hooked_in_step: list[set[str]] = []

    def comment(self, text: str) -> None:
        self.comments.append(text)

    def init(self) -> None:
        self.initialised = True

    def sample(self) -> None:
        denoiser = SimpleNamespace(p=self, step=0, total_steps=self.steps)
        for index in range(self.steps):
            denoiser.step = index
            self.generations.before_denoiser(
                SimpleNamespace(denoiser=denoiser, sampling_step=0, total_sampling_steps=4, text_cond=None)
            )
            self.hooked_in_step.append(set(FakeModel.hooked))
            if FakeModel.hooked and self.calls_attention:
                FakeModel.current().report.calls_blended += 1
            self.during(index)


class Result(SimpleNamespace):
    """What `process_images` returns: pictures with these texts."""

    def __init__(self, *texts: str) -> None:
        images = [Image.new("RGB", (8, 8)) for _ in texts]
        super().__init__(images=images, infotexts=[*texts], index_of_first_image=0, comments="")
        self.extra_generation_params: dict[str, Any] = {}


def process_images(web: Any, p: Any, args: Any, batches: int = 1, after_sampling: Any = lambda: None) -> Any:
    """Returns what each batch's pictures carry."""
    web.begin(p, args)
    p.init()
    written = []
    for _ in range(batches):
        web.begin_batch(p)
        p.sample()
        after_sampling()
        written.append(dict(p.extra_generation_params))
    web.end(p)
    web.finish(p, None)
    return written
