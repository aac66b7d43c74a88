"""One blind test: its candidates, prompts and pictures, the order in which pairs are shown, and the votes.

For each prompt and seed (a group) every candidate draws a picture, and every two pictures are a pair. With only pairs
against off, the picture that occurs in every pair could be recognized as the plain one.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from lib_pladis.settings import SettingsError
from lib_pladis.webui.blind.tally import Tally

QUESTIONS = ("follow", "keep")
"""Which picture follows the prompt better, and optionally, which one the user would keep."""

ANSWERS = ("left", "right", "alike")
OFF = "PLADIS off"
CHANCE = random.SystemRandom()


class BlindTestError(SettingsError):
    """An error with a message for the user. The hosts' API answers it like a bad setting, with status 422."""


@dataclass
class BlindTest:
    """One test, in plain values throughout.

    `checkpoint` has its name, hash and family; `parameters` what the pictures have in common; each of `candidates`
    "name" and "settings" (none: PLADIS off). A group has "prompt" (an index into `prompts`), "round", "seed",
    "pictures" (files, one for each candidate) and "infotexts"; a pair has "group", the candidates "left" and "right",
    and "order", by which pairs are sorted; a vote has "pair", "question" and "answer". `looked` is the number of votes
    when the result was first seen; None before.
    """

    id: str
    made: str
    checkpoint: dict[str, str]
    cfg: float
    parameters: dict[str, Any]
    candidates: list[dict[str, Any]]
    prompts: list[str]
    rounds: int
    groups: list[dict[str, Any]] = field(default_factory=list)
    pairs: list[dict[str, Any]] = field(default_factory=list)
    votes: list[dict[str, Any]] = field(default_factory=list)
    keep: bool = False
    looked: int | None = None

    # ---- pictures ----------------------------------------------------------------------------

    def missing(self, rounds: int) -> list[tuple[int, int]]:
        """The (prompt, round) that have no pictures yet."""
        there = {(group["prompt"], group["round"]) for group in self.groups}
        wanted = [(prompt, turn) for turn in range(rounds) for prompt in range(len(self.prompts))]
        return [each for each in wanted if each not in there]

    def add(self, group: Mapping[str, Any]) -> None:
        """Add a group with all its pictures, and its pairs. Within the group each candidate is on the left equally
        often."""
        self.groups.append(dict(group))
        pairs = list(combinations(range(len(self.candidates)), 2))
        for one, other in CHANCE.sample(pairs, len(pairs)):
            sides = [pair["left"] for pair in self.pairs if {pair["left"], pair["right"]} == {one, other}]
            ahead = 2 * sides.count(one) - len(sides)
            left = CHANCE.choice((one, other)) if ahead == 0 else other if ahead > 0 else one
            self.pairs.append(
                {"group": len(self.groups) - 1, "left": left, "right": one + other - left, "order": CHANCE.random()}
            )

    def picture(self, pair: int, side: str) -> str:
        """The file of one side of a pair. Raises BlindTestError if there is none."""
        if not 0 <= pair < len(self.pairs) or side not in ANSWERS[:2]:
            raise BlindTestError(f"Blind test: got pair {pair}, side {side!r}; allowed: 0 to {len(self.pairs) - 1}, "
                                 "left or right")  # fmt: skip
        asked = self.pairs[pair]
        return str(self.groups[asked["group"]]["pictures"][asked[side]])

    def prompt(self, pair: int) -> str:
        return self.prompts[self.groups[self.pairs[pair]["group"]]["prompt"]]

    # ---- votes -------------------------------------------------------------------------------

    @property
    def open(self) -> bool:
        """Whether its result may be shown: all pairs are judged, or the user has requested it."""
        return self.looked is not None or self.next() is None

    @property
    def questions(self) -> tuple[str, ...]:
        return QUESTIONS if self.keep else QUESTIONS[:1]

    def answers(self, question: str) -> dict[int, str]:
        """Pair -> the last answer to this question."""
        return {vote["pair"]: vote["answer"] for vote in self.votes if vote["question"] == question}

    @property
    def judged(self) -> int:
        """Pairs whose questions are all answered."""
        given = [self.answers(question) for question in self.questions]
        return sum(all(pair in answers for answers in given) for pair in range(len(self.pairs)))

    def next(self) -> tuple[int, str] | None:
        """The pair and the question to ask now; None when all are judged. It stays the same until it is answered."""
        given = {question: self.answers(question) for question in self.questions}
        for pair in sorted(range(len(self.pairs)), key=lambda each: float(self.pairs[each]["order"])):
            for question, answers in given.items():
                if pair not in answers:
                    return pair, question
        return None

    def vote(self, pair: Any, question: Any, answer: Any) -> None:
        """Store an answer; a later one to the same question replaces it. Raises BlindTestError."""
        known = isinstance(pair, int) and not isinstance(pair, bool) and 0 <= pair < len(self.pairs)
        if not known or question not in QUESTIONS or answer not in ANSWERS:
            raise BlindTestError(
                f"Blind test: got pair {pair!r}, question {question!r}, answer {answer!r}; allowed: a pair from 0 to "
                f"{len(self.pairs) - 1}, {' or '.join(QUESTIONS)}, {' or '.join(ANSWERS)}"
            )
        self.votes = [vote for vote in self.votes if (vote["pair"], vote["question"]) != (pair, question)]
        self.votes.append({"pair": pair, "question": question, "answer": answer})

    def undo(self) -> None:
        """Take the last answer back."""
        if self.votes:
            self.votes.pop()

    # ---- results -----------------------------------------------------------------------------

    def tallies(self, question: str) -> Iterator[tuple[int, int, Tally]]:
        """For every two candidates: the one, the other, and the votes for the one. Off is always the other."""
        answers = self.answers(question)
        for two in combinations(range(len(self.candidates)), 2):
            one, other = sorted(two, key=lambda each: (not self.candidates[each]["settings"], -each))
            wins, losses, ties = 0, 0, 0
            for number, answer in answers.items():
                pair = self.pairs[number]
                if {pair["left"], pair["right"]} != {one, other}:
                    continue
                ties += answer == "alike"
                wins += answer != "alike" and pair[answer] == one
                losses += answer != "alike" and pair[answer] == other
            yield one, other, Tally(wins, ties, losses)

    def results(self) -> list[dict[str, Any]]:
        """One row for each question and pair of candidates with votes; "said": sentences of tally.SAID and their
        values."""
        rows = []
        for question in QUESTIONS:
            for one, other, tally in self.tallies(question):
                names = {"name": self.name(one), "other": self.name(other)}
                if tally.votes:
                    rows.append({"question": question, **names, **tally.as_dict(), "said": tally.said(**names)})
        return rows

    def name(self, candidate: int) -> str:
        return str(self.candidates[candidate]["name"])


def same_model(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Whether two checkpoints are the same: by hash, or by name if one of them has no hash."""
    if one.get("hash") and other.get("hash"):
        return one["hash"] == other["hash"]
    return bool(one.get("name")) and one.get("name") == other.get("name")


def against_off(
    tests: Sequence[BlindTest], checkpoint: Mapping[str, str], cfg: float
) -> list[tuple[dict[str, Any], Tally]]:
    """The candidates of all tests of this checkpoint and CFG scale, each once, with all its votes against off. Tests
    whose result is still hidden are left out."""
    found: list[tuple[dict[str, Any], Tally]] = []
    for test in tests:
        if not same_model(test.checkpoint, checkpoint) or abs(test.cfg - cfg) > 1e-6 or not test.open:
            continue
        for one, other, tally in test.tallies(QUESTIONS[0]):
            candidate = test.candidates[one]
            if test.candidates[other]["settings"] or not tally.votes:
                continue
            same = next((at for at, (each, _) in enumerate(found) if each["settings"] == candidate["settings"]), None)
            if same is None:
                found.append((candidate, tally))
            else:
                found[same] = (found[same][0], found[same][1] + tally)
    return found
