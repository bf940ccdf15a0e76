# SPDX-License-Identifier: GPL-2.0-only
"""Cuts one splat out of a console text: the lines that belong to it, and nobody else's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from kvet.detectors.frames import FRAME, PLACES, SYMBOL, is_stack_start
from kvet.detectors.lines import MAX_LINE, PLAIN, Stripped, strip
from kvet.detectors.table import Row
from kvet.model import Frame

MAX_RAW_LINES = 3000
MAX_FOREIGN = 600
MAX_OWN_LINES = 500
MAX_FRAMES = 64
MAX_QUIET = 40
"""Own lines without a frame after which a call trace is over: a register dump has 30."""

_CLOSE = ("---[ end trace", "---[ end Kernel panic", "====================")
_BEFORE_PANIC = {"kmsan": 16}
_PANIC = "Kernel panic - not syncing"
_ALL_CPUS = "Sending NMI from CPU"
_FAR = 1 << 60


class Hit(NamedTuple):
    """A line that begins a splat: where it is, what it says, which row it fits."""

    pos: int
    number: int
    line: Stripped
    row: Row

    @property
    def context(self) -> str:
        """Lines of one context belong together: the printk caller, or the whole console."""
        return self.line.caller or ("console" if self.line.stamp else "")


@dataclass(slots=True)
class Splat:
    """The own text of a splat's lines, and which of them are frames and starts of traces.

    `frames` maps the index of a line to its match, in order; `last` is the
    number of the last line, `closed` tells whether an end mark was seen.
    """

    texts: list[str]
    last: int
    frames: dict[int, re.Match[str]] = field(default_factory=dict)
    starts: list[int] = field(default_factory=list)
    closed: bool = False


def following(text: str, pos: int) -> Iterator[str]:
    """The lines of `text` after the one that holds `pos`, split a piece at a time."""
    start = text.find("\n", pos) + 1
    piece = 8192
    while 0 < start < len(text):
        end = text.find("\n", start + piece)
        yield from (text[start:end] if end >= 0 else text[start:]).split("\n")
        start = end + 1
        piece = 65536


def cut(text: str, hit: Hit, stop_line: int) -> Splat:
    """Collect the splat of `hit` up to its end mark, line `stop_line` or a limit.

    Lines of other printk callers are left out; on a console without callers,
    lines without a time stamp are (and the other way round).  A caller that
    dies while it prints goes on until a trace was begun.
    """
    splat = Splat([hit.line.text], hit.number)
    patience = _BEFORE_PANIC.get(hit.row.kind, 22)
    if _PANIC in hit.line.text:
        patience = _FAR
    quiet = 0
    for number, body in _own_lines(text, hit):
        if number >= stop_line:
            if not hit.line.caller or splat.starts or splat.frames or not hit.row.stack:
                break
            stop_line = _FAR
        if body.startswith(_CLOSE):
            splat.last, splat.closed = number, True
            break
        if _PANIC in body and len(splat.texts) > patience:
            splat.closed = True
            break
        if _add(splat, body):
            splat.last = number
            quiet = 0
        else:
            quiet += 1
        if len(splat.texts) >= MAX_OWN_LINES or (quiet > MAX_QUIET and splat.frames):
            break
    return splat


def _add(splat: Splat, body: str) -> bool:
    """Add a line; True for one that a reader of the splat wants to see."""
    index = len(splat.texts)
    splat.texts.append(body)
    if "+0x" in body:
        match = FRAME.match(body)
        if match:
            splat.frames[index] = match
        return True
    if ":" in body:
        if is_stack_start(body):
            splat.starts.append(index)
            return True
        if " (" in body:
            match = FRAME.match(body)
            if match:
                splat.frames[index] = match
                return True
    return False


def _own_lines(text: str, hit: Hit) -> Iterator[tuple[int, str]]:
    """Number and text of the lines after `hit` that belong to its context."""
    own = hit.line
    caller, stamped = own.caller, bool(own.stamp)
    all_cpus = False
    number = own_number = hit.number
    for line in following(text, hit.pos):
        number += 1
        if number - own_number > MAX_FOREIGN or number - hit.number > MAX_RAW_LINES:
            return
        match = PLAIN.match(line)
        if match and line[match.end() : match.end() + 1] not in "(-[c":
            whose, stamp, body = match[2] or "", "1", line[match.end() : MAX_LINE]
        else:
            whose, stamp, body, _ = _slow(line)
        if whose != caller:
            if not (all_cpus and caller and whose.startswith("C")):
                continue
        elif not caller and bool(stamp) != stamped:
            continue
        if "+0x" in body and _doubtful(body):
            continue
        if body.startswith(_ALL_CPUS):
            all_cpus = True
        own_number = number
        yield number, body


def _slow(line: str) -> tuple[str, str, str, int]:
    stripped = strip(line[:MAX_LINE])
    return stripped.caller, stripped.stamp, stripped.text, stripped.start


def _doubtful(body: str) -> bool:
    """A frame the unwinder itself marks as a guess."""
    return (" ? " in body and "<EOI>" not in body) or body.endswith("(unreliable)")


def frames_of(splat: Splat) -> tuple[Frame, ...]:
    """The call trace of a splat, the faulting place first when it is told apart."""
    frames: list[Frame] = []
    first = next(iter(splat.frames), 0)
    for text in splat.texts[1:first]:
        if "+0x" in text and PLACES["pc"].regex.match(text):
            symbol = SYMBOL.search(text)
            frames = [_frame(symbol)] if symbol else []
            break
    previous = first - 1
    for index, match in splat.frames.items():
        if index > previous + 3 or len(frames) >= MAX_FRAMES:
            break
        if any(previous < start < index for start in splat.starts):
            break
        frame = _frame(match)
        if not (len(frames) == 1 and frames[0] == frame):
            frames.append(frame)
        previous = index
    return tuple(frames)


def _frame(match: re.Match[str]) -> Frame:
    name = match["at"] + (match["suffix"] or "")
    offset = f"0x{match['off']}/0x{match['size']}" if match["off"] else ""
    return Frame(name, offset, match["module"] or "", match["where"] or "")


def is_cut_off(row: Row, splat: Splat, found: bool) -> bool:
    """Whether the splat lacks what its kind always prints: a stack, or frames in one."""
    if row.cut or (row.ways and not found):
        return True
    if not row.stack:
        return False
    ends = [*splat.starts[1:], len(splat.texts)]
    return not splat.starts or not all(
        any(index in splat.frames for index in range(start + 1, min(end, start + 16)))
        or any("(stack is not available)" in text for text in splat.texts[start : start + 16])
        for start, end in zip(splat.starts, ends, strict=True)
    )
