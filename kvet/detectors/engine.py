# SPDX-License-Identifier: GPL-2.0-only
"""Reads a console log once, in blocks, and tells every splat in it.

Time is linear in the size of the log and memory does not depend on it: a block,
what is looked ahead for the end of a splat, and a bounded number of findings.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kvet.detectors.blame import Blamed, blame, origin
from kvet.detectors.heads import find_hits, settle, stop_line
from kvet.detectors.lines import cap_lines, clean
from kvet.detectors.reading import blocks_of_file, blocks_of_lines, blocks_of_text
from kvet.detectors.splat import Hit, Splat, cut, frames_of, is_cut_off
from kvet.detectors.table import Row
from kvet.detectors.titles import stable
from kvet.detectors.unwrap import unwrapper
from kvet.model import Finding

LOOK_AHEAD = 1 << 18
MAX_FINDINGS = 1000
MAX_ALIKE = 50
MAX_EXCERPT = 200
MAX_EXCERPT_CHARS = 1 << 15
_FAREWELL = 4096
_NEVER = (-100, -100)
_STAMPS_IN_TITLE = re.compile(r"\[ *\d+\.\d+\]")
_NO_DIGITS = dict.fromkeys(map(ord, "0123456789abcdef"))
_ORDERLY = re.compile(
    r"reboot: (?:Restarting system|Power down|machine restart)|kexec_core: Starting new kernel"
)
_RAN = re.compile(r"\[ *(?:[1-9]\d*\.\d+|0\.0*[1-9]\d*)\]")


@dataclass
class _State:
    """What is remembered from one block of the log to the next."""

    findings: list[Finding] = field(default_factory=list)
    seen: set[tuple[str, str, str]] = field(default_factory=set)
    alike: dict[str, int] = field(default_factory=dict)
    open: dict[str, tuple[int, int]] = field(default_factory=dict)
    before: str = ""
    ran: bool = False
    ran_upto: int = 0
    died: bool = False
    any_in_boot: bool = False


def scan(lines: Iterable[bytes | str]) -> list[Finding]:
    """Find every splat in `lines` (with or without their newlines), in order."""
    return _scan_blocks(blocks_of_lines(lines))


def scan_file(path: Path | str) -> list[Finding]:
    """Find every splat in the file at `path`; OSError when it cannot be read."""
    with open(path, "rb", buffering=0) as stream:
        return _scan_blocks(blocks_of_file(stream, os.fstat(stream.fileno()).st_size))


def scan_text(text: str) -> list[Finding]:
    """Find every splat in a log that is already one string."""
    return _scan_blocks(blocks_of_text(text))


def _scan_blocks(blocks: Iterator[str]) -> list[Finding]:
    state = _State()
    text = ""
    first_line = 1
    unwrap = None
    more = next(blocks, None)
    while more is not None:
        if unwrap is None:
            unwrap = unwrapper(more)
        text += cap_lines(clean(unwrap(more)))
        more = next(blocks, None)
        if more is None:
            _scan_text(state, text, len(text), first_line)
            break
        limit = text.rfind("\n", 0, max(0, len(text) - LOOK_AHEAD)) + 1
        _scan_text(state, text, limit, first_line)
        first_line += text.count("\n", 0, limit)
        text = text[limit:]
    return state.findings


def _scan_text(state: _State, text: str, limit: int, first_line: int) -> None:
    hits = find_hits(text, first_line)
    for index, hit in enumerate(hits):
        if hit.pos >= limit:
            break
        if hit.row.reboot:
            _note_boot(state, text, hit)
        elif _is_new(state, hit):
            splat = cut(text, hit, stop_line(hits, index))
            _tell(state, hit, splat)
    _note_ran(state, text, limit)
    state.ran_upto = 0
    state.before = text[max(0, limit - _FAREWELL) : limit]


def _note_ran(state: _State, text: str, upto: int) -> None:
    """Whether the kernel of the current boot got past its first time stamp."""
    state.ran = state.ran or _RAN.search(text, state.ran_upto, upto) is not None
    state.ran_upto = upto


def _is_new(state: _State, hit: Hit) -> bool:
    """Whether `hit` starts a splat, rather than being part or repetition of one."""
    row = hit.row
    if row.inside:
        start, end = state.open.get(hit.context, _NEVER)
        if row.inside == "near" and hit.number - start <= 2:
            return False
        if row.inside == "yes" and (hit.number <= end or (row.cut and state.any_in_boot)):
            return False
    if hit.line.stamp not in ("", "logger"):
        key = (hit.line.stamp, hit.line.caller, hit.line.text[:200])
        if key in state.seen:
            return False
        if len(state.seen) < 10 * MAX_FINDINGS:
            state.seen.add(key)
    return not _too_many(state, hit)


def _too_many(state: _State, hit: Hit) -> bool:
    """Count a line; whether there are more like it, or more findings, than anybody reads."""
    alike = hit.row.id + hit.line.text[:100].translate(_NO_DIGITS)
    count = state.alike[alike] = state.alike.get(alike, 0) + 1
    if len(state.alike) > 10 * MAX_FINDINGS:
        state.alike.clear()
    return count > MAX_ALIKE or len(state.findings) >= MAX_FINDINGS


def _note_boot(state: _State, text: str, hit: Hit) -> None:
    """A kernel starts: a finding when another one ran until then and did not say good-bye."""
    before = text[max(0, hit.pos - _FAREWELL) : hit.pos]
    if len(before) < _FAREWELL:
        before = (state.before + before)[-_FAREWELL:]
    _note_ran(state, text, hit.pos)
    silent = state.ran and not state.any_in_boot and not _ORDERLY.search(before)
    if silent and not _too_many(state, hit):
        row = hit.row
        state.findings.append(
            Finding(row.kind, row.title, "", hit.number, hit.number, family=row.title)
        )
    state.open.clear()
    state.ran = state.died = state.any_in_boot = False


def _tell(state: _State, hit: Hit, splat: Splat) -> None:
    """Add the finding of one splat; the first row that fits all of it names it."""
    row, values = settle(hit, splat)
    who = blame(row, values.get("at") or "", splat)
    values["func"] = who.func
    if any("{origin}" in alt for alt in row.alt):
        values["origin"] = origin(row, splat)
    title = stable(row.title.format(**values))
    nested = hit.number <= state.open.get(hit.context, _NEVER)[1]
    state.open[hit.context] = (hit.number, splat.last if splat.closed else splat.last + 20)
    state.findings.append(
        Finding(
            kind=row.kind.format(**values),
            title=title,
            func=who.func if who.found else "",
            first_line=hit.number,
            last_line=splat.last,
            frames=frames_of(splat),
            alt_titles=_alt_titles(row, title, values, who),
            family=f"{row.family or row.kind.format(**values)} {who.func or title}",
            corrupted=_STAMPS_IN_TITLE.search(title) is not None
            or is_cut_off(row, splat, who.found),
            suppressed=state.died or nested,
            excerpt=_excerpt(splat.texts),
        )
    )
    state.any_in_boot = True
    state.died = state.died or row.fatal


def _alt_titles(row: Row, title: str, values: dict[str, str], who: Blamed) -> tuple[str, ...]:
    """Other titles of the defect, also with the function's name as the log had it."""
    found = [alt.format(**values) for alt in row.alt]
    if who.raw != who.func:
        raw = dict(values, func=who.raw)
        found += [text.format(**raw) for text in (row.title, *row.alt)]
    return tuple(sorted({stable(alt) for alt in found} - {title}))


def _excerpt(texts: Sequence[str]) -> tuple[str, ...]:
    """The first lines of a splat, as many as a bounded number of characters holds."""
    head = tuple(texts[:MAX_EXCERPT])
    if sum(map(len, head)) <= MAX_EXCERPT_CHARS:
        return head
    left = MAX_EXCERPT_CHARS
    for count, text in enumerate(head):
        left -= len(text)
        if left < 0:
            return head[: max(count, 1)]
    return head
