# SPDX-License-Identifier: GPL-2.0-only
"""Who allocated and who freed the memory that a report is about.

Read from the side stacks of KASAN, KFENCE, SLUB and page_owner.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from kvet.detectors.frames import FRAME, frame_of
from kvet.detectors.table import is_helper
from kvet.model import Frame

MAX_SIDE = 24

_SIDES = tuple(
    (role, re.compile(form))
    for role, form in (
        ("allocated", r" *(?:[Aa]llocated by task|Allocated in \S+ age=.* pid=) ?(?P<pid>\d+)"),
        ("freed", r" *(?:[Ff]reed by task|Freed in \S+ age=.* pid=) ?(?P<pid>\d+)"),
        ("allocated", r"(?:Allocated:|page last allocated via order .*?(?:\bpid (?P<pid>\d+)|$))"),
        ("freed", r"(?:Freed:|page last free (?:pid (?P<pid>\d+) .*)?stack trace:)"),
        ("queued", r"(?:Last potentially related work creation|Last call_rcu\(\)):"),
    )
)


class Side(NamedTuple):
    """One stack of the past: `role` is allocated, freed or queued (to be freed or run)."""

    role: str
    pid: int | None
    frames: tuple[Frame, ...]

    @property
    def func(self) -> str:
        """The function to name: the first that is no allocator or other helper."""
        names = [frame.func for frame in self.frames]
        own = (name for name in names if not is_helper(name) and not _MACHINERY.search(name))
        return next(own, names[0])


def memory_history(lines: Sequence[str]) -> tuple[Side, ...]:
    """The side stacks in `lines` (a finding's excerpt) in the order printed."""
    sides: list[Side] = []
    for index, line in enumerate(lines):
        for role, regex in _SIDES:
            match = regex.match(line)
            if match:
                pid = match.groupdict().get("pid")
                frames = _below(lines, index + 1)
                if frames:
                    sides.append(Side(role, int(pid) if pid else None, frames))
                break
    return tuple(sides)


def _below(lines: Sequence[str], start: int) -> tuple[Frame, ...]:
    """The frames right below; what KASAN itself adds on top of the stack is left out."""
    frames: list[Frame] = []
    for line in lines[start : start + MAX_SIDE]:
        match = FRAME.match(line)
        if match is None:
            break
        frames.append(frame_of(match))
    while len(frames) > 1 and _OWN.match(frames[0].func):
        del frames[0]
    return tuple(frames)


_MACHINERY = re.compile(
    r"k?v?free(?:_rcu)?$|free_unref|call_rcu|(?:free|put|get|alloc)_pages?(?:_|$)|^_*folio_put"
)
_OWN = re.compile(r"_*kasan_|kfence_|save_stack|set_track|stack_trace_save|poison_|post_alloc_hook")
