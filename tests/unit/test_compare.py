"""Compare's own part: what the copy of `p` is, and where the plain pictures go among the others."""

from __future__ import annotations

import os
import sys
import types
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lib_pladis.run.report import PassReport, Report
from lib_pladis.webui import compare
from lib_pladis.webui.compare import Comparison
from lib_pladis.webui.result import picture_places


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A host's modules; `host.made` are the copies that were to be drawn, `host.draw` is what is done."""
    names = ("modules", "modules.shared", "modules.processing")
    made: dict[str, Any] = {name: types.ModuleType(name) for name in names}
    modules = made["modules"]
    modules.shared, modules.processing = made["modules.shared"], made["modules.processing"]
    modules.shared.state = SimpleNamespace(job_count=-1, interrupted=False, skipped=False, stopping_generation=False)
    modules.shared.cmd_opts = SimpleNamespace(no_prompt_history=False)
    host = SimpleNamespace(state=modules.shared.state, cmd_opts=modules.shared.cmd_opts, made=[], history=[])
    host.draw = lambda p: result(len(p.seeds), "plain")

    def process_images(p: Any) -> Any:
        host.made.append(p)
        host.history.append(host.cmd_opts.no_prompt_history)
        p.seeds = p.seed if isinstance(p.seed, list) else [p.seed]
        return host.draw(p)

    modules.processing.process_images = process_images
    for module in (modules, modules.shared, modules.processing):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return host


def picture(text: str) -> Any:
    return SimpleNamespace(info={"parameters": text} if text else {})


def result(count: int, name: str, **fields: Any) -> Any:
    texts = [f"{name} {i}" for i in range(count)]
    values = {"images": [picture(text) for text in texts], "infotexts": texts, "index_of_first_image": 0, **fields}
    return SimpleNamespace(comments="", **{each: list(range(count)) for each in compare.LISTED}, **values)


def generation(**fields: Any) -> Any:
    """`p` as it is when it has been drawn: the host and its scripts have set what `fields` don't."""
    values = {
        "prompt": "a", "negative_prompt": "b", "seed": 5, "subseed": 9, "styles": [], "script_args": [0], "n_iter": 1,
        "all_prompts": ["a"], "all_negative_prompts": ["b"], "all_seeds": [5], "all_subseeds": [9],
    }  # fmt: skip
    return SimpleNamespace(**{**values, **fields})


BLENDED = [PassReport("first", "sd1", 1, 2.0, 1.5, calls_blended=1)]


def made(host: Any, p: Any, processed: Any) -> Any:
    return report_of(Comparison(p), p, processed)


def report_of(half: Comparison, p: Any, processed: Any, passes: Any = BLENDED) -> Any:
    report = Report(passes=passes)
    return report, half.make(p, processed, report, picture_places(processed))


def test_the_copy_has_what_was_used_in_the_end(host: Any) -> None:
    p = generation(prompt="__wild__", seed=-1, styles=["loud"], all_prompts=["x, loud"], all_seeds=[11], subseed=-1)
    made(host, p, result(1, "on"))
    (plain,) = host.made
    assert (plain.prompt, plain.negative_prompt, plain.seed, plain.subseed) == ("x, loud", "b", 11, 9)
    assert plain.styles == [] and plain.do_not_save_grid
    assert (p.prompt, p.seed, p.styles) == ("__wild__", -1, ["loud"]), "p itself is not touched"
    assert host.history == [True] and host.cmd_opts.no_prompt_history is False


@pytest.mark.parametrize(
    ("fields", "seed", "subseed"),
    [
        ({"all_seeds": [5, 6], "all_subseeds": [9, 10]}, 5, 9),
        ({"all_seeds": [5, 5], "all_subseeds": [9, 10], "subseed_strength": 0.5}, 5, 9),
        ({"all_seeds": [5, 7], "all_subseeds": [9, 9]}, [5, 7], [9, 9]),
        ({"all_seeds": [5, 5], "all_subseeds": [9, 10]}, [5, 5], 9),
    ],
)
def test_seeds_are_one_number_where_the_host_makes_the_others_of_it(
    host: Any, fields: Any, seed: Any, subseed: Any
) -> None:
    made(host, generation(all_prompts=["a", "c"], **fields), result(2, "on"))
    assert (host.made[0].seed, host.made[0].subseed) == (seed, subseed)
    assert host.made[0].prompt == ["a", "c"], "prompts that differ go along as a list"


def test_what_the_host_draws_without_a_seed_is_the_same_in_both(host: Any) -> None:
    p, plain = generation(), []

    def draw(_: Any) -> Any:
        plain.append(torch.randn(3))
        return result(1, "plain")

    half, host.draw = Comparison(p), draw
    on = torch.randn(3)
    torch.manual_seed(5)  # as sampling does
    report_of(half, p, result(1, "on"))
    assert torch.equal(plain[0], on)


def test_prompts_of_the_hires_pass(host: Any) -> None:
    made(host, generation(hr_prompt="", all_hr_prompts=["a"]), result(1, "on"))
    made(host, generation(hr_prompt="__wild__", all_hr_prompts=["y"]), result(1, "on"))
    assert [each.hr_prompt for each in host.made] == ["", "y"]


def test_the_copy_shares_no_list_or_dict_but_the_caches() -> None:
    p = generation(extra_generation_params={"A": 1}, extra_result_images=[1], cached_c=[None, None])
    other = compare.untouched(p)
    assert vars(other) == vars(p)
    for name in ("extra_generation_params", "extra_result_images", "all_prompts"):
        assert getattr(other, name) is not getattr(p, name)
    assert other.cached_c is p.cached_c


def test_pairs_pass_over_the_grid_and_masks(host: Any) -> None:
    grid, mask = picture("grid"), picture("")
    on = result(2, "on", images=[grid, picture("on 0"), mask, picture("on 1"), mask], index_of_first_image=1)
    on.infotexts = ["grid", "on 0", "on 1"]
    host.draw = lambda p: result(2, "plain", images=[picture("plain 0"), mask, picture("plain 1"), mask])
    report, said = made(host, generation(), on)
    assert said == ""
    assert report.pairs == [(1, 5), (3, 7)]
    assert len(on.images) == 9 and on.infotexts == ["grid", "on 0", "", "on 1", "", "plain 0", "plain 1"]
    assert on.all_seeds == [0, 1, 0, 1]


def test_without_png_info_every_picture_counts(host: Any) -> None:
    on = result(2, "on", images=[picture(""), picture("")])
    host.draw = lambda p: result(2, "plain", images=[picture(""), picture("")])
    report, _ = made(host, generation(), on)
    assert report.pairs == [(0, 2), (1, 3)]


def text(seed: int, *more: str) -> str:
    return f"a, Seed: 9\nNegative prompt: b\nSteps: 4, Seed: {seed}, {''.join(each + ', ' for each in more)}Version: 1"


@pytest.mark.parametrize(
    ("ours", "plain", "pairs"),
    [
        ([text(5, "PLADIS scale: 2")], [text(5)], [(0, 1)]),
        ([text(5, "Wildcard prompt: x")], [text(5, "Wildcard prompt: y", "Model: z")], [(0, 1)]),
        ([text(5), text(6)], [text(6), text(5)], [(0, 3), (1, 2)]),
        ([text(6)], [text(5), text(6)], [(0, 2)]),
        ([text(5), text(6)], [text(5)], [(0, 2)]),
        ([text(5, f"Variation seed: {i}") for i in (8, 9)], [text(5, f"Variation seed: {i}") for i in (9, 8)],
         [(0, 3), (1, 2)]),
        ([text(5), text(5)], [text(5), text(5)], [(0, 2), (1, 3)]),
        (["", ""], ["", ""], [(0, 2), (1, 3)]),
    ],
)  # fmt: skip
def test_halves_belong_together_by_their_seeds(host: Any, ours: Any, plain: Any, pairs: Any) -> None:
    """Whatever else other extensions write. Where machines share the work, order may differ, and some be missing."""
    host.draw = lambda p: result(len(plain), "plain", infotexts=plain)
    report, said = made(host, generation(), result(len(ours), "on", infotexts=ours))
    assert report.pairs == pairs and bool(said) == (len(pairs) < len(ours))


def test_halves_that_cannot_be_paired_are_said(host: Any) -> None:
    host.draw = lambda p: result(2, "plain", infotexts=[text(1), text(2)])
    report, said = made(host, generation(), result(1, "on", infotexts=[text(5)]))
    assert report.pairs == [] and report.why_not_compared in said and "for 1 of 1 pictures none" in said


def test_the_pictures_own_seeds_go_before_those_that_another_extension_lists(host: Any) -> None:
    on, plain = ([picture(text(seed)) for seed in each] for each in ((5, 6), (6, 5)))
    host.draw = lambda p: result(2, "plain", images=plain, infotexts=[text(6), text(6)])
    report, _ = made(host, generation(), result(2, "on", images=on, infotexts=[text(5), text(5)]))
    assert report.pairs == [(0, 3), (1, 2)]


@pytest.mark.parametrize("given", [{}, {"return_grid": True}])
@pytest.mark.parametrize("shared", [False, True])
def test_where_machines_share_the_work_no_grid_is_counted_on(host: Any, given: Any, shared: bool) -> None:
    """The plain half has none; stable-diffusion-webui-distributed goes by the option."""
    options = sys.modules["modules.shared"].opts = SimpleNamespace(data={**given})  # type: ignore[attr-defined]
    p, seen = generation(override_settings={"return_grid": True}), []
    comparison = Comparison(p)
    comparison.shared = shared

    def draw(plain: Any) -> Any:
        seen.append((dict(options.data), plain.override_settings))
        raise MemoryError

    host.draw = draw
    report_of(comparison, p, result(1, "on"))
    assert seen == [({"return_grid": False} if shared else given, {})]
    assert options.data == given and p.override_settings == {"return_grid": True}


@pytest.mark.parametrize("folder", ["out", "", None])
def test_plain_pictures_have_a_folder_of_their_own(host: Any, folder: Any) -> None:
    made(host, generation(outpath_samples=folder), result(1, "on"))
    assert host.made[0].outpath_samples == (os.path.join("out", "plain") if folder else folder)


@pytest.mark.parametrize(
    ("fields", "why"),
    [({"script_args": [2, "x"]}, "the chosen script"), ({"txt2img_upscale": True}, "is upscaled")],
)
def test_left_out_where_somebody_else_puts_the_pictures_together(host: Any, fields: Any, why: str) -> None:
    on = result(1, "on")
    report, said = made(host, generation(**fields), on)
    assert host.made == [] and len(on.images) == 1
    assert why in said and why in report.why_not_compared and report.pairs == []


def test_nothing_is_drawn_where_nothing_was_blended(host: Any) -> None:
    p = generation()
    _, said = report_of(Comparison(p), p, result(1, "on"), [PassReport("first", "sd1", 1, 2.0, 1.5)])
    assert "not applied" in said
    assert host.made == []


@pytest.mark.parametrize("flag", ["interrupted", "skipped", "stopping_generation"])
def test_a_half_that_was_stopped_is_left_out(host: Any, flag: str) -> None:
    on = result(1, "on")

    def stop(p: Any) -> Any:
        setattr(host.state, flag, True)
        return result(1, "plain")

    host.draw = stop
    report, said = made(host, generation(), on)
    assert len(host.made) == 1 and len(on.images) == 1 and report.pairs == [] and "stopped" in said
    made(host, generation(), on)
    assert len(host.made) == 1, "and where the first was, none is drawn"


def test_a_failure_costs_no_picture(host: Any) -> None:
    def fail(p: Any) -> Any:
        raise MemoryError("no room")

    host.draw = fail
    on = result(1, "on")
    report, said = made(host, generation(), on)
    assert report.why_not_compared == "MemoryError: no room" and report.why_not_compared in said
    assert len(on.images) == 1 and report.pairs == []
    assert host.cmd_opts.no_prompt_history is False


def test_the_progress_bar_counts_both_halves(host: Any) -> None:
    p = generation(n_iter=3, enable_hr=True)
    host.state.job_count = 6
    Comparison(p).announce(p)
    assert host.state.job_count == 12
    Comparison(generation(script_args=[1])).announce(p)
    assert host.state.job_count == 12
