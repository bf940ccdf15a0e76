# SPDX-License-Identifier: GPL-2.0-only
"""Where a run stands, from its events alone: each cell's stage, attempts, findings; the time left.

No drawing and no clock of its own: the terminal asks it for rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from kvet.cell_id import SEPARATOR, CellId
from kvet.events import Ended, Event
from kvet.model import Ending, Status

WAITING, BUILDING, BOOTING, DONE = "waiting", "building", "booting", "done"
# what is on the screen first when not all of it fits
URGENCY = (BOOTING, BUILDING, DONE, WAITING)


@dataclass(slots=True)
class Row:
    """One cell: `wanted` attempts, the statuses of those that ended, the first finding."""

    cell: str
    wanted: int
    stage: str = WAITING
    statuses: list[Status] = field(default_factory=list)
    first: str = ""
    touched: int = 0

    @property
    def left(self) -> int:
        """Attempts to come, as far as is known."""
        return 0 if self.stage == DONE else max(0, self.wanted - len(self.statuses))

    @property
    def build(self) -> str:
        """What its build is called: kernel, variant and config."""
        return CellId.parse(self.cell).build


class Board:
    """Takes the events of a run in order; `jobs` boots run at a time."""

    def __init__(self, jobs: int = 1) -> None:
        self.jobs = jobs
        self.rows: dict[str, Row] = {}
        self._built: set[str] = set()
        self._build_s: list[float] = []
        self._boot_s: list[float] = []
        self._count = 0

    def take(self, event: Event) -> None:
        """Update what is known with `event`."""
        self._count += 1
        if event.kind == "plan":
            self.rows[event.subject] = Row(event.subject, int(event.total))
            self.jobs = max(1, event.jobs)
        elif event.stage == "build" and event.kind in ("start", "end"):
            self._build(event)
        elif event.stage == "boot":
            row = self.rows.setdefault(event.subject, Row(event.subject, 1))
            row.stage, row.touched = BOOTING, self._count
            if event.attempt is not None:
                self._ended(row, event.attempt, event.seconds)
        elif event.kind == "settled" and event.subject in self.rows:
            row = self.rows[event.subject]
            row.stage, row.touched = DONE, self._count

    def _build(self, event: Event) -> None:
        for row in self.rows.values():
            if row.build == event.subject:
                row.stage, row.touched = BUILDING, self._count
        if event.kind == "end":
            self._built.add(event.subject)
            if event.seconds is not None:
                self._build_s.append(event.seconds)

    def _ended(self, row: Row, attempt: Ended, seconds: float | None) -> None:
        row.statuses.append(attempt.status)
        if attempt.status not in (Status.PASS, Status.DONE) and not row.first:
            row.first = attempt.title or ending_name(attempt.ending)
        if seconds is not None:
            self._boot_s.append(seconds)

    def progress(self) -> tuple[int, int]:
        """Attempts that ended, and all that are planned; a settled cell needs no more."""
        done = sum(len(row.statuses) for row in self.rows.values())
        return done, done + sum(row.left for row in self.rows.values())

    def left_s(self) -> float | None:
        """Seconds to the end at the pace so far; None before a first attempt has ended."""
        if not self._boot_s:
            return None
        builds = {row.build for row in self.rows.values() if row.left} - self._built
        boots = sum(row.left for row in self.rows.values())
        return boots * _mean(self._boot_s) / self.jobs + len(builds) * _mean(self._build_s)

    def shown(self, most: int) -> tuple[list[Row], int]:
        """At most `most` rows in the order of the plan, and how many others wait."""
        ranked = sorted(
            self.rows.values(), key=lambda row: (URGENCY.index(row.stage), -row.touched)
        )
        chosen = {row.cell for row in ranked[:most]}
        rows = [row for row in self.rows.values() if row.cell in chosen]
        return rows, len(self.rows) - len(rows)


def _mean(values: Sequence[float]) -> float:
    # the first builds of a tree are long and the later ones short: the last ones tell
    recent = values[-6:]
    return fmean(recent) if recent else 0.0


def ending_name(ending: Ending | None) -> str:
    """How a boot ended, for people."""
    return ending.value if ending else "no boot"


def short_names(cells: Iterable[str]) -> dict[str, str]:
    """Cell ids to what tells them apart: parts that all of them share are left out."""
    split = {cell: CellId.parse(cell).names for cell in cells}
    axes = list(zip(*split.values(), strict=True))
    varies = [len(set(axis)) > 1 for axis in axes]
    return {
        cell: SEPARATOR.join(p for p, keep in zip(parts, varies, strict=True) if keep) or cell
        for cell, parts in split.items()
    }


def minutes(seconds: float) -> str:
    """A length of time for people: `40 s`, `3 min`, `1 h 20 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    whole = round(seconds / 60)
    return f"{whole} min" if whole < 60 else f"{whole // 60} h {whole % 60} min"
