"""Words and their key columns, by tokenizers of both kinds that the web UIs have."""

from __future__ import annotations

import sys
import types
from types import SimpleNamespace
from typing import Any

import pytest

from lib_pladis.webui import tokens
from lib_pladis.webui.tokens import Word, names_in, tokens_of

CLIP = [
    "<start>",
    "<end>",
    "a</w>",
    "red</w>",
    "cir",
    "cle</w>",
    ",</w>",
    "square</w>",
    "don</w>",
    "'t</w>",
    "blue</w>",
]
START, END = 0, 1


class Clip:
    """CLIP's tokenizer in small."""

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
        return [CLIP[i] for i in ids]

    def decode(self, ids: list[int]) -> str:
        return "".join(CLIP[i] for i in ids).replace("</w>", " ")


class Engine:
    """AUTOMATIC1111's and Forge's: a text is already its tokens here, BREAK ends a chunk."""

    id_start, id_end = START, END

    def __init__(self, chunks: Any, fixes: Any = ()) -> None:
        self.tokenizer = Clip()
        self.chunks, self.fixes = chunks, fixes

    def tokenize_line(self, text: str) -> Any:
        length = 10
        whole = [[START, *chunk, *[END] * (length - 1 - len(chunk))] for chunk in self.chunks]
        return [SimpleNamespace(tokens=chunk, fixes=self.fixes) for chunk in whole], 0


def test_words_of_several_tokens_and_chunks() -> None:
    found = tokens_of(Engine([[2, 3, 4, 5, 6], [7, 3]]), "")
    assert found.words == (
        Word("a", (1,)), Word("red", (2,)), Word("circle", (3, 4)), Word(",", (5,)), Word("square", (11,)),
        Word("red", (12,)),
    )  # fmt: skip
    assert found.kinds == (
        "start", *["words"] * 5, "end", *["padding"] * 3, "start", *["words"] * 2, "end", *["padding"] * 6,
    )  # fmt: skip
    assert found.content == ("red", "circle", "square")


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("red", (2, 12)),
        ("Red", (2, 12)),
        ("circle", (3, 4)),
        ("red circle", (2, 3, 4)),
        ("a red", (1, 2)),
        ("circle square", ()),  # a comma is between them, which is no word
        ("red square", ()),
        ("green", ()),
        ("cir", ()),
        ("#3", (3,)),
        ("#3-5", (3, 4, 5)),
        (",", ()),
    ],
)
def test_names_are_found_wherever_they_stand(name: str, columns: Any) -> None:
    found = tokens_of(Engine([[2, 3, 4, 5, 6], [7, 3]]), "")
    if name == "circle square":
        assert found.find(name) == (3, 4, 11)  # punctuation is passed over
    else:
        assert found.find(name) == columns


def test_a_word_that_the_tokenizer_cuts_is_found_whole() -> None:
    assert tokens_of(Engine([[8, 9, 10]]), "").find("don't") == (1, 2)


def test_a_full_chunk_has_its_end_and_an_empty_prompt_no_words() -> None:
    full = tokens_of(Engine([[3] * 8]), "")
    assert full.kinds == ("start", *["words"] * 8, "end")
    empty = tokens_of(Engine([[]]), "")
    assert empty.words == () and empty.kinds == ("start", "end", *["padding"] * 8)


def test_a_textual_inversion_is_one_word_with_its_name() -> None:
    embedding = SimpleNamespace(vectors=3, name="my-style")
    found = tokens_of(Engine([[3, 0, 0, 0, 10]], [SimpleNamespace(offset=1, embedding=embedding)]), "")
    assert found.words == (Word("red", (1,)), Word("my-style", (2, 3, 4)), Word("blue", (5,)))
    assert found.find("my-style") == (2, 3, 4)


class T5(Engine):
    """Sentences of pieces: no start, one end, then padding of another kind."""

    PIECES = ("<pad>", "</s>", "▁a", "▁red", "▁cir", "cle", ",", "▁square")
    id_start: Any = None

    def __init__(self) -> None:
        pieces = self.PIECES
        self.tokenizer: Any = SimpleNamespace(
            convert_ids_to_tokens=lambda ids: [pieces[i] for i in ids],
            decode=lambda ids: "".join(pieces[i] for i in ids).replace("▁", " "),
        )

    def tokenize_line(self, text: str) -> Any:
        return [SimpleNamespace(tokens=[2, 3, 4, 5, 7, 1, 0, 0], fixes=[])], 0


def test_pieces_of_t5() -> None:
    found = tokens_of(T5(), "")
    assert [word.text for word in found.words] == ["a", "red", "circle", "square"]
    assert found.find("circle") == (2, 3)
    assert found.kinds == (*["words"] * 5, "end", "padding", "padding")


def test_open_clip_has_its_tokenizer_in_the_module(monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = types.ModuleType("hijack")
    module.tokenizer = SimpleNamespace(decoder=dict(enumerate(CLIP)), decode=Clip().decode)
    monkeypatch.setitem(sys.modules, "hijack", module)
    engine = Engine([[3, 4, 5]])
    del engine.tokenizer
    engine.__class__ = type("Other", (Engine,), {"__module__": "hijack"})
    assert [word.text for word in tokens_of(engine, "").words] == ["red", "circle"]


def test_where_the_tokenizer_is() -> None:
    engine = Engine([])
    other = SimpleNamespace()
    for model in (
        SimpleNamespace(cond_stage_model=engine),
        SimpleNamespace(cond_stage_model=other, conditioner=SimpleNamespace(embedders=[other, engine])),
        SimpleNamespace(text_processing_engine=engine),
        SimpleNamespace(text_processing_engine_l=engine),
        SimpleNamespace(text_processing_engine_l=Engine([]), text_processing_engine_t5=engine),
    ):
        assert tokens.tokenizer_of(model) is engine
    for model in (SimpleNamespace(), SimpleNamespace(is_sd3=True, text_processing_engine_t5=engine)):
        with pytest.raises(tokens.NoTokenizer, match=r"SimpleNamespace.* can't be reached"):
            tokens.tokenizer_of(model)


def test_names_have_commas_between_them() -> None:
    assert names_in(" red , blue square,, #3-5,red ") == ["red", "blue square", "#3-5"]
    assert names_in("") == []


def test_parts_and_what_they_read_when(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def schedules(prompts: Any, base_steps: int, hires_steps: Any = None, use_old_scheduling: bool = False) -> Any:
        asked.append((prompts, base_steps, hires_steps, use_old_scheduling))
        return [[[base_steps // 2, f"{prompt} early"], [base_steps, f"{prompt} late"]] for prompt in prompts]

    modules: Any = types.ModuleType("modules")
    modules.shared = SimpleNamespace(opts=SimpleNamespace(use_old_scheduling=True))
    modules.prompt_parser = SimpleNamespace()
    monkeypatch.setitem(sys.modules, "modules", modules)
    assert tokens.prompt_parts(["x", "y"], 10, None) == [[[(float("inf"), "x")]], [[(float("inf"), "y")]]]
    modules.prompt_parser.get_multicond_prompt_list = lambda prompts: (
        [[(0, 1.0), (1, 0.5)], [(0, 1.0)]],
        ["x", "y"],
        {},
    )
    assert tokens.prompt_parts(["x AND y", "x"], 10, None)[0] == [[(float("inf"), "x")], [(float("inf"), "y")]]
    modules.prompt_parser.get_learned_conditioning_prompt_schedules = schedules
    found = tokens.prompt_parts(["x AND y", "x"], 10, 4)
    assert found[1] == [[(5.0, "x early"), (10.0, "x late")]] and len(found[0]) == 2
    assert asked == [(["x", "y"], 10, 4, True)]
    modules.prompt_parser.get_learned_conditioning_prompt_schedules = lambda prompts, base_steps, hires_steps: [
        [[base_steps, prompt]] for prompt in prompts
    ]
    assert tokens.prompt_parts(["x AND y", "x"], 10, 4)[1] == [[(10.0, "x")]], "a host without the option"
