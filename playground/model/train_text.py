"""Stage 2: the text model learns to say what is where, before it sees a picture.

Only the tokens that captions can hold are trained, plus one "unknown" row which stands for every
other token of CLIP's vocabulary (`Vocabulary`); `expand` copies it to all of them at the end, so an
unknown word does little. A small head that is thrown away asks, for each place, for the colour and
the shape there.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from . import training
from .nets import WIDTH, text_model
from .scenes import COLOURS, PLACES, SHAPES, Scene, caption, sample
from .tokenizer import LENGTH
from .weights import expand
from .words import DISTRACTORS, ENDINGS, OPENINGS, RELATIONS, SPOTS

BATCH, RATE = 64, 1.5e-3
QUERIES = (*PLACES, "anywhere too")


class Vocabulary:
    """CLIP token ids <-> the rows of the small embedding that is trained; row 0 is "unknown"."""

    def __init__(self, tokenizer: CLIPTokenizer) -> None:
        self.tokenizer = tokenizer
        texts = [*COLOURS, *SHAPES, *DISTRACTORS, *ENDINGS, *OPENINGS, "a an the one and , ."]
        for phrases in (*RELATIONS.values(), *SPOTS.values()):
            texts += [phrase.replace("{", " ").replace("}", " ") for phrase in phrases]
        ids = {token for text in texts for token in tokenizer(text).input_ids}
        digits = {token for digit in "012" for token in tokenizer(digit).input_ids[1:-1]}
        self.ids = sorted(ids - digits)
        self.row = {token: i + 1 for i, token in enumerate(self.ids)}
        self.start, self.end = (self.row[i] for i in tokenizer("").input_ids[:2])
        self.words = lru_cache(maxsize=None)(self._words)

    def __len__(self) -> int:
        return len(self.ids) + 1

    def _words(self, word: str) -> tuple[int, ...]:
        return tuple(self.row.get(i, 0) for i in self.tokenizer(word).input_ids[1:-1])

    def rows(self, text: str, unknown: random.Random | None = None) -> list[int]:
        """77 rows for `text`; with `unknown`, one text in ten gets 1 to 4 unknown tokens put in."""
        rows = [row for word in text.replace(",", " ,").split() for row in self.words(word)]
        if unknown is not None and unknown.random() < 0.1:
            for _ in range(unknown.randint(1, 4)):
                rows.insert(unknown.choice((0, len(rows))), 0)
        rows = [self.start, *rows[: LENGTH - 2], self.end]
        return rows + [self.end] * (LENGTH - len(rows))

    def expand(self, small: Tensor) -> Tensor:
        """(rows, width) -> (TOKENS, width): unknown tokens all get row 0."""
        return expand(torch.tensor(self.ids), small)


class Reader(nn.Module):
    """The head: one query per place attends over the text and names colour and shape, or none."""

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(1, len(QUERIES), WIDTH) * 0.5)
        self.attend = nn.MultiheadAttention(WIDTH, 4, batch_first=True)
        self.mix = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 2 * WIDTH), nn.GELU())
        self.colour = nn.Linear(2 * WIDTH, len(COLOURS) + 1)
        self.shape = nn.Linear(2 * WIDTH, len(SHAPES) + 1)

    def forward(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 77, width) -> colour logits (B, places, 9) and shape logits (B, places, 7)."""
        query = self.query.expand(len(context), -1, -1)
        hidden = self.mix(query + self.attend(query, context, context, need_weights=False)[0])
        return self.colour(hidden), self.shape(hidden)


def targets(scenes: list[Scene]) -> tuple[Tensor, Tensor]:
    """Colour and shape class at each place, (B, places) int64; 0 where nothing is."""
    colour = torch.zeros(len(scenes), len(QUERIES), dtype=torch.long)
    shape = torch.zeros_like(colour)
    for i, scene in enumerate(scenes):
        for k, thing in enumerate(scene.objects):
            name = "anywhere too" if k and thing.place == "anywhere" else thing.place
            at = QUERIES.index(name)
            colour[i, at] = 1 + tuple(COLOURS).index(thing.colour)
            shape[i, at] = 1 + SHAPES.index(thing.shape)
    return colour, shape


def train(out: Path, vocabulary: Vocabulary, steps: int, seed: int, log: Callable[[str], None]) -> CLIPTextModel:
    """Trains for `steps` steps, keeps `out`/text.pt; goes on from it where it exists."""
    torch.manual_seed(seed)
    model, head, path = text_model(len(vocabulary)), Reader(), out / "text.pt"
    parameters = [*model.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=RATE, betas=(0.9, 0.98), weight_decay=0.01)
    start = 0
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        head.load_state_dict(state["head"])
        optimizer.load_state_dict(state["optimizer"])
        start = state["step"]
    colour_weight = torch.tensor([0.1] + [1.0] * len(COLOURS))
    shape_weight = torch.tensor([0.1] + [1.0] * len(SHAPES))
    began = time.monotonic()
    for step in range(start, steps):
        rng = random.Random(seed * 1_000_003 + step)
        rate = RATE * min(1.0, (step + 1) / 150) * 0.5 * (1.0 + math.cos(math.pi * step / steps))
        scenes = [sample(rng) for _ in range(BATCH)]
        rows = torch.tensor([vocabulary.rows(caption(scene, rng), rng) for scene in scenes])
        # Most captions are short: three steps in four leave most of the padding away.
        length = LENGTH if step % 4 == 0 else 36
        says_colour, says_shape = head(model(rows[:, :length]).last_hidden_state)
        colour, shape = targets(scenes)
        total = F.cross_entropy(says_colour.flatten(0, 1), colour.flatten(), colour_weight)
        total = total + F.cross_entropy(says_shape.flatten(0, 1), shape.flatten(), shape_weight)
        training.descend(total, optimizer, max(rate, 2e-5))
        if (step + 1) % 100 == 0 or step + 1 == steps:
            there = colour > 0
            right = (says_colour.argmax(-1) == colour) & (says_shape.argmax(-1) == shape)
            share = right[there].float().mean().item()
            seconds = (time.monotonic() - began) / (step + 1 - start)
            log(f"text step {step + 1}/{steps} objects named {share:.3f} {seconds:.2f} s/step")
            state = {"model": model.state_dict(), "head": head.state_dict()}
            training.keep(path, **state, optimizer=optimizer.state_dict(), step=step + 1)
    return model
