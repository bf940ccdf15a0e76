# SPDX-License-Identifier: GPL-2.0-only
"""Cuts one splat out of a console text: the lines that belong to it, and nobody else's."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from kvet.detectors.frames import ARM_FRAME, BARE_FRAME, FRAME, STACK_START
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

MAX_RAW_LINES = 3000
MAX_FOREIGN = 600
MAX_OWN_LINES = 500
MAX_FRAMES = 40
FEW_FRAMES = 3
"""As many make a trace even where the line that announces it is missing."""

BELOW = 4
USE = "use"
"""The side of an oops itself, where the stack of the free stands beside it."""

MAX_QUIET = 40
"""Own lines without a frame after which a call trace is over: a register dump has 30."""

_END_TRACE = "---[ end trace"
_CLOSE = (_END_TRACE, "---[ end Kernel panic", "====================")
_BEFORE_PANIC = {"kmsan": 16}
_PANIC = "Kernel panic - not syncing"
_ALL_CPUS = "Sending NMI from CPU"
CPU_LINE = "CPU: "
_MARKS = (*_CLOSE, _PANIC, _ALL_CPUS, CPU_LINE)
_MARK_HEADS = frozenset(mark[0] for mark in _MARKS)
_FAR = 1 << 60
_FIRST_PIECE = 4096
_LAST_PIECE = 65536


_CPU_NAMED = re.compile(r"(?i)\bCPU(?:: |#| )(\d+)")
_CONTEXT_MARK = re.compile(r" *</?(?:TASK|IRQ|NMI|SOFTIRQ|#DF|EOI)> *")


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

    @property
    def cpu(self) -> str:
        """The CPU that the line names, where nothing else tells whose lines follow."""
        found = None if self.line.caller else _CPU_NAMED.search(self.line.text)
        return found[1] if found else ""


class Stop(NamedTuple):
    """The line at which the next splat of a context begins, and whether it is another CPU's.

    `own` begins the line above which a trace is another CPU's.
    """

    line: int
    elsewhere: bool = False
    own: str = ""


@dataclass(slots=True)
class Splat:
    """The own text of a splat's lines, and which of them are frames and starts of traces.

    `frames` maps the index of a line to its match, in order; `last` is the
    number of the last line, `closed` tells whether an end mark was seen.  What
    the workload module adds to an oops, the stack of another side, is no frame
    of the trace: `sides` names the side of its lines, `beside` holds its frames.
    """

    texts: list[str]
    last: int
    frames: dict[int, re.Match[str]] = field(default_factory=dict)
    starts: list[int] = field(default_factory=list)
    closed: bool = False
    sides: dict[int, str] = field(default_factory=dict)
    beside: dict[int, re.Match[str]] = field(default_factory=dict)


def joined(first: Splat, rest: Splat) -> Splat:
    """One splat of two parts, between which another one was printed."""
    by = len(first.texts)
    frames = first.frames | {by + at: match for at, match in rest.frames.items()}
    starts = [*first.starts, *(by + at for at in rest.starts)]
    return Splat([*first.texts, *rest.texts], rest.last, frames, starts, rest.closed)


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


def cut(text: str, hit: Hit, stop: Stop) -> Splat:
    """Collect the splat of `hit` up to its end mark, the line of `stop` or a limit.

    Lines of other printk callers are left out; on a console without callers,
    lines without a time stamp are (and the other way round).  A caller that
    dies while it prints goes on until a trace was begun.
    """
    own = _context(text, hit)
    cutter = _Cutter(hit, stop)
    plain = PLAIN_CONTEXT.fullmatch(own.caller) and PLAIN.match(text, hit.pos)
    choose = _plain_own if plain else _dressed_own
    number = hit.number
    for piece in _pieces(text, hit.pos):
        done = cutter.feed(choose(piece, own, cutter.all_cpus, number))
        if cutter.turned:
            since, cutter.turned = cutter.turned, 0
            more = [line for line in choose(piece, own, True, number) if line[0] > since]
            done = done or cutter.feed(more)
        number += len(piece)
        if done or number - cutter.own_number > MAX_FOREIGN:
            break
    return cutter.splat_with_unsure()


def _context(text: str, hit: Hit) -> Stripped:
    """The context of `hit`: that of the lines below when its own time stamp was cut off."""
    own = hit.line
    start = text.find("\n", hit.pos) + 1
    if own.stamp or not start or text[hit.pos : hit.pos + 1] == "[":
        return own
    below = [PLAIN.match(line) for line in text[start : start + 1024].split("\n")[:BELOW]]
    if len(below) < BELOW or not all(below):
        return own
    first = below[0]
    return own._replace(stamp=first[1], caller=first[2] or "") if first else own


class _Cutter:
    """Takes the lines of one context in order and says when the splat is over."""

    def __init__(self, hit: Hit, stop: Stop) -> None:
        self.splat = Splat([hit.line.text], hit.number)
        self.own_number = hit.number
        self.all_cpus = False
        self.turned = 0
        self._hit = hit
        self._stop, self._elsewhere, self._own = stop
        self._own_cpu = self._own or (f"{CPU_LINE}{hit.cpu} " if hit.cpu else "")
        self._forgot = False
        self._quiet = 0
        self._bare_at = -1
        self._unsure: list[str] = []
        self._patience = _BEFORE_PANIC.get(hit.row.kind, 22)
        if _PANIC in hit.line.text:
            self._patience = _FAR

    def splat_with_unsure(self) -> Splat:
        """What was cut; frames that no unwinder was sure of count where there are no others."""
        splat = self.splat
        if splat.starts and not splat.frames and len(self._unsure) >= FEW_FRAMES:
            for body in self._unsure:
                match = FRAME.match(body.replace(" ? ", " ", 1))
                if match:
                    splat.frames[len(splat.texts)] = match
                    splat.texts.append(body)
        return splat

    def feed(self, lines: Iterable[tuple[int, str]]) -> bool:
        """Take lines with their numbers; True when the splat is over."""
        splat = self.splat
        texts, frames = splat.texts, splat.frames
        quiet, last, stop = self._quiet, self.own_number, self._stop
        own = last
        for number, body in lines:
            if number >= stop or number - last > MAX_FOREIGN:
                if number - last > MAX_FOREIGN or self._stops():
                    return True
                stop = _FAR
            last = number
            if "+0x" in body:
                if (" ? " in body and "<EOI>" not in body) or body.endswith("(unreliable)"):
                    # kernels with addresses in their traces had no unwinder to be sure with
                    if "[<" in body and len(self._unsure) < MAX_FRAMES:
                        self._unsure.append(body)
                    continue
                match = (ARM_FRAME if " from " in body else FRAME).match(body)
                if match and not (splat.sides and self._beside(match)):
                    frames[len(texts)] = match
                splat.last = number
                quiet = 0
            elif body[:1] in _MARK_HEADS and body.startswith(_MARKS) and self._marked(body, number):
                return True
            elif (":" in body and self._informs(body)) or (
                not quiet and splat.starts and self._bare(body)
            ):
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
        if (
            not (self._hit.line.caller or self._elsewhere)
            or splat.starts
            or splat.frames
            or not self._hit.row.stack
        ):
            return True
        self._stop = _FAR
        return False

    def _marked(self, body: str, number: int) -> bool:
        """Whether a line that may end a splat does."""
        if body.startswith(_PANIC):
            # some splats have no trace but that of the panic which ends them
            self.splat.closed = self._traced() and len(self.splat.texts) > self._patience
        elif body.startswith(CPU_LINE):
            if self._own_cpu and body.startswith(self._own_cpu):
                self._forget_others()
        elif body.startswith(_ALL_CPUS):
            self.turned = 0 if self.all_cpus else number
            self.all_cpus = True
        elif not (body.startswith(_END_TRACE) and self._of_another()):
            self.splat.last, self.splat.closed = number, True
        return self.splat.closed

    def _forget_others(self) -> None:
        """A trace above the line that says whose the splat is was that of another CPU."""
        if self._traced():
            del self.splat.texts[1:]
            self.splat.frames.clear()
            self.splat.starts.clear()
            self._bare_at = -1
            self._forgot = True
        self._own_cpu = ""

    def _of_another(self) -> bool:
        """Whether the end mark of an oops or a warning cannot be that of this splat."""
        row, splat = self._hit.row, self.splat
        if self._own and self._own_cpu:
            return True
        mixed = self._forgot or row.kind == "lockdep"
        return row.stack and not splat.starts and (mixed or not splat.frames)

    def _traced(self) -> bool:
        """Whether a trace was begun: an end mark before it is that of another splat."""
        return bool(self.splat.starts or self.splat.frames)

    def _bare(self, body: str) -> bool:
        """Whether a line right below a trace's start is a frame without offset, or goes between."""
        splat = self.splat
        here = len(splat.texts)
        if here - 1 not in (splat.starts[-1], self._bare_at):
            return False
        match = BARE_FRAME.match(body)
        if match:
            splat.frames[here] = match
        elif not _CONTEXT_MARK.fullmatch(body):
            return False
        self._bare_at = here
        return True

    def _beside(self, match: re.Match[str]) -> bool:
        """Take a frame right below the line that names a side; whether it was one."""
        here = len(self.splat.texts)
        side = self.splat.sides.get(here - 1)
        if side is None:
            return False
        self.splat.sides[here] = side
        self.splat.beside[here] = match
        return True

    def _informs(self, body: str) -> bool:
        """Whether a line without an offset is part of a trace: its start, or a decoded frame."""
        if body.startswith(OWN_LINE) and not self.splat.texts[0].startswith(OWN_LINE):
            side = SIDE.match(body)
            if side:
                self.splat.sides[len(self.splat.texts)] = side[1]
            return side is not None
        if (":" in body[-3:] or "cause: " in body) and STACK_START.search(body):
            if self._forgot and not self.splat.starts:
                self.splat.frames.clear()
            self.splat.starts.append(len(self.splat.texts))
            return True
        match = FRAME.match(body) if " (" in body else None
        if match:
            self.splat.frames[len(self.splat.texts)] = match
        return match is not None


def _plain_own(
    piece: list[tuple[str, str, str]], own: Stripped, all_cpus: bool, above: int
) -> list[tuple[int, str]]:
    """Lines with time stamps and the caller of `own`, numbered; `above` the piece are so many."""
    caller = own.caller
    if all_cpus and caller:
        return [
            (number, body)
            for number, (_, whose, body) in enumerate(piece, above + 1)
            if whose == caller or whose.startswith("C")
        ]
    return [
        (number, body)
        for number, (stamp, whose, body) in enumerate(piece, above + 1)
        if whose == caller and stamp
    ]


def _dressed_own(
    piece: list[tuple[str, str, str]], own: Stripped, all_cpus: bool, above: int
) -> Iterator[tuple[int, str]]:
    """The same for bare consoles, other log formats and vendors' task tags."""
    stamped = bool(own.stamp)
    for number, (stamp, whose, body) in enumerate(piece, above + 1):
        if not is_plain(stamp, body):
            stamp, whose, body = _again(stamp, whose, body)
        other_cpu = all_cpus and own.caller and whose[:1] == "C"
        if other_cpu or (whose == own.caller and (whose or bool(stamp) == stamped)):
            yield number, body


def _again(stamp: str, whose: str, body: str) -> tuple[str, str, str]:
    """The slow way, for lines with a logger's form or a vendor's tag."""
    stripped = strip(f"[{stamp}] {body}" if stamp and not whose else body)
    return (stripped.stamp, stripped.caller, stripped.text) if not whose else (stamp, whose, body)


# the workload module prints both stacks of a breach, and that of the free to an oops
# at a page in quarantine: rootfs/engine/findings.c and quarantine.c
OWN_LINE = "kvet: "
SIDE = re.compile(r"kvet: (\w+) by pid \d+:")
