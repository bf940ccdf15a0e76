# SPDX-License-Identifier: GPL-2.0-only
"""Finds a trace that was quoted without the line that announces it, as commit messages do.

Only asked for short texts in which nothing else was found: a kernel that runs
prints traces for reasons that are no defect, and says so above or in them.
"""

from __future__ import annotations

import re

from kvet.detectors.frames import ARM_FRAME, BARE_FRAME, FRAME
from kvet.detectors.lines import strip
from kvet.detectors.search import holds
from kvet.detectors.splat import Hit
from kvet.detectors.table import Row, table

MOST_LINES = 250
FEWEST_FRAMES = 2
FEWEST_BARE = 3

_START = re.compile(
    r"Call [Tt]race:|Backtrace: ?$|RIP: 0010:|E?IP: |EIP is at |PC is at |pc : |epc *: |NIP \["
    r"|Krnl PSW : "
)
_NO_DEFECT = re.compile(
    r"oom-killer|page allocation (?:failure|stall)|[sS]ys[rR]q|Out of memory|Mem-Info"
    r"|oom_kill_process|dump_header\+|out_of_memory|warn_alloc|sysrq_|show_state|sched_show_task"
    r"|NMI backtrace for cpu|nmi_cpu_backtrace|Sending NMI from|FAULT_INJECTION|should_fail"
    r"|segfault at|fatal signal|\bstate:[A-Z] |locks held by|Xen call trace"
)


def may_hold_trace(text: str) -> bool:
    """Whether `text` is short, holds what traces begin with, and nothing that explains one."""
    if text.count("\n") > MOST_LINES or not holds(_START, text):
        return False
    return not holds(_NO_DEFECT, text)


def trace_alone(text: str) -> Hit | None:
    """The first line of a trace without a heading; None when there is none."""
    pos, found = 0, None
    sized = bare = 0
    for number, raw in enumerate(text.split("\n"), 1):
        line = strip(raw)
        body = line.text.lstrip()
        if found is None and line.stamp != "user" and _START.match(body):
            row = _row_for(body)
            found = Hit(pos, number, line._replace(text=body), row) if row else None
        elif found is not None:
            form = ARM_FRAME if " from " in line.text else FRAME
            sized += form.match(line.text) is not None
            bare += BARE_FRAME.match(line.text) is not None
        pos += len(raw) + 1
    return found if sized >= FEWEST_FRAMES or bare >= FEWEST_BARE else None


def _row_for(body: str) -> Row | None:
    return next((row for row in table().alone if row.regex.match(body)), None)
