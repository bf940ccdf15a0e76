# SPDX-License-Identifier: GPL-2.0-only
"""The test of the merged design as it was posted, and what it cannot see.

Its walker never unlocks while its condition demands that both sides got the
lock: an execution in which the walker came first is never counted. Two broken
versions stay "Never" for that reason alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from kvet.errors import UserError
from kvet.prove.herd import Herd

FILE = Path("posted/as-posted.litmus")


@dataclass(frozen=True, slots=True)
class Columns:
    """An AArch64 test: what stands above and below the columns, and their instructions."""

    head: tuple[str, ...]
    columns: tuple[tuple[str, ...], ...]
    condition: str

    def text(self) -> str:
        """The test as herd7 reads it."""
        rows = max(len(column) for column in self.columns)
        padded = [(*c, *("",) * (rows - len(c))) for c in self.columns]
        names = " | ".join(f"P{n}" for n in range(len(self.columns)))
        lines = [f" {' | '.join(row)} ;" for row in zip(*padded, strict=True)]
        return "\n".join((*self.head, f" {names} ;", *lines, f"exists ({self.condition})", ""))


def read_columns(text: str, path: Path | None = None) -> Columns:
    """An AArch64 test as a value."""
    lines = text.splitlines()
    start = next((i for i, line in enumerate(lines) if re.match(r"\s*P0\s*\|", line)), None)
    condition = re.search(r"^exists \((.+)\)$", text, re.MULTILINE)
    if start is None or condition is None:
        raise UserError("columns `P0 | P1 ;` and `exists (...)` are expected", path=path)
    rows = [line.split("|") for line in lines[start + 1 :] if line.rstrip().endswith(";")]
    columns = zip(*([cell.strip(" ;") for cell in row] for row in rows), strict=True)
    kept = tuple(tuple(cell for cell in column if cell) for column in columns)
    return Columns(tuple(lines[:start]), kept, condition.group(1))


def _edit(test: Columns, number: int, change: Callable[[list[str]], list[str]]) -> Columns:
    columns = list(test.columns)
    columns[number] = tuple(change(list(columns[number])))
    return replace(test, columns=tuple(columns))


def unlocking(test: Columns) -> Columns:
    """The walker gives its lock back at the end, as the kernel's does."""
    return _edit(test, 0, lambda column: [*column, "STLR WZR,[X2]"])


def reading_again(test: Columns) -> Columns:
    """The walker goes down by a second reading, which must not be the cleared entry."""

    def again(column: list[str]) -> list[str]:
        at = column.index("EOR X10,X9,X9")
        return [*column[:at], "LDR X12,[X3]", "EOR X10,X12,X12", *column[at + 1 :]]

    condition = test.condition.replace("0:X11=0xf4eed", "0:X12=0")
    return replace(_edit(test, 0, again), condition=condition)


def freeing_early(test: Columns) -> Columns:
    """The freer frees the table before it clears the entry."""

    def early(column: list[str]) -> list[str]:
        freeing = ["EOR X10,X9,X9", "STR X1,[X4,X10]"]
        rest = [line for line in column if line not in freeing]
        at = rest.index("STR XZR,[X3]")
        return [*rest[:at], *freeing, *rest[at:]]

    return _edit(test, 1, early)


VERSIONS: tuple[tuple[str, tuple[Callable[[Columns], Columns], ...]], ...] = (
    ("as posted", ()),
    ("entry read again", (reading_again,)),
    ("entry read again, walker unlocks", (reading_again, unlocking)),
    ("freed before cleared", (freeing_early,)),
    ("freed before cleared, walker unlocks", (freeing_early, unlocking)),
)


@dataclass(frozen=True, slots=True)
class Version:
    """One version of the posted test and what the model says of it."""

    name: str
    observation: str
    counts: str


def blind_spots(herd: Herd, variant: Path) -> list[Version]:
    """What Arm's model says of the posted test, and of broken versions of it."""
    path = variant / FILE
    if not path.exists():
        raise UserError("does not exist", path=path)
    posted = read_columns(path.read_text(encoding="utf-8"), path)

    def ask(version: tuple[str, Sequence[Callable[[Columns], Columns]]]) -> Version:
        name, changes = version
        test = posted
        for change in changes:
            test = change(test)
        answer = herd.ask(test.text())
        return Version(name, answer.observation, answer.counts)

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(ask, VERSIONS))


def told_versions(versions: Sequence[Version]) -> Iterator[str]:
    """A line for each version."""
    yield "the test of commit fa93b45fd397 in Arm's model with Ifetch:"
    yield from (f"  {v.name:<38} {v.observation} {v.counts}" for v in versions)
