# SPDX-License-Identifier: GPL-2.0-only
"""The findings of a whole run, each once: by family and title over attempts and variants."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from rich.console import RenderableType
from rich.text import Text

from kvet.model import COUNTED_STATUSES, Finding, Role
from kvet.results.record import RunRecord

MOST_FAMILIES = 30


@dataclass(slots=True)
class Known:
    """One title of a run: where it was first seen, and in how many boots of each variant.

    `seen` and `counted` map a variant to its boots, over all its cells that
    showed the title; `first` is (cell, attempt, guest's uptime in seconds).
    """

    title: str
    family: str
    kind: str
    first: tuple[str, int, float | None]
    seen: dict[str, int] = field(default_factory=dict)
    counted: dict[str, int] = field(default_factory=dict)
    baseline: bool = False
    alone: bool = False


def known_titles(record: RunRecord) -> list[Known]:
    """The titles of a run in the order in which its cells and attempts showed them.

    `alone` is set for a title that was somewhere more than the consequence of
    another one.
    """
    found: dict[str, Known] = {}
    for cell in record.cells:
        boots = [a for a in cell.attempts if a.status in COUNTED_STATUSES]
        titles: dict[str, int] = {}
        for attempt in boots:
            for finding in attempt.findings:
                where = (cell.id, attempt.n, finding.uptime_s)
                known = found.setdefault(finding.title, _new(finding, where))
                known.alone = known.alone or not finding.suppressed
                known.baseline = known.baseline or cell.role is Role.BASELINE
            for title in {f.title for f in attempt.findings}:
                titles[title] = titles.get(title, 0) + 1
        for title, count in titles.items():
            known, name = found[title], cell.variant
            known.seen[name] = known.seen.get(name, 0) + count
            known.counted[name] = known.counted.get(name, 0) + len(boots)
    return list(found.values())


def _new(finding: Finding, where: tuple[str, int, float | None]) -> Known:
    family = finding.family or finding.title
    return Known(finding.title, family, finding.kind, where)


def families(titles: Sequence[Known]) -> dict[str, list[Known]]:
    """The titles by family; faces of one defect stand together."""
    grouped: dict[str, list[Known]] = {}
    for known in titles:
        grouped.setdefault(known.family, []).append(known)
    return grouped


def titles_table(record: RunRecord) -> Iterator[RenderableType]:
    """The text report's part: each title, whether the baseline has it, k/n, where first seen."""
    grouped = families([known for known in known_titles(record) if known.alone])
    if not grouped:
        return
    yield Text("Findings of the run, each once; faces of one defect together:", "bold")
    for family in list(grouped.values())[:MOST_FAMILIES]:
        for number, known in enumerate(family):
            yield Text(f"  {'' if number == 0 else '= '}{known.title}")
            yield Text(f"      {_told(known)}")
    if len(grouped) > MOST_FAMILIES:
        yield Text(f"  and {len(grouped) - MOST_FAMILIES} more")
    yield ""


def _told(known: Known) -> str:
    cell, attempt, uptime = known.first
    after = f" after {uptime:.1f} s" if uptime is not None else ""
    boots = ", ".join(f"{name} {k}/{known.counted[name]}" for name, k in known.seen.items())
    standing = "baseline has it" if known.baseline else "new"
    return f"{standing}; {boots}; first in {cell}/{attempt}{after}"
