"""A blind test: which pairs there are, on which side whose picture is, votes, results, and how it is kept."""

from __future__ import annotations

import shutil
import threading
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from lib_pladis.presets import PRESET_SETS
from lib_pladis.suggestion import Model
from lib_pladis.webui.blind.blind_test import OFF, QUESTIONS, BlindTest, BlindTestError, against_off, same_model
from lib_pladis.webui.blind.prompts import BOX, LINES, SENTENCES, SHIPPED, SOURCES, TAGS, chosen
from lib_pladis.webui.blind.store import Store
from lib_pladis.webui.blind.tally import Tally

MODEL = {"name": "m", "hash": "0123456789", "family": "sd1"}


def made(candidates: int = 2, prompts: int = 4, **values: Any) -> BlindTest:
    names = [
        {"name": OFF, "settings": {}},
        *({"name": f"c{i}", "settings": {"scale": i}} for i in range(1, candidates)),
    ]
    usual: dict[str, Any] = {"id": "20261129-010203-0000", "made": "", "checkpoint": MODEL, "cfg": 5.0, "rounds": 1}
    usual |= {"parameters": {}, "candidates": names, "prompts": [f"p{i}" for i in range(prompts)]}
    test = BlindTest(**{**usual, **values})
    for prompt in range(prompts):
        pictures = [f"{prompt}-{each}.jpg" for each in range(candidates)]
        test.add({"prompt": prompt, "round": 0, "seed": prompt, "pictures": pictures, "infotexts": []})
    return test


def judge(test: BlindTest, answer: Any) -> None:
    """Answer all that is asked; `answer` is given the pair and the question."""
    while (now := test.next()) is not None:
        test.vote(*now, answer(test.pairs[now[0]], now[1]))


@pytest.mark.parametrize("candidates, pairs", [(2, 1), (3, 3), (4, 6)])
def test_every_two_candidates_are_a_pair_as_often_on_the_left_as_on_the_right(candidates: int, pairs: int) -> None:
    test = made(candidates, 24)
    assert len(test.pairs) == 24 * pairs
    sides = Counter((pair["left"], pair["right"]) for pair in test.pairs)
    assert len(sides) == 2 * pairs and set(sides.values()) == {12}
    odd = Counter((pair["left"], pair["right"]) for pair in made(candidates, 5).pairs)
    assert all(abs(odd[one, other] - odd[other, one]) == 1 for one, other in odd)


def test_nothing_but_chance_says_which_side_is_whose() -> None:
    """Over many tests each side, at each place of the order, is as often the plain one."""
    first = [made(2, 8) for _ in range(400)]
    for place in (0, 3, 7):
        at = [sorted(test.pairs, key=lambda pair: float(pair["order"]))[place] for test in first]
        assert 140 < sum(pair["left"] == 0 for pair in at) < 260  # of 400: 6 standard deviations
        assert 140 < sum(pair["group"] < 4 for pair in at) < 260


def test_votes_undo_and_the_second_question() -> None:
    test = made()
    first = test.next()
    assert first == test.next() and first is not None and first[1] == "follow"
    test.vote(*first, "left")
    assert test.judged == 1 and test.next() != first
    test.keep = True
    assert test.judged == 0 and test.next() == (first[0], "keep"), "of the same pair"
    test.vote(first[0], "keep", "alike")
    test.vote(first[0], "follow", "right")  # another tab of the browser: the last answer counts
    assert test.judged == 1 and len(test.votes) == 2 and test.answers("follow") == {first[0]: "right"}
    test.undo()
    assert test.next() == first
    for _ in range(3):
        test.undo()
    assert test.votes == []


@pytest.mark.parametrize("vote", [(9, "follow", "left"), (-1, "follow", "left"), (True, "follow", "left"), (None,) * 3,
                                  (0, "like", "left"), (0, "follow", "up"), (0, ["follow"], "left")])  # fmt: skip
def test_votes_that_are_none(vote: Any) -> None:
    test = made()
    with pytest.raises(BlindTestError, match="allowed: a pair from 0 to 3"):
        test.vote(*vote)
    assert test.votes == []


def test_results_name_the_candidate_and_not_the_side() -> None:
    test = made(3, 8, keep=True)
    judge(test, lambda pair, question: "alike" if question == "keep" else "left" if pair["left"] == 2 else "right"
          if pair["right"] == 2 else "alike")  # fmt: skip
    rows = {(row["question"], row["name"], row["other"]): row for row in test.results()}
    assert {(name, other) for question, name, other in rows if question == "follow"} == {
        ("c1", OFF), ("c2", OFF), ("c2", "c1"),
    }  # fmt: skip
    wins = {key: (row["wins"], row["ties"], row["losses"]) for key, row in rows.items()}
    assert wins["follow", "c2", OFF] == (8, 0, 0) and wins["follow", "c1", OFF] == (0, 8, 0)
    assert wins["keep", "c2", OFF] == (0, 8, 0)


def test_all_tests_of_a_checkpoint_and_cfg_count_together() -> None:
    tests = [made(2, 3), made(2, 2), made(2, 5, cfg=7.0), made(2, 5, checkpoint={**MODEL, "hash": "f"})]
    for test in tests:
        judge(test, lambda pair, question: "left" if pair["left"] == 1 else "right")
    tests.append(made(2, 4))
    tests[-1].vote(0, "follow", "alike")
    assert [tally for _, tally in against_off(tests, MODEL, 5)] == [Tally(5, 0, 0)]
    tests[-1].looked = 1  # before it, nobody may know
    assert [tally for _, tally in against_off(tests, MODEL, 5)] == [Tally(5, 1, 0)]
    assert against_off(tests, MODEL, 6) == [] and against_off([], MODEL, 5) == []
    assert same_model(MODEL, {"name": "moved", "hash": MODEL["hash"]}) and same_model(MODEL, {"name": "m", "hash": ""})
    assert not same_model(MODEL, {**MODEL, "hash": "f"}) and not same_model({"name": ""}, {"name": ""})


def test_more_pictures_and_those_that_an_interrupt_left() -> None:
    test = made(2, 3)
    assert test.missing(1) == [] and test.missing(2) == [(0, 1), (1, 1), (2, 1)]
    del test.groups[1]
    assert test.missing(1) == [(1, 0)]


# ---- prompts -------------------------------------------------------------------------------------


def test_the_shipped_prompts() -> None:
    assert len(SHIPPED) == len(set(SHIPPED)) == 24
    assert all(tags.count(",") >= 2 for _, tags in SHIPPED)
    assert chosen(SENTENCES, "", "") == [each for each, _ in SHIPPED]
    assert chosen(TAGS, "", "") == [tags for _, tags in SHIPPED]
    assert chosen(LINES, " a \n\nb\na\n", "box") == ["a", "b"] and chosen(BOX, "a", "box") == ["box"]


@pytest.mark.parametrize("source, lines", [(LINES, ""), (LINES, "\n".join(map(str, range(201)))), (LINES, "a" * 4001),
                                           ("mine", "a")])  # fmt: skip
def test_prompts_that_are_none(source: str, lines: str) -> None:
    with pytest.raises(BlindTestError, match="allowed: "):
        chosen(source, lines, "box")
    assert len(SOURCES) == 4


# ---- how it is kept ------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(lambda: tmp_path / "tests")


def kept(store: Store, prompts: int = 4) -> BlindTest:
    values = {key: value for key, value in asdict(made(2, prompts)).items() if key not in ("id", "made")}
    return store.create(**values)


def test_a_test_is_found_again_by_another_process(store: Store) -> None:
    one, other = kept(store), kept(store)
    assert Store(store.path).get(one.id) == one and one.id != other.id
    assert {test.id for test in Store(store.path).all()} == {one.id, other.id}
    (store.path() / "20261129-010203-0000").mkdir()
    (store.path() / "20261129-010203-0000" / "test.json").write_text('{"id": "of another version"}')
    assert len(store.all()) == 2
    with pytest.raises(BlindTestError, match="another version"):
        store.get("20261129-010203-0000")


def test_what_the_votes_say_for_the_suggestion(store: Store) -> None:
    test = kept(store, 12)
    store.change(test.id, lambda now: judge(now, lambda pair, question: "left" if pair["left"] == 1 else "right"))
    (own,) = store.own(Model("sd1", "moved", MODEL["hash"]), 5)
    assert (own.name, own.share, own.clear) == ("c1", 1, True) and own.sets["scale"] == 1
    assert set(own.sets) == set(PRESET_SETS) and store.own(Model("sd1", "other"), 5) == []


def test_only_a_test_that_changed_is_read_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    tests = [kept(store), kept(store)]
    read: list[str] = []

    def get(test: str) -> BlindTest:
        read.append(test)
        return Store.get(store, test)

    monkeypatch.setattr(store, "get", get)
    assert {test.id for test in store.all()} == {test.id for test in tests} and len(read) == 2
    assert len(store.all()) == len(read) == 2
    store.change(tests[0].id, lambda test: setattr(test, "keep", not test.keep))
    now = {test.id: test.keep for test in store.all()}
    assert now[tests[0].id] != tests[0].keep and read[2:] == [tests[0].id]
    shutil.rmtree(store.path() / tests[1].id)
    assert [test.id for test in store.all()] == [tests[0].id] and len(read) == 3


def test_votes_given_at_once_are_all_kept(store: Store) -> None:
    test = kept(store, 40)
    threads = [
        threading.Thread(target=lambda pair=pair: store.change(test.id, lambda now: now.vote(pair, "follow", "left")))
        for pair in range(40)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.get(test.id).judged == 40


@pytest.mark.parametrize("test", ["", "..", "../x", "20261129-010203-0000", "20261129-010203-0000/..", None, 7])
def test_tests_that_are_not_there(store: Store, test: Any) -> None:
    for ask in (store.get, lambda each: store.change(each, BlindTest.undo), lambda each: store.picture(each, "a.jpg")):
        with pytest.raises(BlindTestError):
            ask(test)
    assert not (store.path() / "20261129-010203-0000").exists()


def test_a_picture_for_the_voting_carries_nothing_but_its_pixels(store: Store, tmp_path: Path) -> None:
    test = kept(store)
    text = PngImagePlugin.PngInfo()
    text.add_text("parameters", "PLADIS scale: 2")
    Image.new("RGB", (16, 16), "red").save(tmp_path / "a.png", pnginfo=text)
    names = [store.add_picture(test.id, Image.open(tmp_path / "a.png")) for _ in range(2)]
    one, other = (store.picture(test.id, name) for name in names)
    assert one == other and b"PLADIS" not in one and one[:3] == b"\xff\xd8\xff"
    assert len(set(names)) == 2 and {len(name) for name in names} == {20}
    with pytest.raises(BlindTestError):
        store.picture(test.id, "../test.json/x.jpg")
    assert QUESTIONS == ("follow", "keep")
