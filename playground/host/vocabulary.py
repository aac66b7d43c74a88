"""What the small model can be asked for: prompts to try, and the words of a prompt that mean nothing to it."""

from __future__ import annotations

import re
from itertools import chain

from model import scenes, words
from modules import prompt_parser

WELCOME = (
    "<b>PLADIS playground</b>: a small model draws coloured shapes. Press Generate; then open PLADIS, the panel below: "
    "<b>Compare</b> shows what it changes, <b>Look inside</b> where each word went."
)
HEAT_MAPS = (
    "In this small model the map of a shape's word is reliable; that of a colour word may be bright on the wrong shape."
)
"""Checked with hooks on softmax attention alone: it is the model's."""
EXAMPLES = (
    "a red circle left of a blue square",
    "a yellow star above a purple ring",
    "a green cross, a pink star and an orange triangle in a row",
    "an orange star in the middle",
)


def split(text: str) -> list[str]:
    return re.findall(r"[^\W\d_]+(?:['’-][^\W\d_]+)*", text.lower())


_PHRASES = chain(*words.RELATIONS.values(), *words.SPOTS.values(), words.OPENINGS, words.ENDINGS)
KNOWN = frozenset(split(" ".join([*scenes.COLOURS, *scenes.SHAPES, *_PHRASES, "and, a an the of in on at with"])))


def unknown(prompt: str) -> list[str]:
    """The words of `prompt`, once each, that no picture of the training showed."""
    text = re.sub(r"<[^>]*>|\bAND\b", " ", prompt)
    pieces = [piece for piece, weight in prompt_parser.parse_prompt_attention(text) if weight >= 0]
    return [word for word in dict.fromkeys(split(" ".join(pieces))) if word not in KNOWN]


def advice(prompt: str) -> str:
    """What to tell who asks for things that the model does not know; "" where it knows every word."""
    strange = unknown(prompt)
    if not strange:
        return ""
    named = ", ".join(f"“{word}”" for word in strange)
    shapes, colours = (", ".join(x) for x in (scenes.SHAPES, scenes.COLOURS))
    return f"The small model never learnt {named}: it draws only shapes ({shapes}) in colours ({colours})."
