# SPDX-License-Identifier: GPL-2.0-only
"""What a series changes of its judge: a look at its diff by the rules of `trust.yaml`.

A series runs in the kernel that judges it. It may have good reasons to touch
probes, lockdep or the console: then the waiver that lets it pass says them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import yaml
from unidiff.errors import UnidiffParseError
from unidiff.patch import PatchedFile, PatchSet

from kvet.model import Waiver
from kvet.results.record import Touch
from kvet.run.waivers import waived_rule
from kvet.source.series import AppliedSeries

RULES = Path(__file__).with_name("trust.yaml")
COMMENT = re.compile(r"\s*(?:/\*|\*(?:\s|/|$)|//)")
# code and what decides which code there is; documents change nothing
READ = (".c", ".h", ".S", ".lds")
UNREAD = "unread"


@dataclass(frozen=True, slots=True)
class Rule:
    """One way to touch the judge: paths, lines that come, lines that go."""

    name: str
    why: str
    files: tuple[str, ...] = ()
    added: re.Pattern[str] | None = None
    removed: re.Pattern[str] | None = None


@cache
def rules() -> tuple[Rule, ...]:
    """The rules of trust.yaml."""
    rows = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    return tuple(
        Rule(
            name=row["name"],
            why=row["why"],
            files=tuple(row.get("files", ())),
            added=re.compile(row["added"]) if "added" in row else None,
            removed=re.compile(row["removed"]) if "removed" in row else None,
        )
        for row in rows
    )


def touches(series: AppliedSeries, waivers: Sequence[Waiver]) -> tuple[Touch, ...]:
    """What of its judge `series` touches, each rule and place once, in the order of the rules."""
    found = dict.fromkeys(
        Touch(rule, place, text, why, waived_rule(waivers, rule))
        for rule, place, text, why in _found(series.diff, series.changed)
    )
    order = {rule.name: number for number, rule in enumerate(rules())}
    return tuple(sorted(found, key=lambda t: order.get(t.rule, len(order))))


def trust_doubts(found: Sequence[Touch]) -> list[str]:
    """Why silence is no PASS: what the series touches of its judge and nobody waived."""
    counts = [touch for touch in found if not touch.waived]
    if not counts:
        return []
    first = f"{counts[0].place} {counts[0].text}".strip()
    more = f" and {len(counts) - 1} more" if len(counts) > 1 else ""
    names = ", ".join(dict.fromkeys(touch.rule for touch in counts))
    return [f"the series touches what judges it ({names}): {first}{more}"]


def _found(diff: str, changed: Mapping[str, str]) -> Iterator[tuple[str, str, str, str]]:
    """Rule, place, text and why of every touch."""
    for rule in rules():
        for path in sorted(changed):
            if any(fnmatchcase(path, glob) for glob in rule.files):
                yield rule.name, path, "", rule.why
    read = set()
    for file in _files(diff):
        read.add(file.path)
        if file.path.endswith(READ):
            for line in (line for hunk in file for line in hunk):
                yield from _line_touches(file.path, line)
    unread = [p for p in sorted(changed) if p.endswith(READ) and p not in read]
    if unread:
        yield UNREAD, unread[0], "", "the series is too long to be read whole"


def _files(diff: str) -> Sequence[PatchedFile]:
    """The files of a diff; none of one that cannot be read."""
    try:
        return list(PatchSet(diff))
    except UnidiffParseError:
        return []


def _line_touches(path: str, line: object) -> Iterator[tuple[str, str, str, str]]:
    """The touches of one line of a diff, comments left out."""
    added, removed = getattr(line, "is_added", False), getattr(line, "is_removed", False)
    text = str(getattr(line, "value", "")).strip()
    if not (added or removed) or COMMENT.match(text):
        return
    number = getattr(line, "target_line_no", None) or getattr(line, "source_line_no", 0)
    for rule in rules():
        pattern = rule.added if added else rule.removed
        if pattern and pattern.search(text):
            yield rule.name, f"{path}:{number}", text, rule.why
