# SPDX-License-Identifier: GPL-2.0-only
"""Reads results of tests from what programs print and what the kernel logs: TAP 13 and KTAP.

Also the end of a torture test and the count that a test module of the kernel prints. A line
that is none of these is passed over: output of tests has all sorts of things between.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

OK, NOT_OK, SKIP = "ok", "not ok", "skip"
WORST = (NOT_OK, OK, SKIP)
RESULT = re.compile(r"^(?P<indent> *)(?P<not>not )?ok (?P<n>\d+)\b(?: - | -|- )?(?P<rest>.*)$")
PLAN = re.compile(r"^(?P<indent> *)1\.\.(?P<n>\d+)\s*(?P<skip># SKIP.*)?$")
DIRECTIVE = re.compile(r"\s*(?<!\\)#\s*(SKIP|TODO|XFAIL|TIMEOUT|ERROR)\b.*$", re.IGNORECASE)
VERSION = re.compile(r"^ *(?:K?TAP version \d+|# Subtest: .*)$")
STAMP = re.compile(r"^(?:<\d+>)?\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? ")
TORTURE = re.compile(r"^(?P<type>\S+?)-torture:--- End of test: (?P<end>\w+)")
COUNTED = re.compile(
    r"^(?P<name>test_\w+|\w+_test): (?:(?P<all>all \d+ tests passed)|failed \d+ out of \d+ tests)"
)
# test_vmalloc sums each of its cases up; lib/test_xarray.c and its like tell how many passed
SUMMARY = re.compile(
    r"^(?:\w+: )?Summary: (?P<name>\w+) passed: (?P<ok>\d+) failed: (?P<bad>\d+)\b"
)
SHARE = re.compile(r"^(?P<name>\w+): (?P<ok>\d+) of (?P<all>\d+) tests passed")


@dataclass(slots=True)
class _Level:
    """The results at one depth of indentation that no parent has claimed yet."""

    results: dict[str, str] = field(default_factory=dict)
    planned: int | None = None
    seen: int = 0


def read_results(lines: Iterable[str]) -> dict[str, str]:
    """The results in `lines` by name, a subtest's behind that of its parent and a dot.

    Of a name that comes again the worst counts. A plan that promised more than came adds a
    result of its own, which is not ok.
    """
    levels: dict[int, _Level] = {}
    for line in lines:
        _take(line.rstrip(), levels)
    found: dict[str, str] = {}
    for depth in sorted(levels):
        merge(found, _finished(levels[depth]))
    return found


def _take(line: str, levels: dict[int, _Level]) -> None:
    if found := RESULT.match(line):
        depth = len(found["indent"])
        below = [levels.pop(d) for d in sorted(levels) if d > depth]
        level = levels.setdefault(depth, _Level())
        name, outcome = _named(found)
        level.seen += 1
        children: dict[str, str] = {}
        for each in below:
            merge(children, {f"{name}.{k}": v for k, v in _finished(each).items()})
        # a parent says no more than its children do, when there are any
        merge(level.results, children or {name: outcome})
        if outcome == NOT_OK and NOT_OK not in children.values():
            merge(level.results, {name: outcome})
    elif found := PLAN.match(line):
        level = levels.setdefault(len(found["indent"]), _Level())
        level.planned, level.seen = int(found["n"]), 0
        if found["skip"] or not level.planned:
            merge(level.results, {"all": SKIP})


def _named(found: re.Match[str]) -> tuple[str, str]:
    """Name and outcome of one result line."""
    rest = found["rest"]
    directive = DIRECTIVE.search(rest)
    name = " ".join((rest[: directive.start()] if directive else rest).split()) or found["n"]
    if directive and directive.group(1).upper() in ("SKIP", "TODO", "XFAIL"):
        return name, SKIP
    return name, NOT_OK if found["not"] else OK


def _finished(level: _Level) -> dict[str, str]:
    if level.planned is not None and level.seen < level.planned:
        return {**level.results, "every planned result": NOT_OK}
    return level.results


def merge(into: dict[str, str], more: dict[str, str]) -> None:
    """Add results; of two for one name the worse stays."""
    for name, outcome in more.items():
        into[name] = min(outcome, into.get(name, outcome), key=WORST.index)


def read_log(text: str) -> dict[str, str]:
    """The results in a kernel log: KTAP of KUnit, ends of torture tests, counts of test modules."""
    lines = [STAMP.sub("", line) for line in text.splitlines()]
    found = read_results(_ktap_alone(lines))
    for line in lines:
        if end := TORTURE.match(line):
            outcome = OK if end["end"] == "SUCCESS" else NOT_OK
            merge(found, {f"{end['type']}-torture": outcome})
        elif counted := COUNTED.match(line):
            merge(found, {counted["name"]: OK if counted["all"] else NOT_OK})
        elif summed := SUMMARY.match(line):
            good = int(summed["ok"]) > 0 and int(summed["bad"]) == 0
            merge(found, {summed["name"]: OK if good else NOT_OK})
        elif share := SHARE.match(line):
            good = 0 < int(share["all"]) == int(share["ok"])
            merge(found, {share["name"]: OK if good else NOT_OK})
    return found


def _ktap_alone(lines: Iterable[str]) -> Iterator[str]:
    """The lines of a log from the first that begins a KTAP report."""
    begun = False
    for line in lines:
        begun = begun or bool(VERSION.match(line))
        if begun:
            yield line
