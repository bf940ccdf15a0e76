# SPDX-License-Identifier: GPL-2.0-only
"""The call chains of a lockdep report, and which of its locks a series brings in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from kvet.detectors.frames import FRAME
from kvet.detectors.table import is_helper

MOST_CHAINS = 4
MOST_FRAMES = 4

_STEP = re.compile(r"-> #(?P<number>\d+) \((?P<lock>.+)\)\{[^{}]*\}")
_BECAME = re.compile(r"\.\.\. which became (?P<state>\S+) at:")
_REGISTERED = re.compile(r"\{(?P<state>[\w-]+)\} state was registered at:")
_NOW = re.compile(r"(?:stack backtrace:|Call [Tt]race:)")
_OWN = re.compile(
    r"check_(?:prev_add|noncircular|deadlock)|validate_chain|^print_\w*(?:bug|dependency)"
)
_LOCK_CALL = re.compile(r"lock\w*\s*\(|\bdown_\w+\s*\(|DEFINE_\w*(?:LOCK|MUTEX|RWSEM)|lock_init")
_WORD = re.compile(r"[A-Za-z_]\w+")
_GENERIC = frozenset(("lock", "mutex", "rwsem", "sem", "dev", "mm", "base", "this", "ptr"))


def chains(lines: Sequence[str]) -> list[str]:
    """Who calls whom to each lock of the report in `lines`, innermost first, a line each.

    Dependencies that lockdep knew come in the order of its report, the one
    that it just met comes as `now`.
    """
    told: list[str] = []
    seen_now = False
    for index, line in enumerate(lines):
        name = _heading(line)
        if not name or (name == "now" and seen_now):
            continue
        funcs = _below(lines, index + 1)
        # `-> #0` is what this task does now: its stack is the one told last
        if funcs and not (name.startswith("#0 ") and _now_follows(lines)):
            seen_now = seen_now or name == "now"
            told.append(f"{name}: {' <- '.join(funcs)}")
    return told if len(told) <= MOST_CHAINS else [*told[: MOST_CHAINS - 1], told[-1]]


def brought_locks(locks: Iterable[str], added: Iterable[str]) -> list[str]:
    """Those of the report's `locks` that a line which the series adds takes or defines."""
    words = set()
    for text in added:
        if _LOCK_CALL.search(text):
            words.update(_WORD.findall(text))
    names = dict.fromkeys(locks)
    return [name for name in names if words & (set(_WORD.findall(name)) - _GENERIC)]


def _heading(line: str) -> str:
    """What the stack below `line` leads to; "" when none is announced."""
    step = _STEP.match(line)
    if step:
        return f"#{step['number']} {step['lock']}"
    other = _BECAME.match(line) or _REGISTERED.match(line)
    if other:
        return str(other["state"])
    return "now" if _NOW.match(line) else ""


def _now_follows(lines: Sequence[str]) -> bool:
    return any(_NOW.match(line) and _below(lines, at + 1) for at, line in enumerate(lines))


def _below(lines: Sequence[str], start: int) -> list[str]:
    """The first functions of the trace from line `start` on that are not lockdep's own."""
    funcs: list[str] = []
    for line in lines[start:]:
        match = FRAME.match(line)
        if match is None:
            if line.strip(". ") and funcs:
                break
            if _heading(line) and not _NOW.match(line):
                break
            continue
        name = str(match["at"])
        if not is_helper(name) and not _OWN.search(name):
            funcs.append(name)
        if len(funcs) == MOST_FRAMES:
            break
    return funcs
