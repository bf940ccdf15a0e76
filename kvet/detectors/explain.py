# SPDX-License-Identifier: GPL-2.0-only
"""Says in a few lines what a splat means: the cycle of a deadlock, who freed and who allocated."""

from __future__ import annotations

from collections.abc import Collection

from kvet.detectors.allocations import memory_history
from kvet.detectors.chains import brought_locks, chains
from kvet.detectors.lockdep import explain, links_of
from kvet.model import Finding

MEMORY = ("kasan", "kfence", "bad-page")
MOST_FRAMES = 4


def explanation(finding: Finding, added: Collection[str] = ()) -> tuple[str, ...]:
    """Lines that explain `finding` from its excerpt; none where there is nothing to add.

    `added` are the source lines that the series under test wrote.
    """
    if finding.kind == "lockdep":
        return _deadlock(finding, added)
    if finding.kind not in MEMORY:
        return ()
    lines = []
    for side in memory_history(finding.excerpt):
        stack = " <- ".join(frame.func for frame in side.frames[:MOST_FRAMES])
        who = f" by pid {side.pid}" if side.pid else ""
        lines.append(f"{side.role}{who}: {stack}")
    return tuple(lines)


def _deadlock(finding: Finding, added: Collection[str]) -> tuple[str, ...]:
    """The cycle as a drawing, the chains of calls to its locks, and the series' own locks."""
    touched = {frame.func for frame in finding.frames if frame.touched}
    drawn = explain(finding.excerpt, touched=touched)
    if not drawn:
        return ()
    locks = (link.lock for link in links_of(finding.excerpt) if not link.lock.startswith("<"))
    brought = brought_locks(locks, added)
    lines = [*drawn, *(f"  {chain}" for chain in chains(finding.excerpt))]
    if brought:
        lines.append(f"  the series takes or adds: {', '.join(brought)}")
    return tuple(lines)
