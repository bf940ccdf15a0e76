# SPDX-License-Identifier: GPL-2.0-only
"""What the reports say about a run, shared by the formats: pure functions from its record."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from kvet.model import Attempt, Conclusion, Finding, Frame, Role, Status
from kvet.results.record import DONE, CellRecord, RunRecord, label
from kvet.text import clean, one_line, percent

WORST_FIRST = ("FAIL", "ERROR", "INCONCLUSIVE", "PASS", DONE)


ANSWER_ORDER = (Role.CANDIDATE, Role.CONTROL, Role.BASELINE)


def role_text(cell: CellRecord) -> str:
    """The variant's name and, unless it is a candidate, its role."""
    judged = cell.role is Role.CANDIDATE
    return cell.variant if judged else f"{cell.variant} ({cell.role})"


def repeat(record: RunRecord, cell: CellRecord, attempt: int | None = None) -> str:
    """The command that repeats a cell, or one attempt of it."""
    tail = f"/{attempt}" if attempt is not None else ""
    return f"./harness.py reproduce {record.run}/{cell.id}{tail}"


CAUGHT, MISSED = "caught", "NOT CAUGHT"


def outcome(cell: CellRecord) -> str:
    """What came of a cell as people read it: a control is there to fail."""
    if cell.role is not Role.CONTROL or cell.measures or cell.conclusion is Conclusion.ERROR:
        return cell.outcome
    return CAUGHT if cell.conclusion is Conclusion.FAIL else MISSED


def mood(cell: CellRecord) -> str:
    """The outcome whose look a cell is drawn in: what is as it must be looks so."""
    shown = outcome(cell)
    if shown in (CAUGHT, MISSED):
        return "PASS" if shown == CAUGHT else "FAIL"
    # nothing is asked of a baseline but to be there
    idle = cell.role is Role.BASELINE and cell.conclusion is Conclusion.INCONCLUSIVE
    return DONE if idle else shown


def worst_of(cells: Iterable[CellRecord]) -> str:
    """What the cells of one build come to together."""
    return min((cell.outcome for cell in cells), key=WORST_FIRST.index)


def judged_first(cells: Iterable[CellRecord]) -> list[CellRecord]:
    """Candidates, then what they are judged by, each in the order of the run."""
    return sorted(cells, key=lambda cell: cell.role is not Role.CANDIDATE)


@dataclass(frozen=True, slots=True)
class Sighting:
    """One title in one cell: in which attempts it was seen, and its first finding.

    `standing` is `new` (blames the variant), `known` (the baseline has it too), `unconfirmed`
    (a suspicion, or seen through an internal call alone) or `also`.
    """

    title: str
    standing: str
    attempts: tuple[int, ...]
    first: int
    finding: Finding


def sightings(cell: CellRecord) -> list[Sighting]:
    """The findings of a cell grouped by title, those that blame the variant first."""
    seen: dict[str, list[tuple[int, Finding]]] = {}
    for attempt in cell.attempts:
        for finding in attempt.findings:
            seen.setdefault(finding.title, []).append((attempt.n, finding))
    ranked = [*cell.new_titles, *cell.known_titles, *seen]
    return [_sighting(cell, title, seen[title]) for title in dict.fromkeys(ranked) if title in seen]


def _sighting(cell: CellRecord, title: str, found: Sequence[tuple[int, Finding]]) -> Sighting:
    standing = "unconfirmed" if title in cell.unconfirmed else "also"
    standing = "known" if title in cell.known_titles else standing
    standing = "new" if title in cell.new_titles else standing
    # one that was suppressed follows from another and tells less; one without a stack too
    first, finding = min(found, key=lambda f: (f[1].suppressed, not f[1].frames))
    return Sighting(title, standing, tuple(sorted({n for n, _ in found})), first, finding)


def stacks(finding: Finding, *, most: int) -> Iterator[tuple[str, list[Frame]]]:
    """(side, frames) of a finding, cut to `most` frames a side round the blamed function.

    The frames above that function belong to whoever reported it (lockdep, KASAN).
    """
    for side, group in groupby(finding.frames, key=lambda frame: frame.side):
        frames = list(group)
        telling = (i for i, f in enumerate(frames) if f.touched or f.func == finding.func)
        start = max(0, next(telling, 0) - 2)
        yield side, frames[start : start + most]


def splat(finding: Finding, *, most: int) -> list[str]:
    """A finding as text of at most `most` lines: title, then the decoded stacks."""
    sides = max(1, len({frame.side for frame in finding.frames}))
    room = max(1, (most - 1 - sides) // sides)
    lines = [one_line(finding.title)]
    for side, frames in stacks(finding, most=room):
        if side:
            lines.append(f"  {side}:")
        for frame in frames:
            place = f"  {frame.location}" if frame.location else ""
            mark = "  <- touched by the series" if frame.touched else ""
            lines.append(f"    {one_line(frame.func)}{clean(place)}{mark}")
    if len(lines) == 1:
        lines += [f"    {clean(line)}" for line in finding.excerpt]
    return lines[:most]


@dataclass(frozen=True, slots=True)
class Answer:
    """One sentence on one variant, and the worst conclusion of its cells.

    `shown` is that conclusion as people read it, `mood` the look it is drawn in.
    """

    variant: str
    role: Role
    conclusion: str
    sentence: str
    shown: str = ""
    mood: str = ""


def answers(record: RunRecord) -> list[Answer]:
    """What the run says about each variant: candidates first, then what they are judged by."""
    variants: dict[str, list[CellRecord]] = {}
    for cell in record.cells:
        variants.setdefault(cell.variant, []).append(cell)
    told = [_answer(record, cells) for cells in variants.values()]
    return sorted(told, key=lambda answer: ANSWER_ORDER.index(answer.role))


def _answer(record: RunRecord, cells: Sequence[CellRecord]) -> Answer:
    parts = []
    for conclusion in WORST_FIRST:
        grounds: dict[str, list[str]] = {}
        for cell in (c for c in cells if c.outcome == conclusion):
            grounds.setdefault(_grounds(cell), []).append(label(record.cells, cell))
        told = ", ".join(f"{', '.join(names)} ({why})" for why, names in grounds.items())
        if told:
            parts.append(f"{_verb(conclusion, cells[0].role)} {told}")
    worst = min(cells, key=lambda cell: WORST_FIRST.index(cell.outcome))
    if cells[0].role is Role.CONTROL:  # one that slipped through is worse than one caught
        worst = max(cells, key=lambda cell: outcome(cell) == MISSED)
    sentence = f"{role_text(cells[0])} {'; it '.join(parts)}."
    return Answer(
        variant=worst.variant,
        role=worst.role,
        conclusion=worst.outcome,
        sentence=one_line(sentence),
        shown=outcome(worst),
        mood=mood(worst).lower(),
    )


def _verb(conclusion: str, role: Role) -> str:
    if role is Role.CONTROL and conclusion in ("FAIL", "INCONCLUSIVE"):
        return "is caught in" if conclusion == "FAIL" else "is NOT caught in"
    return {
        "FAIL": "fails in",
        "ERROR": "was not tested in",
        "INCONCLUSIVE": "is undecided in",
        "PASS": "passes in",
        DONE: "was measured in",
    }[conclusion]


def schedules_told(cells: Iterable[CellRecord]) -> str:
    """How many schedules ran in the boots that ran most of them; '' where none did."""
    most = [max(c.attempts, key=_schedules_run, default=None) for c in cells]
    found = [e for a in most if a for e in a.explorations if e.bounds]
    if not found:
        return ""
    ran, there = (sum(bound[i] for e in found for bound in e.bounds) for i in (1, 2))
    preemptions = max(e.bounds[-1][0] for e in found)
    return f"{ran} of {there} schedules with at most {preemptions} preemptions"


def _schedules_run(attempt: Attempt) -> int:
    return sum(ran for e in attempt.explorations for _, ran, _ in e.bounds)


def _grounds(cell: CellRecord) -> str:
    """What the conclusion on a cell rests on, in few words."""
    count = cell.count
    if cell.outcome == DONE:
        return f"{cell.runs} boots, not judged"
    if cell.conclusion is Conclusion.PASS and (ran := schedules_told([cell])):
        return f"{count}, {ran}"
    if cell.conclusion is Conclusion.PASS:
        return f"{count}, failure rate at most {percent(cell.upper_bound)} with 95% confidence"
    if cell.conclusion is Conclusion.ERROR:
        return str(cell.reason)
    more = len(cell.new_titles) - 1
    tail = f", and {more} more title{'s' if more > 1 else ''}" if more > 0 else ""
    return f"{count}: {cell.reason}{tail}"


@dataclass(frozen=True, slots=True)
class Case:
    """One attempt (or the lack of any) as test frameworks see it.

    `kind` is passed, failure, error or skipped; `n` is None when no attempt was made.
    """

    name: str
    kind: str
    message: str
    seconds: float
    n: int | None = None
    finding: Finding | None = None


def cases(cell: CellRecord) -> list[Case]:
    """The attempts of a cell as test cases whose failures agree with kvet's exit code.

    A failure is what blames a candidate. A control is there to fail: caught, it
    passes. What the unpatched tree shows as well is skipped and says so.
    """
    if cell.attempts:
        return [_case(cell, attempt) for attempt in cell.attempts]
    kind = {"FAIL": "failure", "ERROR": "error", "PASS": "passed"}.get(cell.conclusion)
    build = cell.build.finding
    name = "build" if build else "set-up"
    return [Case(name, kind or "skipped", one_line(cell.reason), 0.0, finding=build)]


def _case(cell: CellRecord, attempt: Attempt) -> Case:
    name, seconds = f"attempt-{attempt.n}", attempt.seconds
    told = _blame(cell, attempt)
    title = one_line(told.title if told else attempt.detail)
    if attempt.status is Status.FAIL:
        kind, message = _failed(cell, told, title)
    elif attempt.status in (Status.ERROR, Status.MISS):
        kind, message = "error", title
    elif cell.conclusion is Conclusion.INCONCLUSIVE or attempt.status is Status.SKIP:
        kind, message = "skipped", one_line(cell.reason or attempt.detail)
    else:
        kind, message = "passed", ""
    return Case(name, kind, message, seconds, attempt.n, told)


def _failed(cell: CellRecord, told: Finding | None, title: str) -> tuple[str, str]:
    """Kind and message of an attempt with findings."""
    if cell.role is Role.CONTROL:
        return "passed", f"control caught: {title}"
    if cell.role is Role.BASELINE:
        return "skipped", f"the unpatched tree shows: {title}"
    if told is not None and told.title not in cell.new_titles:
        return "skipped", f"the baseline shows it too: {title}"
    return "failure", title


def _blame(cell: CellRecord, attempt: Attempt) -> Finding | None:
    """The finding that an attempt is best known by: a new title, not suppressed."""
    findings = attempt.findings
    return min(
        findings,
        key=lambda f: (f.title not in cell.new_titles, f.suppressed),
        default=None,
    )


def found_after(attempt: Attempt, cell: CellRecord) -> float | None:
    """Guest uptime in seconds at the first finding that blames the variant."""
    blamed = [f for f in attempt.findings if f.title in cell.new_titles]
    stamps = [f.uptime_s for f in blamed if f.uptime_s is not None]
    return min(stamps, default=None)


def median(values: Sequence[float | None]) -> float | None:
    """Median of those that are not None; None without any."""
    known = [v for v in values if v is not None]
    return statistics.median(known) if known else None
