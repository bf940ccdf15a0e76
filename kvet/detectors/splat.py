# SPDX-License-Identifier: GPL-2.0-only
"""Cuts one splat out of a console text: the lines that belong to it, and nobody else's."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from kvet.detectors.frames import ARM_FRAME, FRAME, PLACES, SYMBOL, frame_of, is_stack_start
from kvet.detectors.lines import (
    MAX_LINE,
    PLAIN,
    PLAIN_CONTEXT,
    PLAIN_LINES,
    Stripped,
    is_plain,
    strip,
)
from kvet.detectors.table import Row
from kvet.model import Frame

MAX_RAW_LINES = 3000
MAX_FOREIGN = 600
MAX_OWN_LINES = 500
MAX_FRAMES = 40
MAX_QUIET = 40
"""Own lines without a frame after which a call trace is over: a register dump has 30."""

_CLOSE = ("---[ end trace", "---[ end Kernel panic", "====================")
_BEFORE_PANIC = {"kmsan": 16}
_PANIC = "Kernel panic - not syncing"
_ALL_CPUS = "Sending NMI from CPU"
_MARKS = (*_CLOSE, _PANIC, _ALL_CPUS)
_MARK_HEADS = frozenset(mark[0] for mark in _MARKS)
_FAR = 1 << 60
_FIRST_PIECE = 4096
_LAST_PIECE = 65536


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


def _pieces(text: str, pos: int) -> Iterator[list[tuple[str, str, str]]]:
    """Stamp, caller and text of the lines below the one at `pos`, a piece at a time."""
    start = text.find("\n", pos) + 1
    piece = _FIRST_PIECE
    while 0 < start < len(text):
        end = text.find("\n", start + piece)
        end = len(text) if end < 0 else end
        yield PLAIN_LINES.findall(text, start, end)
        start = end + 1
        piece = min(2 * piece, _LAST_PIECE)


def cut(text: str, hit: Hit, stop_line: int) -> Splat:
    """Collect the splat of `hit` up to its end mark, line `stop_line` or a limit.

    Lines of other printk callers are left out; on a console without callers,
    lines without a time stamp are (and the other way round).  A caller that
    dies while it prints goes on until a trace was begun.
    """
    own = hit.line
    cutter = _Cutter(hit, stop_line)
    plain = PLAIN_CONTEXT.fullmatch(own.caller) and PLAIN.match(text, hit.pos)
    choose = _plain_own if plain else _dressed_own
    number = hit.number
    for piece in _pieces(text, hit.pos):
        done = cutter.feed(choose(piece, own, cutter.all_cpus), number)
        if cutter.turned:
            since, cutter.turned = cutter.turned - number, 0
            more = [line for line in choose(piece, own, True) if line[0] > since]
            done = done or cutter.feed(more, number)
        number += len(piece)
        if done or number - cutter.own_number > MAX_FOREIGN:
            break
    return cutter.splat


class _Cutter:
    """Takes the lines of one context in order and says when the splat is over."""

    def __init__(self, hit: Hit, stop_line: int) -> None:
        self.splat = Splat([hit.line.text], hit.number)
        self.own_number = hit.number
        self.all_cpus = False
        self.turned = 0
        self._hit = hit
        self._stop = stop_line
        self._quiet = 0
        self._patience = _BEFORE_PANIC.get(hit.row.kind, 22)
        if _PANIC in hit.line.text:
            self._patience = _FAR

    def feed(self, lines: Iterable[tuple[int, str]], base: int) -> bool:
        """Take lines numbered from `base`; True when the splat is over."""
        splat = self.splat
        texts, frames = splat.texts, splat.frames
        quiet, last, stop = self._quiet, self.own_number, self._stop
        own = last
        for offset, body in lines:
            number = base + offset
            if number >= stop or number - last > MAX_FOREIGN:
                if number - last > MAX_FOREIGN or self._stops():
                    return True
                stop = _FAR
            last = number
            if "+0x" in body:
                if (" ? " in body and "<EOI>" not in body) or body.endswith("(unreliable)"):
                    continue
                match = (ARM_FRAME if " from " in body else FRAME).match(body)
                if match:
                    frames[len(texts)] = match
                splat.last = number
                quiet = 0
            elif body[:1] in _MARK_HEADS and body.startswith(_MARKS) and self._marked(body, number):
                return True
            elif ":" in body and self._informs(body):
                splat.last = number
                quiet = 0
            else:
                quiet += 1
                if quiet > MAX_QUIET and frames:
                    return True
            texts.append(body[:MAX_LINE])
            own = number
            if self.turned:
                break
        self._quiet, self.own_number = quiet, own
        return len(texts) >= MAX_OWN_LINES or self.own_number - self._hit.number > MAX_RAW_LINES

    def _stops(self) -> bool:
        """Whether the next splat of the context ends this one: not before it has a trace."""
        splat = self.splat
        if not self._hit.line.caller or splat.starts or splat.frames or not self._hit.row.stack:
            return True
        self._stop = _FAR
        return False

    def _marked(self, body: str, number: int) -> bool:
        """Whether a line that may end a splat does."""
        if body.startswith(_PANIC):
            # some splats have no trace but that of the panic which ends them
            traced = bool(self.splat.starts or self.splat.frames)
            self.splat.closed = traced and len(self.splat.texts) > self._patience
        elif body.startswith(_ALL_CPUS):
            self.turned = 0 if self.all_cpus else number
            self.all_cpus = True
        else:
            self.splat.last, self.splat.closed = number, True
        return self.splat.closed

    def _informs(self, body: str) -> bool:
        """Whether a line without an offset is part of a trace: its start, or a decoded frame."""
        if is_stack_start(body):
            self.splat.starts.append(len(self.splat.texts))
            return True
        match = FRAME.match(body) if " (" in body else None
        if match:
            self.splat.frames[len(self.splat.texts)] = match
        return match is not None


def _plain_own(
    piece: list[tuple[str, str, str]], own: Stripped, all_cpus: bool
) -> list[tuple[int, str]]:
    """Lines with time stamps and the caller of `own`, with their numbers within the piece."""
    caller = own.caller
    if all_cpus and caller:
        return [
            (index, body)
            for index, (_, whose, body) in enumerate(piece, 1)
            if whose == caller or whose.startswith("C")
        ]
    return [
        (index, body)
        for index, (stamp, whose, body) in enumerate(piece, 1)
        if whose == caller and stamp
    ]


def _dressed_own(
    piece: list[tuple[str, str, str]], own: Stripped, _: bool
) -> Iterator[tuple[int, str]]:
    """The same for bare consoles, other log formats and vendors' task tags."""
    stamped = bool(own.stamp)
    for index, (stamp, whose, body) in enumerate(piece, 1):
        if not is_plain(stamp, body):
            stamp, whose, body = _again(stamp, whose, body)
        if whose == own.caller and (whose or bool(stamp) == stamped):
            yield index, body


def _again(stamp: str, whose: str, body: str) -> tuple[str, str, str]:
    """The slow way, for lines with a logger's form or a vendor's tag."""
    stripped = strip(f"[{stamp}] {body}" if stamp and not whose else body)
    return (stripped.stamp, stripped.caller, stripped.text) if not whose else (stamp, whose, body)


def frames_of(splat: Splat) -> tuple[Frame, ...]:
    """The call trace of a splat, the faulting place first when it is told apart."""
    frames: list[Frame] = []
    first = next(iter(splat.frames), 0)
    for text in splat.texts[1:first]:
        if "+0x" in text and PLACES["pc"].regex.match(text):
            symbol = SYMBOL.search(text)
            frames = [frame_of(symbol)] if symbol else []
            break
    previous = first - 1
    sides = _sides(splat.texts)
    side = ""
    end = next((start for start in splat.starts if start > first), len(splat.texts))
    for index, match in splat.frames.items():
        if index > previous + 3 or index > end or len(frames) >= MAX_FRAMES:
            break
        if sides:
            side = next((sides[at] for at in range(index, -1, -1) if at in sides), "")
        frame = frame_of(match, side)
        if not (len(frames) == 1 and frames[0] == frame):
            frames.append(frame)
        previous = index
    return tuple(frames)


def _sides(texts: Sequence[str]) -> dict[int, str]:
    """The lines that name the side of the frames below them; mostly there are none."""
    if not texts[0].startswith("kvet: "):
        return {}
    found = ((index, _SIDE.match(text)) for index, text in enumerate(texts))
    return {index: match[1] for index, match in found if match}


# the workload module prints both stacks of a breach: rootfs/module/oracle.c
_SIDE = re.compile(r"kvet: (\w+) by pid \d+:")


def is_cut_off(row: Row, splat: Splat, found: bool) -> bool:
    """Whether the splat lacks what its kind always prints: a stack, or frames in one."""
    if row.cut or (row.ways and not found):
        return True
    if not row.stack:
        return False
    return not splat.starts or not all(_has_frames(splat, start) for start in splat.starts)


def _has_frames(splat: Splat, start: int) -> bool:
    for index in range(start + 1, min(len(splat.texts), start + 16)):
        if index in splat.frames:
            return True
        if index in splat.starts:
            return False
    return any("(stack is not available)" in text for text in splat.texts[start : start + 16])
