# SPDX-License-Identifier: GPL-2.0-only
"""Markdown for the job summary of a forge (GitHub's GITHUB_STEP_SUMMARY, GitLab, Forgejo)."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from html import escape

from kvet.formats import (
    Record,
    answers,
    kernels_text,
    label,
    one_line,
    percent,
    repeat,
    role_text,
    sightings,
    splat,
)
from kvet.gaps import not_covered
from kvet.records import outcome
from kvet.report import exposure_text

MOST_LINES = 25
SPECIAL = re.compile(r"([\\`*_\[\]!|~$])")
AT_START = re.compile(r"^(\d*)([-+#>=.)])")


def markdown_report(record: Record) -> str:
    """The whole run as GitHub flavoured Markdown."""
    host = record["host"]
    tools = f"{host.get('compiler', '?')}, QEMU {host.get('qemu', '?')} ({host.get('accel', '?')})"
    lines = [
        f"## kvet: {record['conclusion']}",
        "",
        f"{_text(record['run'])} on {_text(kernels_text(record))}; {_text(tools)}",
        "",
        *(f"- **{a.conclusion}** {_text(a.sentence)}" for a in answers(record)),
        "",
        *_table(record),
        "",
        *_details(record),
        f"Not covered: {_text('; '.join(not_covered(record)))}.",
        "",
        "Repeat the whole run:",
        "",
        *_code([f"./harness.py {shlex.join(record['plan'].get('command', []))}"]),
    ]
    return "\n".join(lines) + "\n"


def _text(text: object) -> str:
    """`text` so that it shows as it is: no markup, no list or heading, no HTML."""
    plain = one_line(text).replace("&", "&amp;").replace("<", "&lt;")
    return AT_START.sub(r"\1\\\2", SPECIAL.sub(r"\\\1", plain))


def _code(lines: Sequence[str]) -> list[str]:
    """`lines` as a code block, fenced with more backticks than any line holds."""
    text = "\n".join(lines)
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}text", text, fence]


def _table(record: Record) -> Iterator[str]:
    """One row for each cell."""
    yield "| variant | config | conclusion | k/n | bound | exposure (median) |"
    yield "|---|---|---|--:|--:|---|"
    for cell in record["cells"]:
        bound = percent(cell["upper_bound"]) if outcome(cell) == "PASS" else "-"
        row = (
            _text(role_text(cell)),
            _text(label(record, cell)),
            f"**{outcome(cell)}**",
            f"{cell['failures']}/{cell['runs']}",
            bound,
            _text(exposure_text(cell)),
        )
        yield f"| {' | '.join(row)} |"


def _details(record: Record) -> Iterator[str]:
    """A folded block for each cell with something to show."""
    for cell in record["cells"]:
        body = [*_warnings(cell), *_findings(record, cell)]
        if body:
            name = f"{role_text(cell)}, {label(record, cell)}: {cell['conclusion']}"
            yield f"<details><summary>{escape(one_line(name))}</summary>"
            yield ""
            yield from body
            yield "</details>"
            yield ""


def _warnings(cell: Record) -> Iterator[str]:
    added = cell["build"]["warnings_added"]
    if added:
        yield f"{len(added)} compiler warnings added:"
        yield ""
        yield from _code([one_line(warning) for warning in added])
        yield ""


def _findings(record: Record, cell: Record) -> Iterator[str]:
    """The failed build, or the stack of the first title and the names of the others."""
    if cell["build"]["finding"]:
        yield from _code([one_line(x) for x in cell["build"]["finding"]["excerpt"]])
        yield ""
    for number, seen in enumerate(sightings(cell)):
        yield f"{_text(seen.title)}, in {len(seen.attempts)} of {len(cell['attempts'])} attempts"
        yield ""
        if number == 0:
            command = repeat(record, cell, seen.first)
            yield from _code([*splat(seen.finding, most=MOST_LINES), "", command])
            yield ""
    if cell["conclusion"] == "ERROR":
        yield _text(cell["reason"])
        yield ""
        yield from _code([repeat(record, cell)])
        yield ""
