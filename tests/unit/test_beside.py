"""What stands beside the pictures: asked for on this machine alone, told in the result's info, where the crop lay."""

from __future__ import annotations

import copy
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lib_pladis.run.report import Report
from lib_pladis.settings import Settings, SettingsError
from lib_pladis.webui import arguments, heat
from lib_pladis.webui.beside import KEY, MOST_KEPT, Beside
from lib_pladis.webui.frame import WHOLE, cut, frame_of
from lib_pladis.webui.look import Look
from tests.generations import SCRIPTS, P, Result, script_args


def generation(**values: Any) -> Any:
    """`p` as the hosts give it to `Script.setup`."""
    p: Any = P()
    p.scripts, p.script_args = SCRIPTS, script_args(**values)
    return p


def ours(p: Any) -> tuple[Any, ...]:
    return p.script_args[2:-1]


# ---- script arguments ------------------------------------------------------------------------------


def test_other_machines_are_not_asked_for_what_stands_beside_the_pictures() -> None:
    p = generation(enabled=True, scale=3.0, compare=True, look=True, look_words="red")
    arguments.set_aside(p, ours(p))
    assert p.script_args == script_args(enabled=True, scale=3.0), "what a neighbour sends"
    assert arguments.wishes(copy.copy(p)) == {"compare": True, "look": True, "look_words": "red"}
    arguments.make_plain(p)
    assert p.script_args == script_args(scale=3.0) and arguments.wishes(p) == {}


@pytest.mark.parametrize("given", [{"enabled": True}, {"scale": "bad", "look": True}, {"look_words": "red"}])
def test_arguments_stay_where_nothing_is_to_be_set_aside(given: Any) -> None:
    p = generation(**given)
    before = p.script_args
    arguments.set_aside(p, ours(p))
    assert p.script_args is before and arguments.wishes(p) == {}


@pytest.mark.parametrize("more", [{}, {"compare": True}])
def test_an_object_is_handed_on_as_a_list(more: Any) -> None:
    """As the hosts fill it up: an API, another machine's too, takes an object alone or a list."""
    p = generation()
    p.script_args = [0, "before's", {"scale": 3.0, **more}, *script_args()[3:]]
    arguments.set_aside(p, ours(p))
    assert p.script_args == [*script_args(enabled=True, scale=3.0)]
    assert arguments.wishes(p).get("compare", False) == bool(more)


def test_where_the_list_is_too_short_for_our_place_it_is_left_alone() -> None:
    p = generation()
    p.script_args = (0, "before's", True)
    assert not arguments.put(p, {"scale": 3.0}) and p.script_args == (0, "before's", True)


# ---- machines that share the work --------------------------------------------------------------------


class Shared:
    """A generation of four pictures of which two were drawn here, or `asked` and `here`."""

    def __init__(self, web: Any, monkeypatch: pytest.MonkeyPatch, asked: int = 4, here: int = 2, **values: Any) -> None:
        state = SimpleNamespace(time_start=1.0, interrupted=False)
        monkeypatch.setattr(sys.modules["modules.shared"], "state", state)
        self.web, self.p = web, generation(enabled=True, **values)
        self.p.batch_size = asked
        arguments.set_aside(self.p, ours(self.p))
        web.prepare(self.p, ours(self.p))
        self.p.batch_size, self.p.seeds = here, list(range(5, 5 + here))
        self.p.all_seeds = self.p.all_subseeds = self.p.seeds
        web.begin(self.p, ours(self.p))
        web.begin_batch(self.p)
        self.p.sample()

    def finish(self, *texts: str) -> Any:
        result = Result(*texts)
        self.p.batch_size = len(texts)  # those that came back belong to the batch
        for step in (self.web.end, self.web.finish):
            step(self.p, result)
        return result


def text(seed: int, on: bool = True) -> str:
    return f"a\nSteps: 4, Seed: {seed}{', PLADIS scale: 2' if on else ''}, Version: 1"


def test_a_machine_that_was_lost_and_one_without_us_are_said(web: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    on = [text(seed) for seed in (5, 6, 7, 8)]
    assert Shared(web, monkeypatch).finish(*on).comments == ""
    assert "1 of 4 pictures did not come back" in Shared(web, monkeypatch).finish(*on[:3]).comments
    said = Shared(web, monkeypatch).finish(*on[:3], text(8, on=False)).comments
    assert "not applied to 1 of 4 pictures, though their files say so" in said
    assert web._open == []


def test_extra_pictures_of_a_machine_without_us_are_said(web: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    on, plain = [text(seed) for seed in (5, 6, 7)], text(7, on=False)
    assert Shared(web, monkeypatch, asked=1, here=1).finish(*on).comments == ""
    said = Shared(web, monkeypatch, asked=1, here=1).finish(*on[:2], plain).comments
    assert "not applied to 1 of 3 pictures, though their files say so" in said
    assert web._open == []


@pytest.mark.parametrize("variation", [False, True])
def test_extra_pictures_do_not_make_up_for_lost_ones(
    web: Any, monkeypatch: pytest.MonkeyPatch, variation: bool
) -> None:
    shared = Shared(web, monkeypatch, asked=2, here=1)
    shared.p.subseed_strength = 0.5 if variation else 0
    texts = [f"a\nSeed: 3, Variation seed: {seed}, PLADIS scale: 2" if variation else text(seed) for seed in (5, 7, 8)]
    assert "1 of 2 pictures did not come back" in shared.finish(*texts).comments


def test_maps_belong_to_pictures_that_were_drawn_here(web: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def finish(look: Any, p: Any, processed: Any, places: Any) -> str:
        look.places = places
        return ""

    monkeypatch.setattr(Look, "finish", finish)
    monkeypatch.setattr(Look, "begin_batch", lambda look, p: None)
    shared = Shared(web, monkeypatch, asked=1, here=1, look=True)
    generation = web._open[0]
    said = shared.finish(*(text(seed) for seed in (5, 6, 7))).comments
    assert generation.look.places == [0] and "another machine has drawn are not looked at" in said


def test_only_pictures_with_pladis_are_paired(web: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = [text(seed, on=False) for seed in (5, 6, 7, 8)]

    def draw(half: Any) -> Any:
        assert half.batch_size == 4 and half.script_args == script_args()
        return Result(*plain)

    modules: Any = sys.modules["modules"]
    modules.processing = SimpleNamespace(process_images=draw)
    modules.shared.cmd_opts = SimpleNamespace()
    shared = Shared(web, monkeypatch, compare=True)
    result = shared.finish(*(text(seed) for seed in (5, 6, 7)), text(8, on=False))
    assert web.last.pairs == [(0, 4), (1, 5), (2, 6)] and web.last.why_not_compared == ""
    assert result.extra_generation_params[KEY]["pairs"] == web.last.pairs


def test_nothing_drawn_here_is_said(web: Any) -> None:
    p, result = generation(enabled=True, compare=True), Result("a")
    arguments.set_aside(p, ours(p))
    web.prepare(p, ours(p))
    web.end(p, result)  # the host's `process` was never called
    web.finish(p, result)
    assert "nothing was drawn on this machine" in result.comments


# ---- what is told --------------------------------------------------------------------------------------


def look(*places: int) -> Look:
    looking = Look(Settings(enabled=True, look=True))
    looking.places, looking.sheets = list(places), [None, *[9] * len(places)][: len(places)]
    return looking


@pytest.fixture(autouse=True)
def prompt_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    modules: Any = SimpleNamespace(prompt_parser=SimpleNamespace(), shared=SimpleNamespace(opts=SimpleNamespace()))
    if "modules" not in sys.modules:
        monkeypatch.setitem(sys.modules, "modules", modules)


def test_the_files_of_a_folder_are_told_of_in_the_result_that_is_shown() -> None:
    beside, p, first = Beside(), P(), Result("on", "plain")
    looks = [look(0), look(0)]
    beside.tell(p, first, [(0, 1)], looks[0], ["a"])
    for round_ in (1, 2):
        later = Result("on", "plain")
        beside.tell(p, later, [(0, 1)], looks[1] if round_ == 1 else None, ["b"])
        first.images += later.images  # as the hosts do
        assert later.extra_generation_params == {}
    told = first.extra_generation_params[KEY]
    assert told["pairs"] == [(0, 1), (2, 3), (4, 5)]
    assert told["looks"] == [(0, None, looks[0].name, 0), (2, None, looks[1].name, 0)]
    assert first.comments == "a\nb\nb\n"
    another = Result("on")
    beside.tell(P(), another, [], look(0), [])
    assert len(another.extra_generation_params[KEY]["looks"]) == 1, "another generation's own"


def test_pngs_say_nothing_of_it() -> None:
    p, result = P(), Result("on", "plain")
    result.extra_generation_params = p.extra_generation_params
    Beside().tell(p, result, [(0, 1)], None, [])
    assert p.extra_generation_params == {} and KEY in result.extra_generation_params


def test_so_many_looks_are_kept_and_none_is_guessed() -> None:
    beside = Beside()
    looks = [look(*range(MOST_KEPT // 2)) for _ in range(3)]
    for each in looks:
        beside.tell(P(), Result("a"), [], each, [])
    for gone in (looks[0].name, "", "last"):
        with pytest.raises(SettingsError, match="PLADIS look: got"):
            beside.look(gone)
    assert beside.look(looks[1].name) is looks[1] and beside.look(looks[2].name) is looks[2]
    assert len({each.name for each in looks}) == 3 and len(looks[0].name) > 20


def test_the_report_which_everybody_may_read_has_no_words(web: Any) -> None:
    p = generation(enabled=True, look=True, look_words="secret")
    web.begin(p, ours(p))
    assert web.last.settings["look"] and "secret" not in str(web.last.as_dict()) and isinstance(web.last, Report)


# ---- where the crop lay ---------------------------------------------------------------------------------


def inpainted(place: Any, **fields: Any) -> Any:
    overlays = [Image.new("RGBA", (400, 200))]
    return SimpleNamespace(**{"paste_to": place, "overlay_images": overlays, "width": 64, "height": 64, **fields})


@pytest.mark.parametrize(
    ("p", "hires", "part", "box"),
    [
        (SimpleNamespace(), False, WHOLE.part, WHOLE.box),
        (inpainted((100, 50, 100, 100)), False, (0, 0, 1, 1), (0.25, 0.25, 0.25, 0.5)),
        # at the picture's edge the crop can be narrower than what is sampled: its sides are cut off again
        (inpainted((350, 0, 50, 100)), False, (0.25, 0, 0.5, 1), (0.875, 0, 0.125, 0.5)),
        (inpainted(None), False, WHOLE.part, WHOLE.box),
        (inpainted((100, 50, 100, 100), overlay_images=None), False, WHOLE.part, WHOLE.box),
        (SimpleNamespace(truncate_x=4, truncate_y=0, hr_upscale_to_x=128, hr_upscale_to_y=64), False,
         (0.125, 0, 0.75, 1), WHOLE.box),
        (SimpleNamespace(truncate_x=4, truncate_y=0, hr_upscale_to_x=128, hr_upscale_to_y=64), True,
         WHOLE.part, WHOLE.box),
    ],
)  # fmt: skip
def test_what_was_sampled_lies_where_the_host_put_it(web: Any, p: Any, hires: bool, part: Any, box: Any) -> None:
    frame = frame_of(p, hires)
    assert frame.part == pytest.approx(part) and frame.box == pytest.approx(box)


def test_a_crop_that_the_host_does_not_paste_is_the_picture(web: Any) -> None:
    sys.modules["modules.shared"].opts.overlay_inpaint = False
    assert frame_of(inpainted((100, 50, 100, 100)), False) == WHOLE


def test_the_part_of_the_maps_that_is_seen() -> None:
    maps = torch.arange(8.0)[None, None, None].repeat(2, 1, 8, 1)
    assert cut(maps, WHOLE.part) is maps
    seen = cut(maps, (0.25, 0.0, 0.5, 1.0))
    assert seen.shape == maps.shape and torch.equal(seen[0, 0, 0], seen[1, 0, 7])
    assert seen[0, 0, 0].tolist() == pytest.approx([1.75 + 0.5 * i for i in range(8)])


def test_a_map_is_laid_on_its_place_alone() -> None:
    picture = Image.new("RGB", (80, 40), "white")
    laid = np.asarray(heat.over(picture, np.ones((4, 4), np.float32), 1.0, (0.25, 0.5, 0.5, 0.5)))
    coloured = (laid != 255).any(-1)
    assert coloured[20:, 20:60].all() and coloured.sum() == 20 * 40
