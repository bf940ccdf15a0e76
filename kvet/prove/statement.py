# SPDX-License-Identifier: GPL-2.0-only
"""The words a proof ends with, and what stands behind each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from kvet.prove.bind import Binding
from kvet.prove.deadlock import Deadlock
from kvet.prove.drawing import Execution
from kvet.prove.herd import Answer


class Word(StrEnum):
    """What may be said of a test, and of a design by all its tests. Never "correct"."""

    PROVED = "PROVED-IN-MODEL"
    REFUTED = "REFUTED"
    VACUOUS = "VACUOUS"
    UNBOUND = "UNBOUND"
    NOT_RUN = "NOT RUN"


# of several tests the first that is among their words is the design's
WORST_FIRST = (Word.REFUTED, Word.UNBOUND, Word.NOT_RUN, Word.VACUOUS, Word.PROVED)
LEAST_REACHED = 2


@dataclass(frozen=True, slots=True)
class Judged:
    """One test: its word, the answer of the model, and how its threads are bound.

    `unreached` are the reachability tests that do not hold; `reason` says in
    one line why the word is what it is. What is forbidden is `possible` when it may
    happen without locks, barriers and RCU.
    """

    name: str
    says: str
    word: Word
    reason: str
    model: str = ""
    answer: Answer | None = None
    reached: int = 0
    unreached: tuple[str, ...] = ()
    possible: bool = True
    bindings: tuple[Binding, ...] = ()
    deadlock: Deadlock | None = None
    execution: Execution | None = None
    assumes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Statement:
    """What is said of one design on one build."""

    variant: str
    kernel: str
    config: str
    build: str
    word: Word
    reason: str
    tests: tuple[Judged, ...] = ()

    @property
    def is_failure(self) -> bool:
        """A bound test that is refuted is a FAIL of its own; nothing here makes a PASS."""
        return self.word is Word.REFUTED


def worst(words: Sequence[Word]) -> Word:
    """The word of a design by the words of its tests."""
    return next((word for word in WORST_FIRST if word in words), Word.NOT_RUN)


def judge(result: Judged, sleeping: Sequence[str]) -> tuple[Word, str]:
    """The word of a test and why, from what was found."""
    problems = [p for b in result.bindings for p in b.problems]
    if problems:
        said = f" (the model says {result.answer.observation})" if result.answer else ""
        more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
        return Word.UNBOUND, f"{problems[0]}{more}{said}"
    if result.deadlock is not None:
        return Word.REFUTED, f"deadlock, found in {result.deadlock.states} states"
    if sleeping:
        return Word.REFUTED, sleeping[0]
    answer = result.answer
    if answer is None:
        return Word.NOT_RUN, result.reason
    if answer.observation == "Always":
        return Word.VACUOUS, f"Always {answer.counts}: the condition holds whatever happens"
    if answer.observation != "Never":
        return Word.REFUTED, f"{answer.observation} {answer.counts}"
    if result.unreached:
        return Word.VACUOUS, f"Never {answer.counts}, but never reached: {result.unreached[0]}"
    if not result.possible:
        return Word.VACUOUS, f"Never {answer.counts}, but nor without any lock, barrier and RCU"
    if result.reached < LEAST_REACHED:
        return Word.VACUOUS, f"{result.reached} reachability tests; {LEAST_REACHED} are needed"
    return Word.PROVED, f"Never {answer.counts}"
