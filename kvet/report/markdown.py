# SPDX-License-Identifier: GPL-2.0-only
"""Markdown for the job summary of a forge (GitHub's GITHUB_STEP_SUMMARY, GitLab, Forgejo)."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from html import escape

from kvet.model import Conclusion, Role
from kvet.report.answer import answer
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
from kvet.report.text import exposure_text
from kvet.report.versions import version_steps
from kvet.results.booted import booted_on
from kvet.results.record import CellRecord, RunRecord, kernels_text, label
from kvet.text import one_line, percent

MOST_LINES = 25
SPECIAL = re.compile(r"([\\`*_\[\]!|~$])")
AT_START = re.compile(r"^(\d*)([-+#>=.)])")


def markdown_report(record: RunRecord, *, measured: RunRecord | None = None) -> str:
    """The whole run as GitHub flavoured Markdown; the answer first."""
    host = record.host
    tools = f"{host.compiler}, {booted_on(record)}"
    lines = [
        f"## kvet: {record.conclusion}",
        "",
        _text(answer(record, measured=measured)),
        "",
        *_table(record),
        "",
        f"{_text(record.run)} on {_text(kernels_text(record))}; {_text(tools)}",
        "",
        *(f"- **{a.conclusion}** {_text(a.sentence)}" for a in answers(record)),
        "",
        *_versions(record),
        *_details(record),
        f"Not covered: {_text('; '.join(not_covered(record)))}.",
        "",
        "Repeat the whole run:",
        "",
        *_code([f"./harness.py {shlex.join(record.plan.command)}"]),
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


def _table(record: RunRecord) -> Iterator[str]:
    """One row for each cell; baseline and controls are below the line."""
    yield "| variant | config | conclusion | k/n | bound | exposure (median) |"
    yield "|---|---|---|--:|--:|---|"
    ordered = judged_first(record.cells)
    judged = sum(cell.role is Role.CANDIDATE for cell in ordered)
    for number, cell in enumerate(ordered):
        if number == judged > 0:
            yield "| *judged by* | | | | | |"
        bound = percent(cell.upper_bound) if cell.outcome == "PASS" else "-"
        row = (
            _text(role_text(cell)),
            _text(label(record.cells, cell)),
            f"**{outcome(cell)}**",
            cell.count,
            bound,
            _text(exposure_text(cell)),
        )
        yield f"| {' | '.join(row)} |"


def _versions(record: RunRecord) -> Iterator[str]:
    """What changed from version to version, with git's range-diff."""
    for step in version_steps(record):
        yield f"**{_text(step.title)}**: {_text(step.code)}"
        yield ""
        if step.whole:
            yield from ("<details><summary>range-diff</summary>", "")
            yield from (*_code(step.whole.splitlines()), "</details>", "")


def _details(record: RunRecord) -> Iterator[str]:
    """A folded block for each cell with something to show."""
    for cell in judged_first(record.cells):
        body = [*_warnings(cell), *_findings(record, cell)]
        if body:
            name = f"{role_text(cell)}, {label(record.cells, cell)}: {cell.conclusion}"
            yield f"<details><summary>{escape(one_line(name))}</summary>"
            yield ""
            yield from body
            yield "</details>"
            yield ""


def _warnings(cell: CellRecord) -> Iterator[str]:
    added = cell.build.warnings_added
    if added:
        yield f"{len(added)} compiler warnings added:"
        yield ""
        yield from _code([one_line(warning) for warning in added])
        yield ""


def _findings(record: RunRecord, cell: CellRecord) -> Iterator[str]:
    """The failed build, or the stack of the first title and the names of the others."""
    if cell.build.finding:
        yield from _code([one_line(x) for x in cell.build.finding.excerpt])
        yield ""
    for number, seen in enumerate(sightings(cell)):
        yield f"{_text(seen.title)}, in {len(seen.attempts)} of {len(cell.attempts)} attempts"
        yield ""
        if number == 0:
            command = repeat(record, cell, seen.first)
            yield from _code([*splat(seen.finding, most=MOST_LINES), "", command])
            yield ""
    if cell.conclusion is Conclusion.ERROR:
        yield _text(cell.reason)
        yield ""
        yield from _code([repeat(record, cell)])
        yield ""
