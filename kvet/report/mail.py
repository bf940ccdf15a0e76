# SPDX-License-Identifier: GPL-2.0-only
"""A reply for the mailing list as an .eml file: plain text, and for a human to send.

It states facts and gives no tag: only a person who tested can give one. To, Cc
and From are left for the sender to fill in. Prose is 72 columns wide; tables,
splats and commands are not wrapped.
"""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterator, Sequence
from email.message import EmailMessage
from email.policy import SMTP

from kvet.cost.mail import cost_lines
from kvet.model import Conclusion, Role
from kvet.report.answer import answer, subject
from kvet.report.facts import (
    answers,
    judged_first,
    outcome,
    repeat,
    role_text,
    sightings,
    splat,
)
from kvet.report.not_covered import not_covered
from kvet.report.proofs import proof_lines
from kvet.report.schedules import explorations, failing_lines, schedule_id, statement
from kvet.report.text import exposure_text
from kvet.report.versions import version_steps
from kvet.results.booted import booted_on
from kvet.results.record import CellRecord, RunRecord, label
from kvet.text import MESSAGE_ID, clean, lore, one_line, percent

WIDTH = 72
MOST_LINES = 15


def mail_report(record: RunRecord, *, measured: RunRecord | None = None) -> str:
    """The whole run as the text of an .eml file, with the costs of `measured` or its own."""
    parent = _parent(record)
    head = EmailMessage(policy=SMTP.clone(linesep="\n"))
    head["Subject"] = _subject(record, replies=bool(parent))
    if parent:
        head["In-Reply-To"] = f"<{parent}>"
        head["References"] = f"<{parent}>"
    head["MIME-Version"] = "1.0"
    head["Content-Type"] = 'text/plain; charset="utf-8"'
    head["Content-Transfer-Encoding"] = "8bit"
    return head.as_string() + clean("\n".join(_body(record, measured or record))) + "\n"


def _candidates(record: RunRecord) -> list[CellRecord]:
    return [cell for cell in record.cells if cell.role is Role.CANDIDATE]


def _parent(record: RunRecord) -> str:
    """The message id of the one series under test; empty when there are several or none.

    Of series that were given it is the newest one's cover letter, or its first patch where it
    has none; of a variant the id of its first patch as it was sent, or else one that it links.
    """
    given = _given(record)
    if given:
        last = given[-1].given
        return last.message_id if last and MESSAGE_ID.match(last.message_id) else ""
    parents = set()
    for cell in _candidates(record):
        ids = [p.message_id for p in cell.series.patches] + list(cell.links)
        parents.add(next((i for i in ids if MESSAGE_ID.match(i)), ""))
    return parents.pop() if len(parents) == 1 else ""


def _given(record: RunRecord) -> list[CellRecord]:
    """A cell of each series under test, when all of them were given; the newest last."""
    found = {c.variant: c for c in _candidates(record)}
    return list(found.values()) if all(c.given for c in found.values()) else []


def _subject(record: RunRecord, *, replies: bool) -> str:
    """`Re:` the first patch, or what was judged and how it ended."""
    for cell in _given(record)[-1:] if replies else ():
        if cell.given and cell.given.subject:
            return f"Re: {one_line(cell.given.subject)}"
    for cell in _candidates(record) if replies else ():
        for patch in cell.series.patches[:1]:
            return f"Re: {one_line(patch.subject)}"
    kernels = ", ".join(record.host.kernels) or "no kernel"
    return one_line(f"kvet: {subject(record)} ({kernels})")


def _body(record: RunRecord, measured: RunRecord) -> Iterator[str]:
    """The text, line by line: the answer, what was compared, evidence, limits, commands."""
    yield from _prose(answer(record, measured=measured))
    yield ""
    yield from _table(record)
    yield ""
    yield from _compared(record)
    yield ""
    for one in answers(record):
        yield from _item(one.sentence)
    yield ""
    for step in version_steps(record):
        yield from _item(f"{step.title}. {step.code}")
        yield from ("", *(f"  {line}" for line in step.patches), "")
    yield from _evidence(record)
    yield from _cost(record, measured)
    yield from proof_lines(record)
    yield from _prose(f"Not covered: {'; '.join(not_covered(record))}.")
    yield ""
    yield "Repeat it:"
    yield ""
    yield f"  ./harness.py {shlex.join(record.plan.command)}"
    for cell in _shown(record):
        first = next(iter(sightings(cell)), None)
        yield f"  {repeat(record, cell, first.first if first else None)}"


def _prose(text: str) -> list[str]:
    return textwrap.wrap(one_line(text), WIDTH, break_long_words=False, break_on_hyphens=False)


def _item(text: str) -> list[str]:
    """One bullet, its further lines indented."""
    return textwrap.wrap(
        f"- {one_line(text)}",
        WIDTH,
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _compared(record: RunRecord) -> Iterator[str]:
    """Kernels, tools and where each series under test comes from."""
    host = record.host
    for name, kernel in host.kernels.items():
        # of a package or directory the commit is our own, and says nothing to others
        commit = f", commit {kernel.base_commit}" if kernel.kind == "git" else ""
        source = f"{kernel.origin or name}{commit}, git tree {kernel.tree}"
        yield from _prose(f"Judged on {kernel.version} ({source}), arm64.")
    yield from _prose(f"{host.compiler}; {booted_on(record)}.")
    yield ""
    series = {c.variant: c for c in _candidates(record)}
    for cell in series.values():
        yield from _item(f"{cell.variant}: {cell.title}{_origin(cell)}")
        if cell.given and lore(cell.given.message_id):
            yield f"  {lore(cell.given.message_id)}"
        yield from (f"  {lore(link)}" for link in cell.links if lore(link))


def _origin(cell: CellRecord) -> str:
    """Whose a given series is, how long, what it was put on, and the tree that it makes."""
    given, count = cell.given, len(cell.series.patches)
    if given is None:
        return ""
    version = f" {given.label}" if given.label not in (cell.variant, "") else ""
    author = f" by {given.author}" if given.author else ""
    patches = f"{count} patch{'' if count == 1 else 'es'}"
    tree = f"; with it git tree {cell.series.tree}" if cell.series.tree else ""
    return f"{version}{author}, {patches}; base {given.base}{tree}"


def _table(record: RunRecord) -> list[str]:
    """The cells in columns as wide as they need; baseline and controls are below the line."""
    rows = [("variant", "config", "conclusion", "k/n", "bound", "exposure (median)")]
    ordered = judged_first(record.cells)
    for cell in ordered:
        bound = percent(cell.upper_bound) if cell.outcome == "PASS" else "-"
        count = cell.count
        name, exposure = one_line(role_text(cell)), exposure_text(cell).partition(",")[0]
        rows.append((name, label(record.cells, cell), outcome(cell), count, bound, exposure))
    widths = [max(len(value) for value in values) for values in zip(*rows, strict=True)]
    lines = [_row(row, widths) for row in rows]
    judged = sum(cell.role is Role.CANDIDATE for cell in ordered)
    if 0 < judged < len(ordered):
        lines.insert(judged + 1, _row(["-" * width for width in widths], widths))
    return lines


def _row(row: Sequence[str], widths: Sequence[int]) -> str:
    return " ".join(v.ljust(w) for v, w in zip(row, widths, strict=True)).rstrip()


def _cost(record: RunRecord, measured: RunRecord) -> Iterator[str]:
    """What was measured, in this run or in the one given beside it."""
    names = {cell.variant for cell in _candidates(record) or measured.cells}
    lines = list(cost_lines(measured, names))
    for wrapped, line in lines:
        yield from _prose(line) if wrapped else (line,)
    if lines:
        yield ""


def _shown(record: RunRecord) -> list[CellRecord]:
    """The cells whose evidence the mail shows: candidates that failed or could not be run."""
    return [c for c in _candidates(record) if c.conclusion in (Conclusion.FAIL, Conclusion.ERROR)]


def _evidence(record: RunRecord) -> Iterator[str]:
    """For each candidate the warnings it adds and, when it failed, its first splat."""
    for cell in _candidates(record):
        added = cell.build.warnings_added
        if added:
            where = label(record.cells, cell)
            yield f"{cell.variant} ({where}) adds {len(added)} compiler warnings:"
            yield from (f"  {one_line(warning)}" for warning in added[:5])
            yield ""
    for cell in _candidates(record):
        yield from _schedules(record, cell)
    told = set()
    for cell in _shown(record):
        lines = _splat(cell)
        if (cell.variant, lines[0]) not in told:
            told.add((cell.variant, lines[0]))
            yield from (f"{cell.variant} ({label(record.cells, cell)}):", "", *lines, "")


def _schedules(record: RunRecord, cell: CellRecord) -> Iterator[str]:
    """How many schedules were run, and the failing one as a diagram, two columns wide."""
    for attempt, one in explorations(cell):
        yield from _item(f"{cell.variant}, {statement(one)}")
        if one.failing:
            yield from ("", *(f"  {line}".rstrip() for line in failing_lines(one)), "")
            yield f"  {repeat(record, cell, attempt)} --schedule {schedule_id(one)}"
            yield ""


def _splat(cell: CellRecord) -> list[str]:
    """The first title of a cell with its stack, a failed build's output, or the reason."""
    if cell.build.finding:
        return [f"  {clean(x)}" for x in cell.build.finding.excerpt[:MOST_LINES]]
    first = next(iter(sightings(cell)), None)
    return splat(first.finding, most=MOST_LINES) if first else [f"  {one_line(cell.reason)}"]
