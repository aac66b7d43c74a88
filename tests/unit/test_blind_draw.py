"""Drawing a blind test, by a stand-in for the host's `process_images`."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lib_pladis.presets import BUILT_IN
from lib_pladis.webui.blind import draw, prompts
from lib_pladis.webui.blind.store import Store
from tests.generations import Result


class Host(SimpleNamespace):
    """`modules.shared` and `modules.processing`; a person presses Interrupt while picture number `stop_in` is drawn,
    and the host ends after that picture."""

    def __init__(self, stop_in: int) -> None:
        super().__init__(stop_in=stop_in, drawn=0, cmd_opts=SimpleNamespace())
        self.state = SimpleNamespace(interrupted=False, skipped=False, stopping_generation=False)

    def fix_seed(self, p: Any) -> None:
        p.seed = p.subseed = 1

    def process_images(self, p: Any) -> Any:
        texts = [] if self.state.stopping_generation else [f"{p.seed}"]
        self.drawn += len(texts)
        self.state.stopping_generation |= self.drawn == self.stop_in
        if p.script_args[0]:
            p.extra_generation_params["PLADIS scale"] = "2"
        result = Result(*texts)
        vars(result).update(sd_model_name="m", sd_model_hash="0123456789", steps=2, sampler_name="Euler")
        vars(result).update(width=64, height=64)
        return result


@pytest.mark.parametrize("stop_in, pairs", [(1, 0), (2, 1), (3, 1), (4, 2), (99, 3)])
def test_stop_after_this_picture_keeps_whole_pairs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_in: int, pairs: int
) -> None:
    host = Host(stop_in)
    monkeypatch.setitem(sys.modules, "modules", SimpleNamespace(shared=host, processing=host))
    monkeypatch.setattr(draw.model, "in_use", lambda: SimpleNamespace(family="sd1"))
    ours = SimpleNamespace(name="pladis", args_from=0, args_to=len(draw.TABLE) + 1)
    p = SimpleNamespace(
        prompt="a", cfg_scale=5, scripts=SimpleNamespace(alwayson_scripts=[ours]), script_args=[None] * ours.args_to
    )
    p.extra_generation_params = {}
    request = draw.Request((draw.OFF, "Paper"), prompts.LINES, "a\nb\nc")
    store = Store(lambda: tmp_path)
    draw.Drawing(p, request, store, BUILT_IN.__getitem__).run()
    assert host.drawn == min(stop_in, 6)
    assert [len(test.pairs) for test in store.all()] == ([pairs] if pairs else [])
