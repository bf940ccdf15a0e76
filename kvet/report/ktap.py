# SPDX-License-Identifier: GPL-2.0-only
"""KTAP version 1 (Documentation/dev-tools/ktap.rst): one test for each cell, a subtest an attempt.

Results agree with kvet's exit code (`kvet.report.facts.cases`): a control that is caught is ok.
"""

from __future__ import annotations

from collections.abc import Iterator

from kvet.model import Conclusion
from kvet.report.facts import Case, cases, repeat, splat
from kvet.results.record import CellRecord, RunRecord
from kvet.text import one_line

MOST_LINES = 15
SUBTEST = "    "


def ktap_report(record: RunRecord) -> str:
    """The whole run as KTAP text."""
    lines = ["KTAP version 1", f"# kvet run {_name(record.run)}", f"1..{len(record.cells)}"]
    for number, cell in enumerate(record.cells, 1):
        lines += [SUBTEST + line for line in _subtests(record, cell)]
        lines.append(_cell_line(number, cell))
    return "\n".join(lines) + "\n"


def _subtests(record: RunRecord, cell: CellRecord) -> Iterator[str]:
    """The block of one cell, not indented yet."""
    found = cases(cell)
    yield "KTAP version 1"
    yield f"# Subtest: {_name(cell.id)}"
    yield f"1..{len(found)}"
    for number, case in enumerate(found, 1):
        if case.kind == "passed" and case.message:
            yield f"# {case.message}"
        if case.finding:
            yield from (f"# {line}" for line in splat(case.finding, most=MOST_LINES))
            yield f"# repeat: {repeat(record, cell, case.n)}"
        yield _line(number, case.name, case)


def _cell_line(number: int, cell: CellRecord) -> str:
    """The result of a cell, from its worst case: failure, error, skipped, passed."""
    found = cases(cell)
    ranked = ("failure", "error", "skipped", "passed")
    worst = min(found, key=lambda case: ranked.index(case.kind))
    if cell.conclusion is Conclusion.PASS:
        # an invalid attempt, or one that showed what the baseline shows, was made up for
        worst = Case("", "passed", "", 0.0)
    return _line(number, cell.id, worst)


def _line(number: int, name: str, case: Case) -> str:
    """One result line with the directive that its kind asks for."""
    verdict = "not ok" if case.kind in ("failure", "error") else "ok"
    directive = {"error": " # ERROR ", "skipped": " # SKIP "}.get(case.kind, "")
    told = one_line(case.message).replace("#", "") if directive else ""
    return f"{verdict} {number} {_name(name)}{directive}{told}".rstrip()


def _name(text: str) -> str:
    """A test's name: `#` would begin a directive."""
    return one_line(text).replace("#", "_")
