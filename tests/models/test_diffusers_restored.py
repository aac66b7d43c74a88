"""After PLADIS a diffusers pipeline is what it was: after errors, nested, in threads, compiled."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch

from lib_pladis.diffusers import apply_pladis
from tests.models.pipelines import FLUX, SD, STEPS, diffusers, sd
from tests.models.seen import made, seen, state


def test_after_an_error_nothing_is_left() -> None:
    pipe = sd()
    off, before = SD.run(pipe), state(pipe)

    def fail(pipe: Any, step: int, time: Any, kwargs: Any) -> Any:
        raise RuntimeError("in mid-run")

    applied = apply_pladis(pipe)
    with pytest.raises(RuntimeError, match="in mid-run"), applied:
        SD.run(pipe, callback_on_step_end=fail)
    assert state(pipe) == before
    assert torch.equal(SD.run(pipe), off)
    with pytest.raises(RuntimeError, match="make another"), applied, applied:
        pass
    assert state(pipe) == before


def test_the_innermost_holds_and_the_outer_one_goes_on() -> None:
    pipe = sd()
    off = SD.run(pipe)
    weak, _ = made(pipe, SD, {"scale": 1.0})
    strong, _ = made(pipe, SD, {"scale": 3.0})
    before = state(pipe)
    with apply_pladis(pipe, scale=3.0) as outer:
        assert torch.equal(SD.run(pipe), strong)
        with apply_pladis(pipe, scale=1.0) as inner:
            assert torch.equal(SD.run(pipe), weak)
        with apply_pladis(pipe, enabled=False):
            assert torch.equal(SD.run(pipe), off)
        assert torch.equal(SD.run(pipe), strong)
    assert [len(each.report.passes) for each in (outer, inner)] == [2, 1]
    assert state(pipe) == before


def test_threads_that_share_a_network_have_each_their_own() -> None:
    pipes = [sd()]
    pipes += [diffusers.StableDiffusionPipeline(**{**pipes[0].components, "scheduler": pipes[0].scheduler.from_config(
        pipes[0].scheduler.config)}, requires_safety_checker=False) for _ in range(2)]  # fmt: skip
    wanted = [SD.run(pipes[0]), made(pipes[0], SD, {"scale": 1.0})[0], made(pipes[0], SD, {"scale": 3.0})[0]]
    before = state(pipes[0])
    found: dict[int, list[bool]] = {}

    def work(index: int) -> None:
        for _ in range(4):
            out = SD.run(pipes[0]) if not index else made(pipes[index], SD, {"scale": (0, 1.0, 3.0)[index]})[0]
            found.setdefault(index, []).append(torch.equal(out, wanted[index]))

    threads = [threading.Thread(target=work, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {index: [True] * 4 for index in range(3)}
    assert state(pipes[0]) == before


def test_a_call_in_another_thread_than_entered_is_plain_and_it_is_said() -> None:
    pipe, outs = sd(), []
    off = SD.run(pipe)
    with apply_pladis(pipe) as applied:
        thread = threading.Thread(target=lambda: outs.append(SD.run(pipe)))
        thread.start()
        thread.join()
    assert torch.equal(outs[0], off)
    assert "in the thread that entered" in str(applied.report)


def test_another_attention_backend_is_put_back() -> None:
    pipe = FLUX.pipe()
    if not hasattr(pipe.transformer, "set_attention_backend"):
        pytest.skip(f"diffusers {diffusers.__version__} has no attention backends")
    pipe.transformer.set_attention_backend("_native_math")
    off, before = FLUX.run(pipe), state(pipe)
    found = seen(FLUX, pipe, {})
    assert found.error <= 2e-5 * max(1.0, found.size)
    assert state(pipe) == before
    assert {p._attention_backend for p in pipe.transformer.attn_processors.values()} == {"_native_math"}
    assert torch.equal(FLUX.run(pipe), off)


def compile_whole(pipe: Any) -> None:
    pipe.unet = torch.compile(pipe.unet, backend="eager")


def compile_in_place(pipe: Any) -> None:
    pipe.unet.compile(backend="eager", fullgraph=False)


def compile_blocks(pipe: Any) -> None:
    for block in pipe.unet.down_blocks:
        block.compile(backend="eager")


@pytest.mark.parametrize("compiled", [compile_whole, compile_in_place, compile_blocks])
def test_a_compiled_network_is_blended_uncompiled_and_then_its_own(compiled: Callable[[Any], None]) -> None:
    pipe = sd()
    wanted, _ = made(pipe, SD, {"start": 0.3})
    compiled(pipe)
    off, before = SD.run(pipe), state(pipe)
    on, applied = made(pipe, SD, {"start": 0.3})
    torch.testing.assert_close(on, wanted, atol=1e-5, rtol=0)
    assert applied.report.passes[0].calls_blended == SD.layers * (STEPS - 1)
    assert "torch.compile's code can't be hooked: the original was run in its place" in str(applied.report)
    after = state(pipe)
    assert {name: value.keys() for name, value in after.items()} == {
        name: value.keys() for name, value in before.items()
    }
    assert torch.equal(SD.run(pipe), off)


def test_a_compiled_network_of_which_no_layer_is_blended_runs_compiled() -> None:
    pipe = sd()
    calls: list[str] = []

    def compiled(*args: Any, **kwargs: Any) -> Any:
        calls.append("compiled")
        return pipe.unet._call_impl(*args, **kwargs)

    pipe.unet._compiled_call_impl = compiled
    _, applied = made(pipe, SD, {"layers": "j0"})
    assert calls == ["compiled"] * STEPS
    assert "names no cross-attention layer" in str(applied.report)
    assert "torch.compile" not in str(applied.report)
