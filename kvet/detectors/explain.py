# SPDX-License-Identifier: GPL-2.0-only
"""Says in a few lines what a splat means: the cycle of a deadlock, who freed and who allocated."""

from __future__ import annotations

from kvet.detectors.history import memory_history
from kvet.detectors.lockdep import explain
from kvet.model import Finding

MEMORY = ("kasan", "kfence", "bad-page")
MOST_FRAMES = 4


def explanation(finding: Finding) -> tuple[str, ...]:
    """Lines that explain `finding` from its excerpt; none where there is nothing to add."""
    if finding.kind == "lockdep":
        touched = {frame.func for frame in finding.frames if frame.touched}
        return tuple(explain(finding.excerpt, touched=touched))
    if finding.kind not in MEMORY:
        return ()
    lines = []
    for side in memory_history(finding.excerpt):
        stack = " <- ".join(frame.func for frame in side.frames[:MOST_FRAMES])
        who = f" by pid {side.pid}" if side.pid else ""
        lines.append(f"{side.role}{who}: {stack}")
    return tuple(lines)
