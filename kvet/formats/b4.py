# SPDX-License-Identifier: GPL-2.0-only
"""Check results as `b4 review` reads them from a check command (b4 0.15, review.rst)."""

from __future__ import annotations

import json
from collections.abc import Iterator

from kvet.formats import Record, clean, label, one_line, percent, repeat, sightings, splat
from kvet.gaps import not_covered
from kvet.report import exposure_text

STATUS = {"PASS": "pass", "FAIL": "fail"}
MOST_LINES = 30


def b4_report(record: Record) -> str:
    """A JSON array with one check for each cell of a candidate.

    INCONCLUSIVE and ERROR are `warn`: neither blames the series nor clears it.
    """
    cells = [cell for cell in record["cells"] if cell["role"] == "candidate"]
    several = len({cell["variant"] for cell in cells}) > 1
    checks = [_check(record, cell, several=several) for cell in cells]
    return json.dumps(checks, indent=1, ensure_ascii=False) + "\n"


def _check(record: Record, cell: Record, *, several: bool) -> dict[str, str]:
    """One check; `tool` is the name of its column."""
    variant = f"{cell['variant']} " if several else ""
    return {
        "tool": one_line(f"kvet {variant}{label(record, cell)}"),
        "status": STATUS.get(cell["conclusion"], "warn"),
        "summary": one_line(f"{cell['conclusion']} {_rest(cell)}"),
        "details": clean("\n".join(_details(record, cell))),
    }


def _rest(cell: Record) -> str:
    count = f"{cell['failures']}/{cell['runs']}"
    if cell["conclusion"] == "PASS":
        return f"{count} failed, failure rate at most {percent(cell['upper_bound'])} (95%)"
    return f"{count} failed: {cell['reason']}"


def _details(record: Record, cell: Record) -> Iterator[str]:
    """Exposure, warnings, findings, limits and the command that repeats it."""
    yield f"exposure (median): {exposure_text(cell)}"
    for warning in cell["build"]["warnings_added"]:
        yield f"added warning: {warning}"
    if cell["build"]["finding"]:
        yield from cell["build"]["finding"]["excerpt"]
    for seen in sightings(cell):
        yield ""
        yield f"in {len(seen.attempts)} of {len(cell['attempts'])} attempts ({seen.standing}):"
        yield from splat(seen.finding, most=MOST_LINES)
    yield ""
    yield f"not covered: {'; '.join(not_covered(record))}"
    yield f"repeat: {repeat(record, cell)}"
