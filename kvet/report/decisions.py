# SPDX-License-Identifier: GPL-2.0-only
"""What the text report says of the branches of each series, and of what it touches of its judge."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.text import Text

from kvet.results.record import CellRecord, NeverSeen, RunRecord

WAIVE = "harness.py run --waive 'FILE:LINE never OUTCOME because REASON' lets it pass all the same"


def decisions_text(record: RunRecord) -> Iterator[RenderableType]:
    """For each series and column the outcomes that happened, then those that never did.

    What is waived comes last, once for all series of which it was waived.
    """
    known = [(cell, cell.decisions) for cell in record.cells if cell.decisions]
    if known:
        yield Text("Outcomes of the series' own branches that happened:", "bold")
    counts = False
    for cell, found in known:
        certain = f", {found.certain} for certain" if found.certain < found.seen else ""
        waived = sum(bool(each.waived) for each in found.never)
        left = f", {waived} waived" if waived else ""
        yield Text(f"  {_name(cell)}: {found.seen}/{found.all}{certain}{left}")
        if found.selects:
            yield _line(f"    no branch to tell by: {', '.join(found.selects)}")
        for each in found.never:
            if not each.waived:
                counts = True
                yield _line(f"    {each.place} never {each.words}: {each.text}")
    if counts:
        yield _line(f"  {WAIVE}")
    yield from _waived([(cell, found.never) for cell, found in known])


def _waived(known: Sequence[tuple[CellRecord, Sequence[NeverSeen]]]) -> Iterator[RenderableType]:
    """Each reason once, the outcomes that it waives below it."""
    reasons: dict[str, dict[tuple[str, str], dict[str, None]]] = {}
    for cell, never in known:
        for each in never:
            if each.waived:
                outcomes = reasons.setdefault(each.waived, {})
                outcomes.setdefault((each.words, each.text), {})[cell.variant] = None
    for reason, outcomes in reasons.items():
        yield Text(f"  waived: {reason}")
        for (words, text), variants in outcomes.items():
            yield _line(f"    never {words}: {text}")
            yield Text(f"      in {', '.join(variants)}")


def touches_text(record: RunRecord) -> Iterator[RenderableType]:
    """What of its judge each series touches, once for each series and kernel."""
    told: set[tuple[str, str]] = set()
    for cell in record.cells:
        key = (cell.kernel, cell.variant)
        if not cell.touches or key in told:
            continue
        told.add(key)
        yield Text(f"{cell.variant} touches what judges it:", "bold")
        for touch in cell.touches:
            yield _line(f"  {touch.rule}: {touch.place}  {touch.text}")
            yield Text(f"    waived: {touch.waived}" if touch.waived else f"    {touch.why}")


def unconfirmed_text(record: RunRecord) -> Iterator[RenderableType]:
    """What was seen and blames nobody: no access, splat, schedule or public door confirms it."""
    cells = [cell for cell in record.cells if cell.unconfirmed]
    if cells:
        yield Text("Seen and not confirmed, which blames nobody:", "bold")
    for cell in cells:
        for title in cell.unconfirmed:
            seen = sum(any(f.title == title for f in a.findings) for a in cell.attempts)
            yield _line(f"  {_name(cell)}: {title}, in {seen} of {len(cell.attempts)} attempts")


def _name(cell: CellRecord) -> str:
    return f"{cell.variant} ({cell.config}, {cell.workload})"


def _line(text: str) -> Text:
    return Text(text, overflow="ellipsis", no_wrap=True)
