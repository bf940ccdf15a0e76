# SPDX-License-Identifier: GPL-2.0-only
"""Reads a console log once, in blocks, and tells every splat in it.

Time is linear in the size of the log and memory does not depend on it: a block,
what is looked ahead for the end of a splat, and a bounded number of findings.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from kvet.detectors.alone import may_hold_trace, trace_alone
from kvet.detectors.blame import Blamed, blame, origin
from kvet.detectors.blocks import blocks_of_file, blocks_of_lines, blocks_of_stream, blocks_of_text
from kvet.detectors.capture import opened_stream
from kvet.detectors.edges import repaired
from kvet.detectors.heads import NO_STOP, Looked, find_hits, next_stop, settle
from kvet.detectors.lava import unwrapper
from kvet.detectors.lines import LOGGED, cap_lines, clean
from kvet.detectors.order import is_newest_first, placed, turned
from kvet.detectors.plain import Undresser
from kvet.detectors.shapes import Shape, recognises, shapes_of
from kvet.detectors.splat import CPU_LINE, MAX_FOREIGN, Hit, Splat, Stop, cut, joined
from kvet.detectors.table import Row
from kvet.detectors.titles import stable
from kvet.detectors.trace import frames_of, is_cut_off
from kvet.detectors.why import Why, why
from kvet.model import Finding

LOOK_AHEAD = 1 << 18
MAX_FINDINGS = 1000
MAX_ALIKE = 50
MAX_EXCERPT = 200
MAX_EXCERPT_CHARS = 1 << 15
_FAREWELL = 4096
_NEVER = (-100, -100)
_OOPSES = frozenset(("page-fault", "null-deref", "gpf", "oops", "bug", "list-corruption"))
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
    torn: dict[str, tuple[int, Hit, Splat]] = field(default_factory=dict)
    before: str = ""
    ran: bool = False
    ran_upto: int = 0
    died: bool = False
    any_in_boot: bool = False
    recognised: bool = False
    first_text: str = ""
    rest: str = ""
    lines_before_rest: int = 0
    reasons: list[Why | None] | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """What a log holds, and whether it could be read as one.

    `recognised` is false when no line could be told to be the kernel's; then
    `shapes` tells what the lines look like.  `reasons` go with the findings
    when they were asked for.  `damage` says why a log was read only in part, as the rest of
    a sentence that begins with its name, and `fix` what to do about it.
    """

    findings: list[Finding]
    lines: int
    recognised: bool
    shapes: tuple[Shape, ...] = ()
    reasons: tuple[Why | None, ...] = ()
    damage: str = ""
    fix: str = "copy it again"


def read_file(path: Path | str, *, reasons: bool = False) -> Reading:
    """All about the log at `path`; OSError or UserError when it cannot be read."""
    damage: list[str] = []
    return _reading(blocks_of_file(path, damage), damage, reasons)


def read_member(content: bytes, name: Path, *, reasons: bool = False) -> Reading:
    """All about a log that came out of an archive; UserError when it holds no text."""
    damage: list[str] = []
    raw = cast(io.BufferedReader, io.BufferedReader(cast(io.RawIOBase, io.BytesIO(content))))
    with opened_stream(raw, name, damage) as stream:
        return _reading(blocks_of_stream(stream), damage, reasons)


def _reading(blocks: Iterator[str], damage: list[str], reasons: bool) -> Reading:
    state = _State(reasons=[] if reasons else None)
    found = _scan_blocks(blocks, state)
    recognised = bool(found) or state.recognised or recognises(state.rest)
    shapes = () if recognised else shapes_of(state.first_text)
    told = tuple(state.reasons or ())
    lines = state.lines_before_rest + state.rest.count("\n") + (state.rest[-1:] not in ("", "\n"))
    return Reading(
        found, lines, recognised, shapes, told, "".join(f"is damaged: {why}" for why in damage)
    )


def scan(lines: Iterable[bytes | str]) -> list[Finding]:
    """Find every splat in `lines` (with or without their newlines), in order."""
    return _scan_blocks(blocks_of_lines(lines))


def scan_file(path: Path | str) -> list[Finding]:
    """Find every splat in the file at `path`; OSError or UserError when it cannot be read."""
    return _scan_blocks(blocks_of_file(path))


def scan_text(text: str) -> list[Finding]:
    """Find every splat in a log that is already one string."""
    return _scan_blocks(blocks_of_text(text))


def _scan_blocks(blocks: Iterator[str], state: _State | None = None) -> list[Finding]:
    state = state or _State()
    undress = Undresser()
    text = ""
    first_line = 1
    unwrap = None
    backwards = False
    more = next(blocks, None)
    while more is not None:
        following = next(blocks, None)
        if unwrap is None:
            unwrap = unwrapper(more)
            # a longer log would have to be read from its end
            backwards = following is None and is_newest_first(more)
        block = clean(unwrap(more))
        state.first_text = state.first_text or block
        block = turned(block) if backwards else block
        block, looked = undress(cap_lines(repaired(block)))
        text += block
        more = following
        if more is not None:
            state.recognised = state.recognised or recognises(block)
        else:
            alone = looked if len(text) == len(block) else None
            _scan_text(state, text, len(text), first_line, alone)
            if alone is not None and not state.findings:
                _scan_alone(state, undress, text)
            break
        limit = text.rfind("\n", 0, max(0, len(text) - LOOK_AHEAD)) + 1
        _scan_text(state, text, limit, first_line)
        first_line += text.count("\n", 0, limit)
        text = text[limit:]
    state.lines_before_rest, state.rest = first_line - 1, text
    if backwards:
        state.findings = placed(state.findings, text.count("\n"))
    return state.findings


def _scan_alone(state: _State, undress: Undresser, text: str) -> None:
    """A short text in which nothing was found may hold a trace without its heading."""
    if not may_hold_trace(text):
        return
    text = undress.without_heads(text)
    hit = trace_alone(text)
    if hit is not None:
        _tell(state, hit, cut(text, hit, NO_STOP))


def _scan_text(
    state: _State, text: str, limit: int, first_line: int, looked: list[Looked] | None = None
) -> None:
    hits = find_hits(text, first_line, looked)
    for index, hit in enumerate(hits):
        if hit.pos >= limit:
            break
        if hit.row.reboot:
            _note_boot(state, text, hit)
        elif _is_new(state, hit):
            splat = cut(text, hit, next_stop(hits, index))
            _tell(state, hit, splat)
        elif hit.row.kind == "oops" and hit.context in state.torn:
            _go_on(state, text, hit, next_stop(hits, index))
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
    # a stamp of the host's clock is too coarse to tell a repeated line from a second one
    if hit.line.stamp not in LOGGED and hit.line.stamp.find(".") < 9:
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
        if state.reasons is not None:
            state.reasons.append(None)
    state.open.clear()
    state.torn.clear()
    state.ran = state.died = state.any_in_boot = False


def _tell(state: _State, hit: Hit, splat: Splat) -> None:
    """Add the finding of one splat."""
    if state.reasons is not None:
        state.reasons.append(why(hit, splat))
    nested = hit.number <= state.open.get(hit.context, _NEVER)[1]
    state.open[hit.context] = (hit.number, splat.last if splat.closed else splat.last + 20)
    finding, row = _finding(hit, splat, suppressed=state.died or nested)
    if row.kind in _OOPSES and not hit.line.caller:
        # an `Internal error:` below is that of the last oops
        state.torn.pop(hit.context, None)
        if not finding.func:
            state.torn[hit.context] = (len(state.findings), hit, splat)
    state.findings.append(finding)
    state.any_in_boot = True
    state.died = state.died or row.fatal


def _go_on(state: _State, text: str, hit: Hit, stop: Stop) -> None:
    """Complete a fault between whose first lines and registers another CPU printed."""
    at, head, start = state.torn.pop(hit.context)
    if hit.number - head.number > MAX_FOREIGN:
        return
    whole = joined(start, cut(text, hit, stop._replace(own=CPU_LINE)))
    finding, _ = _finding(head, whole, suppressed=state.findings[at].suppressed)
    if finding.func:
        state.findings[at] = finding
        if state.reasons is not None:
            state.reasons[at] = why(head, whole)


def _finding(hit: Hit, splat: Splat, *, suppressed: bool) -> tuple[Finding, Row]:
    """The finding of one splat; the first row that fits all of it names it."""
    row, values = settle(hit, splat)
    who = blame(row, values.get("at") or "", splat)
    values["func"] = who.func
    if any("{origin}" in alt for alt in row.alt):
        values["origin"] = origin(row, splat)
    title = stable(row.title.format(**values))
    finding = Finding(
        kind=row.kind.format(**values),
        title=title,
        func=who.func if who.found else "",
        first_line=hit.number,
        last_line=splat.last,
        frames=frames_of(splat),
        alt_titles=_alt_titles(row, title, values, who),
        family=f"{row.family or row.kind.format(**values)} {who.func or title}",
        corrupted=_STAMPS_IN_TITLE.search(title) is not None or is_cut_off(row, splat, who.found),
        suppressed=suppressed,
        excerpt=_excerpt(splat.texts),
    )
    return finding, row


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
