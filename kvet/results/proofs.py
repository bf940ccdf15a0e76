# SPDX-License-Identifier: GPL-2.0-only
"""What `prove` said of the build of a cell: a word, why, and what it assumes."""

from __future__ import annotations

from dataclasses import dataclass

REFUTED = "REFUTED"
PROVED = "PROVED-IN-MODEL"
NOT_RUN = "NOT RUN"


@dataclass(frozen=True, slots=True)
class ProofTest:
    """One litmus test of the design and its word."""

    name: str
    word: str
    reason: str


@dataclass(frozen=True, slots=True)
class ProofRecord:
    """The statement about a design on this build; docs/prove.md explains the words.

    `model` is the memory model that speaks, `drawn` the refuting execution as text.
    """

    word: str
    reason: str
    model: str = ""
    tests: tuple[ProofTest, ...] = ()
    assumes: tuple[str, ...] = ()
    drawn: tuple[str, ...] = ()
