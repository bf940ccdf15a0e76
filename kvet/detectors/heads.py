# SPDX-License-Identifier: GPL-2.0-only
"""Finds the lines of a console text that begin a splat, and the table row of each."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

from kvet.detectors.lines import MAX_LINE, NO_PROCESS, PLAIN, UNTAGGED, Stripped, strip
from kvet.detectors.prefix import Sample, recurs
from kvet.detectors.search import places
from kvet.detectors.splat import Hit, Splat, Stop
from kvet.detectors.table import Row, table

MAX_STRANGE = 1000
NO_STOP = Stop(1 << 60)


_BRACKETED = re.compile(r"\[ (?:BUG|INFO): .* \]$")
"""The first lines of lockdep's reports, which no other text looks like."""


class Looked(NamedTuple):
    """A line in which the first look found something: its start, its own text, its row."""

    start: int
    raw: str
    line: Stripped
    row: Row | None


def look(text: str) -> list[Looked]:
    """Every line of `text` that may begin a splat, in order."""
    found = []
    done = 0
    for place in places(table().look, text):
        if place < done:
            continue
        start = text.rfind("\n", 0, place) + 1
        done = text.find("\n", place)
        done = len(text) if done < 0 else done
        line = text[start : min(done, start + MAX_LINE)]
        stripped = strip(line, place - start)
        body = stripped.text.lstrip()
        row = fitting_row(body, timed=stripped.stamp not in ("", UNTAGGED)) if body else None
        glued = _BRACKETED.search(body) if row is None and stripped.stamp != "user" else None
        if glued and stripped.stamp:
            body = body[glued.start() :]
            row = fitting_row(body, timed=True)
        if body is not stripped.text:
            stripped = stripped._replace(text=body)
        found.append(Looked(start, line, stripped, row))
    return found


def find_hits(text: str, first_line: int = 1, looked: Sequence[Looked] | None = None) -> list[Hit]:
    """Every line of `text` that some row fits, in order; `looked` is what `look` found there."""
    hits: list[Hit] = []
    counted, number = 0, first_line
    for start, _, line, row in look(text) if looked is None else looked:
        if row is not None:
            number += text.count("\n", counted, start)
            counted = start
            hits.append(Hit(start, number, line, row))
    return hits


def strange(text: str, looked: Sequence[Looked]) -> list[Sample]:
    """Lines that hold a splat's first line behind something unknown; mostly there are none."""
    samples = []
    for start, raw, line, row in looked[:MAX_STRANGE]:
        plain = PLAIN.match(raw)
        if row is not None and plain and plain.end() == line.start:
            continue
        if row is None or line.stamp == "user":
            at = _unanchored(raw)
            if line.stamp == "user" and not NO_PROCESS.fullmatch(raw, 0, at):
                continue
        else:
            # glued to the rest of another line, behind an unknown prefix, or indented
            at = line.start if line.start and strip(raw).start != line.start else 0
            at = at or (len(raw) - len(raw.lstrip()) if not line.start else 0)
        sample = Sample(raw[:at], raw[at:][:80])
        if at and recurs(sample, text, start + len(raw) + 1):
            samples.append(sample)
    return samples


def _unanchored(line: str) -> int:
    """Where in `line` the first text begins that some row fits; 0 when none does."""
    near = (head for word, heads in _heads() if word in line for head in heads)
    rows = (one.row for one in near if one.has in line and not (one.row.timed or one.row.reboot))
    found = (row.regex.search(line) for row in rows)
    return min((match.start() for match in found if match), default=0)


class _Head(NamedTuple):
    """What is tried of a row, and its place in the order of the table."""

    place: int
    has: str
    match: Callable[[str], re.Match[str] | None]
    row: Row


def fitting_row(body: str, *, timed: bool) -> Row | None:
    """The first row whose head fits a line's own text."""
    best: _Head | None = None
    for word, heads in _heads():
        if best is not None and heads[0].place > best.place:
            break
        if word in body:
            for head in heads:
                if best is not None and head.place > best.place:
                    break
                if head.has in body and (timed or not head.row.timed) and head.match(body):
                    best = head
                    break
    return best.row if best else None


@cache
def _heads() -> tuple[tuple[str, tuple[_Head, ...]], ...]:
    """The rows by the first word of their literal: most lines hold none of these words.

    Groups and the rows in each are in the order of the table.
    """
    groups: dict[str, list[_Head]] = {}
    for place, row in enumerate(table().rows):
        word = row.has.split(" ", 1)[0]
        groups.setdefault(word, []).append(_Head(place, row.has, row.regex.match, row))
    return tuple((word, tuple(heads)) for word, heads in groups.items())


def settle(hit: Hit, splat: Splat) -> tuple[Row, dict[str, str]]:
    """The first row that fits head and body, with the values of its groups."""
    head = hit.line.text
    rows = table().rows
    at = rows.index(hit.row) if hit.row in rows else len(rows)
    for row in rows[at:] or (hit.row,):
        if row.has not in head:
            continue
        match = row.regex.match(head)
        if not match:
            continue
        values = {key: value or "" for key, value in match.groupdict().items()}
        if row.also:
            also = next(filter(None, map(row.also_regex.search, splat.texts[1:])), None)
            if also is None:
                continue
            values.update((k, v or "") for k, v in also.groupdict().items())
        return row, values
    row = hit.row
    plain = Row(row.id, row.kind, row.has, row.match, "{head}", (), cut=True, family=row.family)
    return plain, {"head": head.strip("[] ")}


def next_stop(hits: list[Hit], index: int) -> Stop:
    """Where the next splat of the same context begins."""
    hit = hits[index]
    for other in hits[index + 1 : index + 200]:
        if other.row.reboot:
            return Stop(other.number)
        if not other.row.inside and (not hit.line.caller or other.context == hit.context):
            return Stop(other.number, bool(hit.cpu and other.cpu and hit.cpu != other.cpu))
    return NO_STOP
