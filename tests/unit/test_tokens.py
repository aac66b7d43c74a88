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


TAGS = ("1</w>", "girl</w>", ",</w>", "blue</w>", "_</w>", "hair</w>", "8</w>", "k</w>", "score</w>", "9</w>", "6</w>",
        ":</w>", "best</w>", "quality</w>", "3</w>", "d</w>", "red</w>", "，</w>", "èµ", "¤</w>")  # fmt: skip


def clip_words(text: str) -> tokens.Tokens:
    """`text` is the pieces with spaces between them."""
    ids = [CLIP.index(f"{piece}</w>") for piece in text.split()]
    return tokens_of(Engine([ids]), "")


@pytest.mark.parametrize(
    ("prompt", "name", "columns"),
    [
        ("1 girl , blue _ hair", "1girl", (1, 2)),
        ("1 girl , blue _ hair", "blue_hair", (4, 6)),
        ("1 girl , blue _ hair", "blue hair", (4, 6)),
        ("1 girl , blue _ hair", "girl", (2,)),
        ("1 girl , blue _ hair", "lblue", ()),
        ("1 girl , blue _ hair", "1gir", ()),
        ("8 k , 1 6 : 9", "8k", (1, 2)),
        ("8 k , 1 6 : 9", "16:9", (4, 5, 7)),
        ("score _ 9 , best _ quality", "score_9", (1, 3)),
        ("score _ 9 , best _ quality", "best_quality", (5, 7)),
        ("3 d , red ， blue", "3D", (1, 2)),
        ("3 d , red ， blue", "ｒｅｄ", (4,)),
        ("3 d , red ， blue", "_", ()),
    ],
)
def test_tags_are_found_however_they_are_cut(monkeypatch: Any, prompt: str, name: str, columns: Any) -> None:
    monkeypatch.setattr(sys.modules[__name__], "CLIP", [*CLIP, *TAGS])
    assert clip_words(prompt).find(name) == columns


def test_a_column_that_is_not_there_is_not_made() -> None:
    found = tokens_of(Engine([[2, 3]]), "")
    assert found.find("#8-999999") == (8, 9) and found.find("#10") == () == found.find("#0-20000000")
    assert len(tokens.Tokens((), ()).find("#0-999999")) == tokens.MOST_COLUMNS
    assert found.find(f"#{'9' * 9000}") == ()


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

    PIECES = ("<pad>", "</s>", "▁a", "▁red", "▁cir", "cle", ",", "▁square", "blue")
    id_start: Any = None

    def __init__(self) -> None:
        pieces = self.PIECES
        self.tokenizer: Any = SimpleNamespace(
            convert_ids_to_tokens=lambda ids: [pieces[i] for i in ids],
            decode=lambda ids: "".join(pieces[i] for i in ids).replace("▁", " "),
        )

    def tokenize_line(self, text: str) -> Any:
        return [SimpleNamespace(tokens=[2, 3, 6, 8, 4, 5, 7, 1, 0, 0], fixes=[])], 0


def test_pieces_of_t5() -> None:
    found = tokens_of(T5(), "")
    assert [word.text for word in found.words] == ["a", "red", ",", "blue", "circle", "square"]
    assert found.find("circle") == (4, 5) and found.find("red") == (1,) and found.find("blue") == (3,)
    assert found.kinds == (*["words"] * 7, "end", "padding", "padding")


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


def test_names_have_commas_between_them(monkeypatch: pytest.MonkeyPatch) -> None:
    emphasis: Any = types.ModuleType("modules.prompt_parser")
    monkeypatch.setitem(sys.modules, "modules", SimpleNamespace(prompt_parser=emphasis))
    assert names_in("red，blue square、3;x；y") == ["red", "blue square", "3", "x", "y"]
    emphasis.parse_prompt_attention = lambda text: [[text.strip("()").partition(":")[0], 1.3]]
    assert names_in("(red, blue:1.3)") == ["red", "blue"]
    del emphasis.parse_prompt_attention
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
