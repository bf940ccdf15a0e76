# SPDX-License-Identifier: GPL-2.0-only
"""Reads a console log once, in blocks, and tells every splat in it.

Time is linear in the size of the log and memory does not depend on it: a block,
what is looked ahead for the end of a splat, and a bounded number of findings.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path

from kvet.detectors.blame import Blamed, blame, origin
from kvet.detectors.lines import MAX_LINE, cap_lines, clean, strip
from kvet.detectors.splat import Hit, Splat, cut, frames_of, is_cut_off
from kvet.detectors.table import Row, table
from kvet.detectors.titles import stable
from kvet.detectors.unwrap import unwrapper
from kvet.model import Finding

BLOCK = 1 << 20
LOOK_AHEAD = 1 << 18
MAX_FINDINGS = 1000
MAX_ALIKE = 50
MAX_EXCERPT = 200
_STAMPS_IN_TITLE = re.compile(r"\[ *\d+\.\d+\]")
_NO_DIGITS = dict.fromkeys(map(ord, "0123456789abcdef"))
_ORDERLY = re.compile(
    r"reboot: (?:Restarting system|Power down|machine restart)|kexec_core: Starting new kernel"
)
_RAN = re.compile(r"\[ *(?:[1-9]\d*\.\d+|0\.\d*[1-9]\d*)\]")


@dataclass
class _State:
    """What is remembered from one block of the log to the next."""

    findings: list[Finding] = field(default_factory=list)
    seen: set[tuple[str, str, str]] = field(default_factory=set)
    alike: dict[str, int] = field(default_factory=dict)
    open: dict[str, tuple[int, int]] = field(default_factory=dict)
    ran: bool = False
    died: bool = False
    any_in_boot: bool = False


def scan(lines: Iterable[bytes | str]) -> list[Finding]:
    """Find every splat in `lines` (with or without their newlines), in order."""
    return _scan_blocks(_joined(lines))


def scan_file(path: Path | str) -> list[Finding]:
    """Find every splat in the file at `path`; OSError when it cannot be read."""
    with open(path, "rb", buffering=0) as stream:
        size = os.fstat(stream.fileno()).st_size
        if 0 < size < BLOCK:
            return _scan_blocks(iter((stream.readall().decode("utf-8", "replace"),)))
        return _scan_blocks(_blocks(stream))


def scan_text(text: str) -> list[Finding]:
    """Find every splat in a log that is already one string."""
    return _scan_blocks(iter((text,)))


def _joined(lines: Iterable[bytes | str]) -> Iterator[str]:
    held: list[str] = []
    size = 0
    for line in lines:
        text = line.decode("utf-8", "replace") if isinstance(line, bytes) else line
        held.append(text if text.endswith("\n") else text + "\n")
        size += len(text)
        if size >= BLOCK:
            yield "".join(held)
            held, size = [], 0
    if held:
        yield "".join(held)


def _blocks(stream: FileIO) -> Iterator[str]:
    """Blocks of whole lines; the far end of an endless line is dropped."""
    rest = b""
    while block := stream.read(BLOCK):
        end = block.rfind(b"\n") + 1
        if not end:
            rest = (rest + block[:MAX_LINE])[:MAX_LINE]
            continue
        yield (rest + block[:end]).decode("utf-8", "replace")
        rest = block[end:]
    if rest:
        yield rest.decode("utf-8", "replace")


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
            splat = cut(text, hit, _stop_line(hits, index))
            _tell(state, hit, splat)
    if not state.ran:
        state.ran = _RAN.search(text, 0, limit) is not None


def find_hits(text: str, first_line: int = 1) -> list[Hit]:
    """Every line of `text` that some row fits, in order."""
    looks = table()
    places = [match.start() for match in looks.capital_look.finditer(text)]
    for look in looks.other_looks:
        at = text.find(look)
        while at >= 0:
            places.append(at)
            at = text.find(look, at + len(look))
    places.sort()
    hits: list[Hit] = []
    done = counted = 0
    number = first_line
    for place in places:
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


def fitting_row(body: str, *, timed: bool) -> Row | None:
    """The first row whose head fits a line's own text."""
    for row in table().rows:
        if row.has in body and row.regex.match(body) and (timed or not row.timed):
            return row
    return None


def _stop_line(hits: list[Hit], index: int) -> int:
    """Number of the line at which the next splat of the same context begins."""
    hit = hits[index]
    for other in hits[index + 1 : index + 200]:
        if other.row.reboot:
            return other.number
        if not other.row.inside and (not hit.line.caller or other.context == hit.context):
            return other.number
    return 1 << 60


def _is_new(state: _State, hit: Hit) -> bool:
    """Whether `hit` starts a splat, rather than being part or repetition of one."""
    row = hit.row
    if row.inside:
        start, end = state.open.get(hit.context, (0, 0))
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
    alike = row.id + hit.line.text[:100].translate(_NO_DIGITS)
    state.alike[alike] = state.alike.get(alike, 0) + 1
    if len(state.alike) > 10 * MAX_FINDINGS:
        state.alike.clear()
    return state.alike[alike] <= MAX_ALIKE and len(state.findings) < MAX_FINDINGS


def _note_boot(state: _State, text: str, hit: Hit) -> None:
    """A kernel starts: a finding when another one ran until then and did not say good-bye."""
    before = text[max(0, hit.pos - 4096) : hit.pos]
    ran = state.ran or _RAN.search(text, 0, hit.pos) is not None
    if ran and not state.any_in_boot and not _ORDERLY.search(before):
        row = hit.row
        state.findings.append(
            Finding(row.kind, row.title, "", hit.number, hit.number, family=row.title)
        )
    state.open.clear()
    state.ran = state.died = state.any_in_boot = False


def _tell(state: _State, hit: Hit, splat: Splat) -> None:
    """Add the finding of one splat; the first row that fits all of it names it."""
    row, values = _settle(hit, splat)
    who = blame(row, values.get("at") or "", splat)
    values["func"] = who.func
    if any("{origin}" in alt for alt in row.alt):
        values["origin"] = origin(row, splat)
    title = stable(row.title.format(**values))
    start_of_open = state.open.get(hit.context, (0, 0))
    nested = hit.number <= start_of_open[1]
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
            excerpt=tuple(splat.texts[:MAX_EXCERPT]),
        )
    )
    state.any_in_boot = True
    state.died = state.died or row.fatal


def _settle(hit: Hit, splat: Splat) -> tuple[Row, dict[str, str]]:
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


def _alt_titles(row: Row, title: str, values: dict[str, str], who: Blamed) -> tuple[str, ...]:
    """Other titles of the defect, also with the function's name as the log had it."""
    found = [alt.format(**values) for alt in row.alt]
    if who.raw != who.func:
        raw = dict(values, func=who.raw)
        found += [text.format(**raw) for text in (row.title, *row.alt)]
    return tuple(sorted({stable(alt) for alt in found} - {title}))
