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

from kvet.formats import (
    MESSAGE_ID,
    Record,
    answers,
    clean,
    label,
    lore,
    one_line,
    percent,
    repeat,
    role_text,
    sightings,
    splat,
)
from kvet.formats.costmail import cost_lines
from kvet.gaps import not_covered
from kvet.records import outcome
from kvet.report import exposure_text

WIDTH = 72
MOST_LINES = 15


def mail_report(record: Record) -> str:
    """The whole run as the text of an .eml file."""
    parent = _parent(record)
    head = EmailMessage(policy=SMTP.clone(linesep="\n"))
    head["Subject"] = _subject(record, replies=bool(parent))
    if parent:
        head["In-Reply-To"] = f"<{parent}>"
        head["References"] = f"<{parent}>"
    head["MIME-Version"] = "1.0"
    head["Content-Type"] = 'text/plain; charset="utf-8"'
    head["Content-Transfer-Encoding"] = "8bit"
    return head.as_string() + clean("\n".join(_body(record))) + "\n"


def _candidates(record: Record) -> list[Record]:
    return [cell for cell in record["cells"] if cell["role"] == "candidate"]


def _parent(record: Record) -> str:
    """The message id of the one series under test; empty when there are several or none.

    The id of the first patch as it was sent, or else the one that the variant links.
    """
    parents = set()
    for cell in _candidates(record):
        ids = [p["message_id"] for p in cell["series"].get("patches", [])] + list(cell["links"])
        parents.add(next((i for i in ids if MESSAGE_ID.match(i)), ""))
    return parents.pop() if len(parents) == 1 else ""


def _subject(record: Record, *, replies: bool) -> str:
    """`Re:` the first patch, or what was judged and how it ended."""
    for cell in _candidates(record) if replies else ():
        for patch in cell["series"].get("patches", [])[:1]:
            return f"Re: {one_line(patch['subject'])}"
    names = dict.fromkeys(cell["variant"] for cell in _candidates(record) or record["cells"])
    kernels = ", ".join(record["host"].get("kernels", {})) or "no kernel"
    return one_line(f"kvet: {record['conclusion']}: {', '.join(names)} on {kernels}")


def _body(record: Record) -> Iterator[str]:
    """The text, line by line: what was compared, the answers, evidence, limits, commands."""
    yield from _compared(record)
    yield ""
    for answer in answers(record):
        yield from _item(answer.sentence)
    yield ""
    yield from _table(record)
    yield ""
    yield from _evidence(record)
    yield from _cost(record)
    yield from _prose(f"Not covered: {'; '.join(not_covered(record))}.")
    yield ""
    yield "Repeat it:"
    yield ""
    yield f"  ./harness.py {shlex.join(record['plan'].get('command', []))}"
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


def _compared(record: Record) -> Iterator[str]:
    """Kernels, tools and where each series under test comes from."""
    host = record["host"]
    for name, kernel in host.get("kernels", {}).items():
        source = f"{kernel.get('origin', name)}, git tree {kernel.get('tree', '?')}"
        yield from _prose(f"Judged on {kernel['version']} ({source}), arm64.")
    accel = host.get("accel", "?")
    yield from _prose(f"{host.get('compiler', '?')}; QEMU {host.get('qemu', '?')}, {accel}.")
    yield ""
    series = {c["variant"]: c for c in _candidates(record)}
    for cell in series.values():
        yield from _item(f"{cell['variant']}: {cell['title']}")
        yield from (f"  {lore(link)}" for link in cell["links"] if lore(link))


def _table(record: Record) -> list[str]:
    """The cells in columns as wide as they need."""
    rows = [("variant", "config", "conclusion", "k/n", "bound", "exposure (median)")]
    for cell in record["cells"]:
        bound = percent(cell["upper_bound"]) if outcome(cell) == "PASS" else "-"
        count = f"{cell['failures']}/{cell['runs']}"
        name, exposure = one_line(role_text(cell)), exposure_text(cell).partition(",")[0]
        rows.append((name, label(record, cell), outcome(cell), count, bound, exposure))
    widths = [max(len(value) for value in values) for values in zip(*rows, strict=True)]
    return [_row(row, widths) for row in rows]


def _row(row: Sequence[str], widths: Sequence[int]) -> str:
    return " ".join(v.ljust(w) for v, w in zip(row, widths, strict=True)).rstrip()


def _cost(record: Record) -> Iterator[str]:
    """What was measured, in this run or in the one given beside it."""
    measured = record.get("cost_of") or record
    names = {cell["variant"] for cell in _candidates(record) or measured["cells"]}
    lines = list(cost_lines(measured, names))
    for wrapped, line in lines:
        yield from _prose(line) if wrapped else (line,)
    if lines:
        yield ""


def _shown(record: Record) -> list[Record]:
    """The cells whose evidence the mail shows: candidates that failed or could not be run."""
    return [c for c in _candidates(record) if c["conclusion"] in ("FAIL", "ERROR")]


def _evidence(record: Record) -> Iterator[str]:
    """For each candidate the warnings it adds and, when it failed, its first splat."""
    for cell in _candidates(record):
        added = cell["build"]["warnings_added"]
        if added:
            yield f"{cell['variant']} ({label(record, cell)}) adds {len(added)} compiler warnings:"
            yield from (f"  {one_line(warning)}" for warning in added[:5])
            yield ""
    told = set()
    for cell in _shown(record):
        lines = _splat(cell)
        if (cell["variant"], lines[0]) not in told:
            told.add((cell["variant"], lines[0]))
            yield from (f"{cell['variant']} ({label(record, cell)}):", "", *lines, "")


def _splat(cell: Record) -> list[str]:
    """The first title of a cell with its stack, a failed build's output, or the reason."""
    if cell["build"]["finding"]:
        return [f"  {clean(x)}" for x in cell["build"]["finding"]["excerpt"][:MOST_LINES]]
    first = next(iter(sightings(cell)), None)
    return splat(first.finding, most=MOST_LINES) if first else [f"  {one_line(cell['reason'])}"]
