# SPDX-License-Identifier: GPL-2.0-only
"""Finds the function to blame in one splat.

A way is a list of steps that move down the lines of the splat: some only look
for a place, some collect the functions found there.  The first way that
collects any function wins; the row's `pick` chooses among them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

from kvet.detectors.frames import ARM_FRAME, PLACES, is_injected, readable
from kvet.detectors.splat import Splat
from kvet.detectors.table import BlameRules, Row, blame_rules, helper_group, skip_regex

NOBODY = "corrupted"


class Blamed(NamedTuple):
    """The function as titles show it and as the log named it."""

    func: str
    raw: str

    @property
    def found(self) -> bool:
        return self.raw != NOBODY


class _Mixed(Exception):
    """Frames of an injected fault stand among those of the splat."""


class Passed(NamedTuple):
    """A function that was not blamed, and by which rule."""

    func: str
    rule: str


class Walk(NamedTuple):
    """One search through a splat: what was found, what was passed over."""

    row: Row
    splat: Splat
    header: str
    raws: list[str]
    passed: list[Passed] | None

    def takes(self, name: str) -> bool:
        """Note `name`; whether it may be blamed."""
        rule = rule_against(self.row, name)
        if not rule and self.row.pick == "first":
            rule = _self_test(name, self.splat)
        if rule and self.passed is not None:
            self.passed.append(Passed(name, rule))
        return not rule


def blame(row: Row, header: str, splat: Splat, passed: list[Passed] | None = None) -> Blamed:
    """Blame a function for `splat`, whose first line named the symbol `header`.

    What was passed over on the way that led to it goes to `passed`.
    """
    if not row.ways:
        return Blamed("", "")
    try:
        for way in chain(row.ways, _last_resorts(row, splat)):
            walk = Walk(row, splat, header, [], None if passed is None else [])
            _walk(way, walk)
            picked = _pick(row.pick if way in row.ways else "first", walk.raws)
            if picked is not None:
                if passed is not None:
                    passed.extend(walk.passed or ())
                return picked
    except _Mixed:
        pass
    return Blamed(NOBODY, NOBODY)


# a splat that was quoted without its trace still says where it happened
_LAST_RESORTS = (("lr",), ("frames",), ("header",), ("pc",))


def _last_resorts(row: Row, splat: Splat) -> Iterator[tuple[str, ...]]:
    """Ways for a splat in which those of its row found nobody."""
    if not _is_torn(row, splat):
        yield from _LAST_RESORTS


def _is_torn(row: Row, splat: Splat) -> bool:
    """Whether a trace was begun and names nobody: lines of it are lost, nobody left them out."""
    if splat.frames:
        return all(rule_against(row, match["at"]) for match in splat.frames.values())
    return bool(splat.starts) and any(map(str.strip, splat.texts[splat.starts[-1] + 1 :]))


def rule_against(row: Row, name: str) -> str:
    """The list on which `name` stands, so that it is never to blame; "" when it may be."""
    group = helper_group(name)
    if group and not (row.keep and row.keep_regex.fullmatch(name)):
        return group
    if row.skip and skip_regex(row.skip).search(name):
        return next(key for key in row.skip if skip_regex((key,)).search(name))
    return ""


def _self_test(name: str, splat: Splat) -> str:
    """A rule against `name` when a module of self-tests, which fail on purpose, called it."""
    runners = blame_rules().self_tests
    found = False
    for match in splat.frames.values():
        if found:
            return "self_tests" if match["at"] in runners else ""
        found = match["at"] == name
    return ""


def origin(row: Row, splat: Splat) -> str:
    """The function that made the uninitialised value of a KMSAN report."""
    walk = Walk(row, splat, "", [], None)
    _walk(("origin", "frames"), walk)
    return _canonical(walk.raws[0]) if walk.raws else NOBODY


def _walk(way: Sequence[str], walk: Walk) -> None:
    """Collect the functions that one way finds; just the first where the row wants no more."""
    at = 0
    for step in way:
        if step == "header-any":
            walk.raws.append(walk.header)
            return
        if step == "header":
            at = 1
            if walk.header and walk.takes(walk.header):
                walk.raws.append(walk.header)
        elif step == "frames":
            at = _collect(at, walk)
        else:
            at = _advance(step, at, walk)
        if at < 0 or (walk.raws and walk.row.pick == "first"):
            break


def _advance(step: str, at: int, walk: Walk) -> int:
    """Move below the next line of the kind `step`, taking the function it names; -1 if none."""
    literal, regex = PLACES[step]
    texts = walk.splat.texts
    for index in range(at, len(texts)):
        text = texts[index]
        if literal in text:
            match = regex.match(text)
            if match:
                name = match.groupdict().get("at")
                if name and walk.takes(name):
                    walk.raws.append(name)
                return index + 1
    return -1


def _collect(at: int, walk: Walk) -> int:
    """Collect frames from line `at` to the next trace; returns the line after its start."""
    splat, raws = walk.splat, walk.raws
    end = next((start for start in splat.starts if start >= at), len(splat.texts))
    for index, match in splat.frames.items():
        if index < at:
            continue
        if index >= end:
            break
        for name in _names(match):
            if is_injected(name):
                raise _Mixed
            if not (raws and raws[-1] == name) and walk.takes(name):
                raws.append(name)
        if raws and walk.row.pick == "first":
            break
    return end + 1


def _names(match: re.Match[str]) -> tuple[str, ...]:
    if match.re is ARM_FRAME:
        return (match["callee"] or match["bare"], match["at"])
    return (match["at"],)


def _pick(how: str, raws: list[str]) -> Blamed | None:
    if not raws:
        return None
    if how == "first":
        return Blamed(_canonical(raws[0]), raws[0])
    rules = blame_rules()
    return _pick_stall(rules, raws) if how == "stall" else _pick_hang(rules, raws)


def _pick_stall(rules: BlameRules, raws: list[str]) -> Blamed | None:
    previous = raws[0]
    for raw in raws:
        name = _canonical(raw)
        if rules.stall_anchors.search(name):
            for part, title in rules.stall_self.items():
                if part in name:
                    return Blamed(title, raw)
            return Blamed(_canonical(previous), previous)
        previous = raw
    return None


def _pick_hang(rules: BlameRules, raws: list[str]) -> Blamed | None:
    for raw in raws:
        for part, title in rules.hang_buckets.items():
            if part in raw:
                return Blamed(title or _canonical(raw), raw)
    for raw in raws:
        name = _canonical(raw)
        if not rules.hang_skip.search(name):
            return Blamed(name, raw)
    return None


def _canonical(raw: str) -> str:
    """Demangle, and drop the prefix of a system call's entry: the shortest remainder counts."""
    if raw.startswith(("_R", "_Z")):
        return readable(raw)
    best = raw
    for prefix in blame_rules().strip_prefixes:
        if raw.startswith(prefix):
            rest = raw[len(prefix) :]
            if rest and len(rest) < len(best):
                best = rest
    return best
