# SPDX-License-Identifier: GPL-2.0-only
"""Check results as `b4 review` reads them from a check command (b4 0.15, review.rst)."""

from __future__ import annotations

import json
from collections.abc import Iterator

from kvet.model import Conclusion, Role
from kvet.report.facts import repeat, sightings, splat
from kvet.report.not_covered import not_covered
from kvet.report.text import exposure_text
from kvet.results.record import CellRecord, RunRecord, label
from kvet.text import clean, one_line, percent

STATUS = {"PASS": "pass", "FAIL": "fail"}
MOST_LINES = 30


def b4_report(record: RunRecord) -> str:
    """A JSON array with one check for each cell of a candidate.

    INCONCLUSIVE and ERROR are `warn`: neither blames the series nor clears it.
    """
    cells = [cell for cell in record.cells if cell.role is Role.CANDIDATE]
    several = len({cell.variant for cell in cells}) > 1
    checks = [_check(record, cell, several=several) for cell in cells]
    return json.dumps(checks, indent=1, ensure_ascii=False) + "\n"


def _check(record: RunRecord, cell: CellRecord, *, several: bool) -> dict[str, str]:
    """One check; `tool` is the name of its column."""
    variant = f"{cell.variant} " if several else ""
    return {
        "tool": one_line(f"kvet {variant}{label(record.cells, cell)}"),
        "status": STATUS.get(cell.conclusion, "warn"),
        "summary": one_line(f"{cell.conclusion} {_rest(cell)}"),
        "details": clean("\n".join(_details(record, cell))),
    }


def _rest(cell: CellRecord) -> str:
    count = cell.count
    if cell.conclusion is Conclusion.PASS:
        return f"{count} failed, failure rate at most {percent(cell.upper_bound)} (95%)"
    return f"{count} failed: {cell.reason}"


def _details(record: RunRecord, cell: CellRecord) -> Iterator[str]:
    """Exposure, warnings, findings, limits and the command that repeats it."""
    yield f"exposure (median): {exposure_text(cell)}"
    for warning in cell.build.warnings_added:
        yield f"added warning: {warning}"
    if cell.build.finding:
        yield from cell.build.finding.excerpt
    for seen in sightings(cell):
        yield ""
        yield f"in {len(seen.attempts)} of {len(cell.attempts)} attempts ({seen.standing}):"
        yield from splat(seen.finding, most=MOST_LINES)
    yield ""
    yield f"not covered: {'; '.join(not_covered(record))}"
    yield f"repeat: {repeat(record, cell)}"
