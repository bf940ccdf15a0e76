# SPDX-License-Identifier: GPL-2.0-only
"""Explains a lockdep report: the locks, who takes which while holding which, as a small drawing.

`links_of` gives the steps for a program, `explain` draws them for a reader.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import NamedTuple

from kvet.detectors.frames import FRAME, SYMBOL
from kvet.detectors.table import is_helper

MAX_LINES = 12
MAX_NAME = 48

_LOCK = re.compile(r"(?:-> #\d+ |[^(]*?)\((?P<name>.+)\)\{[^{}]*\}")
_TASK = re.compile(
    r"(?P<comm>\S.*)/(?P<pid>\d+) (?:\[.*\] )?"
    r"(?:is trying to acquire|takes|just changed the state of lock)\b"
)
_CONTEXT = re.compile(r"(?P<safe>HARDIRQ|SOFTIRQ|RECLAIM_FS|NMI)")
_UNSAFE_ORDER = re.compile(r"-safe -> \S+-unsafe lock order|irq lock inversion dependency")
_REGISTERED = re.compile(r"\{(?P<state>[\w-]+)\} state was registered at:")


class Link(NamedTuple):
    """One step of a report: `func` takes `lock`; `how` tells under which condition."""

    lock: str
    func: str
    how: str = ""


class Report(NamedTuple):
    """What a report says: what is wrong, the task that met it, and the steps in order.

    `wanted` is the lock whose taking raised the report, `held` the one held meanwhile.
    """

    what: str
    task: str
    links: tuple[Link, ...]
    wanted: Link | None
    held: Link | None


def explain(lines: Sequence[str], touched: Collection[str] = ()) -> list[str]:
    """Draw the report in `lines` (a finding's excerpt) in at most 12 lines; [] if it is none.

    Functions in `touched` (those the series changes) are marked.
    """
    report = read(lines)
    if not report.links:
        return []
    rows = [f"{report.task or 'a task'}: {report.what}"]
    rows += _fold([_draw(link, number, touched) for number, link in enumerate(report.links)])
    if any(link.func in touched for link in report.links):
        rows.append("  * changed by the series")
    return rows


def links_of(lines: Sequence[str]) -> tuple[Link, ...]:
    """The steps alone; the last one is the lock that this task asked for."""
    return read(lines).links


def read(lines: Sequence[str]) -> Report:
    """Understand the lines of a report; a Report without links when nothing is understood."""
    lines = _mended(lines)
    text = "\n".join(lines)
    task = next((f"{m['comm']} (pid {m['pid']})" for m in map(_TASK.match, lines) if m), "")
    wanted = _lock_below(lines, "trying to acquire") or _lock_below(lines, " takes:")
    held = _lock_below(lines, "already holding")
    if _UNSAFE_ORDER.search(text):
        what, links = _irq_order(lines, wanted, held)
    elif "inconsistent lock state" in text:
        what, links = _inconsistent(lines, wanted)
    elif wanted and held and "recursive locking" in text:
        what = "takes a lock that it already holds"
        links = (held._replace(how="taken"), wanted._replace(how="wanted, while still held"))
    else:
        what, links = _circle(lines, wanted, held)
    return Report(what, task, links, wanted, held)


def _mended(lines: Sequence[str]) -> Sequence[str]:
    """Join a lock's name with its state where the console broke the line between them."""
    whole: list[str] = []
    for line in lines:
        if whole and line.startswith("){"):
            whole[-1] += line
        else:
            whole.append(line)
    return whole


def _circle(
    lines: Sequence[str], wanted: Link | None, held: Link | None
) -> tuple[str, tuple[Link, ...]]:
    """The chain of a circular dependency, printed newest first, turned to the order of taking."""
    chain = [(index, _name(line)) for index, line in enumerate(lines) if line.startswith("-> #")]
    links = [Link(name, _first_own(lines, index + 1)) for index, name in reversed(chain)]
    if not links and not (wanted and held):
        return "", ()
    if not links and wanted and held:
        return "closes a circle of locks", (held._replace(how="taken"), wanted)
    first, *rest = links
    since = f", while {_short(held.lock)} is held since {held.func}" if held else ""
    steps = [Link(first.lock, "")]
    steps += [link._replace(how="taken") for link in rest]
    last = wanted or first
    steps.append(Link(last.lock, last.func or first.func, f"wanted{since}"))
    return f"closes a circle of {len(links)} locks", tuple(steps)


def _irq_order(
    lines: Sequence[str], wanted: Link | None, held: Link | None
) -> tuple[str, tuple[Link, ...]]:
    """A lock taken by interrupts, and one taken with interrupts on, made to depend."""
    context = _context(lines)
    safe, unsafe = _became(lines, "-safe at:"), _became(lines, "-unsafe at:")
    changed = _lock_below(lines, "just changed the state of lock")
    if changed:
        safe, unsafe, wanted = _inversion(lines, changed)
    elif wanted and held:
        safe = safe or held
        since = f", while {_short(held.lock)} is held since {held.func}"
        wanted = wanted._replace(how=f"wanted{since}")
    if not (safe and unsafe and wanted):
        return "", ()
    return f"lets a {context} wait for a lock that is taken with {context}s on", (
        unsafe._replace(how=f"taken with {context}s on"),
        Link(f"<{context}>", ""),
        safe._replace(how=f"taken in a {context}"),
        wanted,
    )


def _inversion(lines: Sequence[str], changed: Link) -> tuple[Link | None, Link | None, Link | None]:
    """The safe and the unsafe lock, and the step from one to the other, that was seen before."""
    for index, line in enumerate(lines):
        if "lock in the past:" in line:
            past = Link(next(filter(None, map(_name, lines[index + 1 : index + 3])), ""), "")
            safe, unsafe = (changed, past) if "took another" in line else (past, changed)
            how = f"wanted while {_short(safe.lock)} is held, seen earlier"
            return (safe, unsafe, Link(unsafe.lock, "", how)) if past.lock else (None, None, None)
    return None, None, None


def _inconsistent(lines: Sequence[str], wanted: Link | None) -> tuple[str, tuple[Link, ...]]:
    """One lock that is taken both with interrupts on and within them."""
    context = _context(lines)
    for index, line in enumerate(lines):
        if wanted and _REGISTERED.match(line):
            inside = line.startswith("{IN-")
            earlier = f"taken in a {context}" if inside else f"taken with {context}s on"
            later = f"wanted with {context}s on" if inside else f"wanted in a {context}"
            first = Link(wanted.lock, _first_own(lines, index + 1), earlier)
            last = wanted._replace(how=later)
            steps = (last, Link(f"<{context}>", ""), first) if inside else ()
            return (
                f"takes a lock in a {context} and with {context}s on",
                steps or (first, Link(f"<{context}>", ""), last),
            )
    return "", ()


def _became(lines: Sequence[str], mark: str) -> Link | None:
    """The lock named above, and the function below, `... which became X-irq-safe at:`."""
    for index, line in enumerate(lines):
        if "which became" in line and line.endswith(mark):
            above = next((_name(text) for text in reversed(lines[:index]) if _LOCK.match(text)), "")
            return Link(above, _first_own(lines, index + 1))
    return None


def _lock_below(lines: Sequence[str], mark: str) -> Link | None:
    """The lock on the line below the one that says `mark`, with the function that takes it."""
    for index, line in enumerate(lines[:-1]):
        if mark in line:
            below = next((text for text in lines[index + 1 : index + 4] if " at: " in text), "")
            symbol = SYMBOL.search(below, below.find(" at: ") + 5) if below else None
            return Link(_name(below), symbol["at"]) if symbol and _name(below) else None
    return None


def _first_own(lines: Sequence[str], start: int) -> str:
    """The first function of the trace from line `start` on that is no locking helper."""
    named = ""
    for line in lines[start:]:
        match = FRAME.match(line)
        if match is None:
            if line.strip(". "):
                break
            continue
        named = named or match["at"]
        if not is_helper(match["at"]):
            return str(match["at"])
    return named


def _context(lines: Sequence[str]) -> str:
    found = next(filter(None, map(_CONTEXT.search, lines)), None)
    kind = found["safe"].lower() if found else "interrupt"
    return {"reclaim_fs": "reclaim"}.get(kind, kind)


def _name(line: str) -> str:
    match = _LOCK.match(line)
    return match["name"] if match else ""


def _short(name: str) -> str:
    return name if len(name) <= MAX_NAME else name[: MAX_NAME - 3] + "..."


def _draw(link: Link, number: int, touched: Collection[str]) -> str:
    """One step: the first at the margin, the others hanging from the one before."""
    arrow = "`-> " if number else ""
    mark = " *" if link.func in touched else ""
    where = f" in {link.func}{mark}" if link.func else ""
    verb, comma, rest = link.how.partition(",")
    note = f"   {verb or 'wanted'}{where}{comma}{rest}" if link.how or link.func else ""
    return f"  {arrow}{_short(link.lock)}{note}"


def _fold(rows: list[str]) -> list[str]:
    """Leave out the middle of a long chain: room for a heading and a legend stays."""
    room = MAX_LINES - 2
    if len(rows) <= room:
        return rows
    first = room // 2
    last = room - first - 1
    return [*rows[:first], f"      ... {len(rows) - first - last} more ...", *rows[-last:]]
