# SPDX-License-Identifier: GPL-2.0-only
"""What controlled schedules showed, in words and as a diagram: pure functions of the record."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kvet.explorations import Exploration, ScheduleEvent
from kvet.results.record import CellRecord
from kvet.text import clean

# of records whose guest did not name its columns
SIDES = {
    "W": "walk (dump)",
    "V": "walk (second dump)",
    "X": "walk (W+X check)",
    "K": "walk (dump by a task that is being killed)",
    "F": "free (block over a table)",
    "U": "free (block over a table, by a task of user space)",
    "S": "free (block over a table, by a task that is being killed)",
}
COLUMN = 47
ACCESSES = ("load", "store", "atomic")
# what the token went on for, said of the side that gave it
HANDED = {
    "preempted": "stopped here",
    "blocked": "sleeps",
    "spins": "spins",
    "ended": "done",
    "dozes": "waits, and will wake by itself",
}
# calls that exclude, order or free; the others only fill the page
TELLING = ("lock", "rcu", "static_key", "online_mems", "free", "sem", "up_", "down_", "wait")


def explorations(cell: CellRecord) -> list[tuple[int, Exploration]]:
    """Attempt number and record of the exploration that tells most, for each set of sides."""
    found: dict[str, tuple[int, Exploration]] = {}
    for attempt in cell.attempts:
        for one in attempt.explorations:
            known = found.get(f"{one.sides} {one.normal_gp}")
            if known is None or (one.failing and not known[1].failing):
                found[f"{one.sides} {one.normal_gp}"] = (attempt.n, one)
    return list(found.values())


def schedule_id(one: Exploration) -> str:
    """The name by which `reproduce --schedule` runs the failing schedule alone."""
    return f"{one.sides}:{one.failing}"


def statement(one: Exploration) -> str:
    """How many of the schedules ran and what became of them, in one sentence."""
    if one.ending == "nothing":
        why = one.what or "no table is ever replaced by a block"
        return f"{one.sides}: {why}, nothing to explore"
    if one.ending == "missing":
        return f"{one.sides}: this kernel lacks one of the sides, no schedule was run"
    if not one.bounds:
        done = f"{one.rounds} schedules were run"
        return f"{one.sides}: {done}, and the guest died in {one.failing or 'the next'}"
    ran = sum(run for _, run, _ in one.bounds)
    there = sum(count for _, _, count in one.bounds)
    most = one.bounds[-1][0]
    text = (
        f"{one.sides}: {ran} of {there} schedules with at most {most} preemptions "
        f"at {one.points} points, {int(bool(one.failing))} failed"
    )
    notes = list(_notes(one))
    return text + (f" ({', '.join(notes)})" if notes else "")


def _notes(one: Exploration) -> Iterator[str]:
    if one.normal_gp:
        yield "grace periods not expedited"
    if one.seconds and one.rounds:
        yield f"{one.rounds / one.seconds:.0f} rounds/s of guest time"
    if one.sampled:
        least = 1 / (one.threads * one.steps**one.changes)
        yield (
            f"{one.sampled} more drawn at random, which show a bug of depth {one.changes + 1} "
            f"with a probability of at least {1 - (1 - least) ** one.sampled:.2g}"
        )
    if one.ending == "out-of-time":
        yield "the time ran out"
    if one.unreached:
        yield f"{one.unreached} did not reach their points"
    if one.timeouts:
        yield f"{one.timeouts} in which a side that got nowhere was passed over"
    if one.unprobed:
        yield f"{len(one.unprobed)} instructions without a probe"


@dataclass(frozen=True, slots=True)
class Step:
    """One event as a diagram tells it, in the column of its side.

    `mood` is "" for an access or call, "handed" where the token goes on, and "fails" for the
    access that must not be.
    """

    column: int
    what: str
    place: str = ""
    source: str = ""
    mood: str = ""


@dataclass(frozen=True, slots=True)
class Diagram:
    """The failing round: `steps` in the order of time, one column for each of `titles`."""

    titles: tuple[str, ...]
    steps: tuple[Step, ...]
    verdict: str = ""


def drawn(one: Exploration) -> Diagram | None:
    """The failing round as steps; None where nothing was recorded of it."""
    letters = _letters(one)
    names = {**SIDES, **dict(one.columns)}
    last = one.events[-1] if one.what and one.events else None
    steps = [
        step
        for event in one.events
        if (step := _step(event, letters.index(event.side), fails=event is last))
    ]
    if not steps:
        return None
    return Diagram(
        titles=tuple(f"{letter}: {names.get(letter, '')}" for letter in letters),
        steps=tuple(steps),
        verdict=f"Here {last.side} fails: {one.what}." if last else "",
    )


def diagram(one: Exploration) -> list[str]:
    """The failing round as text: time runs down, one column a thread."""
    found = drawn(one)
    if found is None:
        return []
    rows = [" | ".join(title.ljust(COLUMN) for title in found.titles)]
    for step in found.steps:
        rows += _placed(_lines(step), step.column, len(found.titles))
    if found.verdict:
        rows += ["", found.verdict]
    return [row.rstrip() for row in rows]


def _letters(one: Exploration) -> list[str]:
    order = "".join(letter for letter, _ in one.columns) or "".join(SIDES)
    return sorted({e.side for e in one.events}, key=order.find)


def _placed(lines: Sequence[str], column: int, columns: int) -> Iterator[str]:
    """Lines in their column, the others empty."""
    for line in lines:
        for part in textwrap.wrap(clean(line), COLUMN, subsequent_indent="      ") or [""]:
            cells = [part if i == column else "" for i in range(columns)]
            yield " | ".join(cell.ljust(COLUMN) for cell in cells)


def _lines(step: Step) -> list[str]:
    if step.mood == "handed":
        return [f"-- {step.what} --"]
    return [step.what, "    " + " ".join(part for part in (step.place, step.source) if part)]


def _step(event: ScheduleEvent, column: int, *, fails: bool) -> Step | None:
    """What a column says of one event; None for those that do not matter to others."""
    kind, target = event.kind, event.target
    if kind in HANDED:
        return Step(column, HANDED[kind], mood="handed")
    # the one call with a value is that for memory which there was none of
    telling = kind != "call" or event.value or any(t in target for t in TELLING)
    if not fails and (kind == "barrier" or not telling):
        return None
    what = f"{kind} {target}".strip()
    if event.value and kind in (*ACCESSES, "call"):
        what += f" {'->' if kind in ('load', 'call') else '='} {event.value}"
    place = event.location or ("" if event.source else event.func)
    return Step(column, what, place, event.source, "fails" if fails else "")


def preemptions(one: Exploration) -> int:
    """How many preemptions the failing schedule has: the least, for fewer were tried first."""
    return one.failing.count("@")


def failing_lines(one: Exploration) -> list[str]:
    """Name, preemptions and diagram of the failing schedule; empty when none failed."""
    if not one.failing:
        return []
    return [failing_name(one), "", *diagram(one)]


def failing_name(one: Exploration) -> str:
    """The failing schedule and how many preemptions it has."""
    count = preemptions(one)
    least = f"{count} preemption{'' if count == 1 else 's'}, the fewest that fail"
    return f"schedule {schedule_id(one)} ({least})"
