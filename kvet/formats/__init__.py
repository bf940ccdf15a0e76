# SPDX-License-Identifier: GPL-2.0-only
"""Formats of a report: pure functions from the record of a run (`results.json`) to text.

Here stands what they share: how to read a record. Each format has a module of
its own, which is imported when it is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from kvet.records import DONE, outcome

Record = Mapping[str, Any]
# what a terminal, a mail reader or an XML parser may choke on; tab and newline stay
CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
)
ESCAPE_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[@-Z\\-_])")
MESSAGE_ID = re.compile(r"^[^<>\s@]+@[^<>\s@]+$")
WORST_FIRST = ("FAIL", "ERROR", "INCONCLUSIVE", "PASS", DONE)
ANSWER_ORDER = ("candidate", "control", "baseline")


def clean(text: object) -> str:
    """`text` without control characters and terminal sequences; safe in XML 1.0 and mail."""
    return CONTROL.sub("", ESCAPE_SEQUENCE.sub("", str(text).replace("\r\n", "\n")))


def one_line(text: object) -> str:
    """`text` cleaned, with every run of white space turned into one blank."""
    return " ".join(clean(text).split())


def percent(share: float | None) -> str:
    """A share as whole per cent, `-` for None."""
    return f"{100 * share:.0f}%" if share is not None else "-"


def column(cell: Record) -> tuple[str, ...]:
    """What a cell is apart from its variant: kernel, config, machine, workload."""
    return tuple(cell[axis] for axis in ("kernel", "config", "machine", "workload"))


def label(record: Record, cell: Record) -> str:
    """Shortest name of a cell's column: its config and every other axis that varies in the run."""
    columns = [column(c) for c in record["cells"]]
    varies = [len(set(values)) > 1 for values in zip(*columns, strict=True)]
    varies[1] = True
    own = [cell["config"], cell["kernel"], cell["machine"], cell["workload"]]
    order = [varies[1], varies[0], varies[2], varies[3]]
    return "/".join(value for value, shown in zip(own, order, strict=True) if shown)


def role_text(cell: Record) -> str:
    """The variant's name and, unless it is a candidate, its role."""
    role = cell["role"]
    return str(cell["variant"]) if role == "candidate" else f"{cell['variant']} ({role})"


def kernels_text(record: Record) -> str:
    """Names and versions of the kernels of a run."""
    kernels = record["host"].get("kernels", {})
    return ", ".join(f"{name} = {k['version']}" for name, k in kernels.items()) or "no kernel"


def repeat(record: Record, cell: Record, attempt: int | None = None) -> str:
    """The command that repeats a cell, or one attempt of it."""
    tail = f"/{attempt}" if attempt is not None else ""
    return f"./harness.py reproduce {record['run']}/{cell['id']}{tail}"


def lore(link: str) -> str:
    """The address of a message id; an http(s) address stays; empty for anything else."""
    if re.match(r"^https?://[^\s]+$", link):
        return link
    return f"https://lore.kernel.org/r/{link}" if MESSAGE_ID.match(link) else ""


@dataclass(frozen=True, slots=True)
class Sighting:
    """One title in one cell: in which attempts it was seen, and its first finding.

    `standing` is `new` (blames the variant), `known` (the baseline has it too) or `also`.
    """

    title: str
    standing: str
    attempts: tuple[int, ...]
    first: int
    finding: Record


def sightings(cell: Record) -> list[Sighting]:
    """The findings of a cell grouped by title, those that blame the variant first."""
    seen: dict[str, list[tuple[int, Record]]] = {}
    for attempt in cell["attempts"]:
        for finding in attempt["findings"]:
            seen.setdefault(finding["title"], []).append((attempt["n"], finding))
    ranked = [*cell["new_titles"], *cell["known_titles"], *seen]
    return [_sighting(cell, title, seen[title]) for title in dict.fromkeys(ranked) if title in seen]


def _sighting(cell: Record, title: str, found: Sequence[tuple[int, Record]]) -> Sighting:
    standing = "known" if title in cell["known_titles"] else "also"
    standing = "new" if title in cell["new_titles"] else standing
    # one that was suppressed follows from another and tells less; one without a stack too
    first, finding = min(found, key=lambda f: (f[1]["suppressed"], not f[1]["frames"]))
    return Sighting(title, standing, tuple(sorted({n for n, _ in found})), first, finding)


def stacks(finding: Record, *, most: int) -> Iterator[tuple[str, list[Record]]]:
    """(side, frames) of a finding, cut to `most` frames a side round the blamed function.

    The frames above that function belong to whoever reported it (lockdep, KASAN).
    """
    for side, group in groupby(finding["frames"], key=lambda frame: frame["side"]):
        frames = list(group)
        telling = (i for i, f in enumerate(frames) if f["touched"] or f["func"] == finding["func"])
        start = max(0, next(telling, 0) - 2)
        yield side, frames[start : start + most]


def splat(finding: Record, *, most: int) -> list[str]:
    """A finding as text of at most `most` lines: title, then the decoded stacks."""
    sides = max(1, len({frame["side"] for frame in finding["frames"]}))
    room = max(1, (most - 1 - sides) // sides)
    lines = [one_line(finding["title"])]
    for side, frames in stacks(finding, most=room):
        if side:
            lines.append(f"  {side}:")
        for frame in frames:
            place = f"  {frame['location']}" if frame["location"] else ""
            mark = "  <- touched by the series" if frame["touched"] else ""
            lines.append(f"    {one_line(frame['func'])}{clean(place)}{mark}")
    if len(lines) == 1:
        lines += [f"    {clean(line)}" for line in finding.get("excerpt", ())]
    return lines[:most]


@dataclass(frozen=True, slots=True)
class Answer:
    """One sentence on one variant, and the worst conclusion of its cells."""

    variant: str
    role: str
    conclusion: str
    sentence: str


def answers(record: Record) -> list[Answer]:
    """What the run says about each variant: candidates first, then what they are judged by."""
    variants: dict[str, list[Record]] = {}
    for cell in record["cells"]:
        variants.setdefault(cell["variant"], []).append(cell)
    told = [_answer(record, cells) for cells in variants.values()]
    return sorted(told, key=lambda answer: ANSWER_ORDER.index(answer.role))


def _answer(record: Record, cells: Sequence[Record]) -> Answer:
    parts = []
    for conclusion in WORST_FIRST:
        grounds: dict[str, list[str]] = {}
        for cell in (c for c in cells if outcome(c) == conclusion):
            grounds.setdefault(_grounds(cell), []).append(label(record, cell))
        told = ", ".join(f"{', '.join(names)} ({why})" for why, names in grounds.items())
        if told:
            parts.append(f"{_verb(conclusion, cells[0]['role'])} {told}")
    worst = next(c for c in WORST_FIRST if any(outcome(cell) == c for cell in cells))
    sentence = f"{role_text(cells[0])} {'; it '.join(parts)}."
    return Answer(cells[0]["variant"], cells[0]["role"], worst, one_line(sentence))


def _verb(conclusion: str, role: str) -> str:
    if role == "control" and conclusion in ("FAIL", "INCONCLUSIVE"):
        return "is caught in" if conclusion == "FAIL" else "is NOT caught in"
    return {
        "FAIL": "fails in",
        "ERROR": "has no answer, for want of a run, in",
        "INCONCLUSIVE": "is undecided in",
        "PASS": "passes in",
        DONE: "was measured in",
    }[conclusion]


def _grounds(cell: Record) -> str:
    """What the conclusion on a cell rests on, in few words."""
    count = f"{cell['failures']}/{cell['runs']}"
    if outcome(cell) == DONE:
        return f"{cell['runs']} boots, not judged"
    if cell["conclusion"] == "PASS":
        return f"{count}, failure rate at most {percent(cell['upper_bound'])} with 95% confidence"
    if cell["conclusion"] == "ERROR":
        return str(cell["reason"])
    more = len(cell["new_titles"]) - 1
    tail = f", and {more} more title{'s' if more > 1 else ''}" if more > 0 else ""
    return f"{count}: {cell['reason']}{tail}"


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
    finding: Record | None = None


def cases(cell: Record) -> list[Case]:
    """The attempts of a cell as test cases whose failures agree with kvet's exit code.

    A failure is what blames a candidate. A control is there to fail: caught, it
    passes. What the unpatched tree shows as well is skipped and says so.
    """
    if cell["attempts"]:
        return [_case(cell, attempt) for attempt in cell["attempts"]]
    kind = {"FAIL": "failure", "ERROR": "error", "PASS": "passed"}.get(cell["conclusion"])
    build = cell["build"]["finding"]
    name = "build" if build else "set-up"
    return [Case(name, kind or "skipped", one_line(cell["reason"]), 0.0, finding=build)]


def _case(cell: Record, attempt: Record) -> Case:
    name, seconds = f"attempt-{attempt['n']}", float(attempt["seconds"])
    told = _blame(cell, attempt)
    title = one_line(told["title"] if told else attempt["detail"])
    if attempt["status"] == "FAIL":
        kind, message = _failed(cell, told, title)
    elif attempt["status"] in ("ERROR", "MISS"):
        kind, message = "error", title
    elif cell["conclusion"] == "INCONCLUSIVE" or attempt["status"] == "SKIP":
        kind, message = "skipped", one_line(cell["reason"] or attempt["detail"])
    else:
        kind, message = "passed", ""
    return Case(name, kind, message, seconds, attempt["n"], told)


def _failed(cell: Record, told: Record | None, title: str) -> tuple[str, str]:
    """Kind and message of an attempt with findings."""
    if cell["role"] == "control":
        return "passed", f"control caught: {title}"
    if cell["role"] == "baseline":
        return "skipped", f"the unpatched tree shows: {title}"
    if told is not None and told["title"] not in cell["new_titles"]:
        return "skipped", f"the baseline shows it too: {title}"
    return "failure", title


def _blame(cell: Record, attempt: Record) -> Record | None:
    """The finding that an attempt is best known by: a new title, not suppressed."""
    findings: Sequence[Record] = attempt["findings"]
    return min(
        findings,
        key=lambda f: (f["title"] not in cell["new_titles"], f["suppressed"]),
        default=None,
    )


def _html(record: Record) -> str:
    from kvet.formats.html import html_report

    return html_report(record)


def _junit(record: Record) -> str:
    from kvet.formats.junit import junit_report

    return junit_report(record)


def _ktap(record: Record) -> str:
    from kvet.formats.ktapout import ktap_report

    return ktap_report(record)


def _kcidb(record: Record) -> str:
    from kvet.formats.kcidb import kcidb_report

    return kcidb_report(record)


def _markdown(record: Record) -> str:
    from kvet.formats.markdown import markdown_report

    return markdown_report(record)


def _mail(record: Record) -> str:
    from kvet.formats.mail import mail_report

    return mail_report(record)


def _b4(record: Record) -> str:
    from kvet.formats.b4 import b4_report

    return b4_report(record)


FORMATS: dict[str, Callable[[Record], str]] = {
    "html": _html,
    "junit": _junit,
    "ktap": _ktap,
    "kcidb": _kcidb,
    "markdown": _markdown,
    "mail": _mail,
    "b4": _b4,
}
