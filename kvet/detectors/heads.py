# SPDX-License-Identifier: GPL-2.0-only
"""Finds the lines of a console text that begin a splat, and the table row of each."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from kvet.detectors.lines import MAX_LINE, strip
from kvet.detectors.splat import Hit, Splat
from kvet.detectors.table import Row, table


def find_hits(text: str, first_line: int = 1) -> list[Hit]:
    """Every line of `text` that some row fits, in order."""
    hits: list[Hit] = []
    done = counted = 0
    number = first_line
    for place in _places(text):
        if place < done:
            continue
        start = text.rfind("\n", 0, place) + 1
        done = text.find("\n", place)
        done = len(text) if done < 0 else done
        line = text[start : min(done, start + MAX_LINE)]
        stripped = strip(line, place - start)
        body = stripped.text.lstrip()
        row = fitting_row(body, timed=bool(stripped.stamp)) if body else None
        if row is not None:
            number += text.count("\n", counted, start)
            counted = start
            hits.append(Hit(start, number, stripped._replace(text=body), row))
    return hits


def _places(text: str) -> list[int]:
    """Where the first look finds something, in order."""
    looks = table()
    places = [match.start() for match in looks.capital_look.finditer(text)]
    for look in looks.other_looks:
        at = text.find(look)
        while at >= 0:
            places.append(at)
            at = text.find(look, at + len(look))
    places.sort()
    return places


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
    """The rows by the first word of their literal: most lines hold none of these words."""
    groups: dict[str, list[_Head]] = {}
    for place, row in enumerate(table().rows):
        word = row.has.split(" ", 1)[0]
        groups.setdefault(word, []).append(_Head(place, row.has, row.regex.match, row))
    return tuple((word, tuple(heads)) for word, heads in groups.items())


def settle(hit: Hit, splat: Splat) -> tuple[Row, dict[str, str]]:
    """The first row that fits head and body, with the values of its groups."""
    head = hit.line.text
    rows = table().rows
    for row in rows[rows.index(hit.row) :]:
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


def stop_line(hits: list[Hit], index: int) -> int:
    """Number of the line at which the next splat of the same context begins."""
    hit = hits[index]
    for other in hits[index + 1 : index + 200]:
        if other.row.reboot:
            return other.number
        if not other.row.inside and (not hit.line.caller or other.context == hit.context):
            return other.number
    return 1 << 60
