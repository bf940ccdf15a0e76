# SPDX-License-Identifier: GPL-2.0-only
"""What changed from version to version: the verdict of each side, the code, git's range-diff."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kvet.report.answer import change_words
from kvet.report.facts import outcome
from kvet.results.changes import ChangeRecord
from kvet.results.record import RunRecord
from kvet.source.rangediff import heads

MOST_LINES = 40


@dataclass(frozen=True, slots=True)
class Change:
    """One step between two versions: both with their verdicts, what its code says, its patches."""

    title: str
    code: str
    patches: tuple[str, ...]
    whole: str


def version_steps(record: RunRecord) -> Iterator[Change]:
    """The steps of a run, in the order of its versions."""
    for change in record.changes:
        yield Change(
            title=f"{_side(record, change, change.old)} -> {_side(record, change, change.new)}"
            f", {change.config}",
            code=change_words(record, change) if change.same is not None else "",
            patches=tuple(heads(change.range_diff)),
            whole=change.range_diff,
        )


def _side(record: RunRecord, change: ChangeRecord, name: str) -> str:
    """A version with its verdicts, over all that it was run on."""
    cells = [
        c for c in record.cells
        if (c.variant, c.kernel, c.config) == (name, change.kernel, change.config)
    ]  # fmt: skip
    told = dict.fromkeys(f"{outcome(c)} {c.count}" for c in cells)
    return f"{name} ({', '.join(told)})"


def version_lines(record: RunRecord) -> Iterator[str]:
    """The steps as lines of text; of a range-diff the first lines."""
    steps = list(version_steps(record))
    if steps:
        yield "What changed between the versions:"
    for step in steps:
        yield f"  {step.title}"
        if step.code:
            yield f"    {step.code}"
        lines = step.whole.splitlines()
        yield from (f"    {line}" for line in lines[:MOST_LINES])
        if len(lines) > MOST_LINES:
            yield f"    and {len(lines) - MOST_LINES} lines more, in --format html"
    if steps:
        yield ""
