# SPDX-License-Identifier: GPL-2.0-only
"""Finds the function to blame in one splat.

A way is a list of steps that move down the lines of the splat: some only look
for a place, some collect the functions found there.  The first way that
collects any function wins; the row's `pick` chooses among them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from kvet.detectors.frames import ARM_FRAME, PLACES, is_injected, readable
from kvet.detectors.splat import Splat
from kvet.detectors.table import BlameRules, Row, blame_rules

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


def blame(row: Row, header: str, splat: Splat) -> Blamed:
    """Blame a function for `splat`, whose first line named the symbol `header`."""
    if not row.ways:
        return Blamed("", "")
    try:
        for way in row.ways:
            picked = _pick(row.pick, _walk(way, header, splat, row))
            if picked is not None:
                return picked
    except _Mixed:
        pass
    return Blamed(NOBODY, NOBODY)


def origin(row: Row, splat: Splat) -> str:
    """The function that made the uninitialised value of a KMSAN report."""
    raws = _walk(("origin", "frames"), "", splat, row)
    return _canonical(raws[0]) if raws else NOBODY


def _walk(way: Sequence[str], header: str, splat: Splat, row: Row) -> list[str]:
    """The functions that one way finds; just the first where the row wants no more."""
    raws: list[str] = []
    at = 0
    for step in way:
        if step == "header-any":
            return [header]
        if step == "header":
            at = 1
            if header and not row.skips(header):
                raws.append(header)
        elif step == "frames":
            at = _collect(splat, at, row, raws)
        else:
            at = _advance(step, splat.texts, at, row, raws)
        if at < 0 or (raws and row.pick == "first"):
            break
    return raws


def _advance(step: str, texts: Sequence[str], at: int, row: Row, raws: list[str]) -> int:
    """Move below the next line of the kind `step`, taking the function it names; -1 if none."""
    literal, regex = PLACES[step]
    for index in range(at, len(texts)):
        text = texts[index]
        if literal in text:
            match = regex.match(text)
            if match:
                name = match.groupdict().get("at")
                if name and not row.skips(name):
                    raws.append(name)
                return index + 1
    return -1


def _collect(splat: Splat, at: int, row: Row, raws: list[str]) -> int:
    """Collect frames from line `at` to the next trace; returns the line after its start."""
    end = next((start for start in splat.starts if start >= at), len(splat.texts))
    for index, match in splat.frames.items():
        if index < at:
            continue
        if index >= end:
            break
        for name in _names(match):
            if is_injected(name):
                raise _Mixed
            if not (raws and raws[-1] == name) and not row.skips(name):
                raws.append(name)
        if raws and row.pick == "first":
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
