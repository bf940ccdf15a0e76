# SPDX-License-Identifier: GPL-2.0-only
"""What a data race that KCSAN reports says about a series.

KCSAN watches a few accesses at a time, drawn at random: that the boots of the baseline
show no report is no sign that it has no such race. So it is asked whose accesses they are.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from kvet.model import Finding, Frame

KIND = "kcsan"
# the functions of one access or of both: kernel/kcsan/report.c, print_report()
NAMES = re.compile(r"data-race in (\S+)(?: / (\S+))?")
ELSEWHERE = "a data race of code that this series and workload have nothing to do with"


def weighed(
    finding: Finding, frames: Sequence[Frame], about: Sequence[str], changed: Collection[str]
) -> Finding:
    """A data race as a finding, as a suspicion, or set aside; any other finding as it is.

    One with an access in a line of the series (`Frame.touched`) is its doing. One in a file
    that the series changes, or that a glob of `about` names, is a suspicion: the tree may have
    had it. Any other is set aside. `frames` are those of `finding` with file and line; where
    none is known it stays a finding.
    """
    if finding.kind != KIND:
        return finding
    accesses = list(_accesses(finding.title, frames))
    files = {frame.location.rpartition(":")[0] for frame in accesses if frame.location}
    if not files or any(frame.touched for frame in accesses):
        return finding
    if any(file in changed or any(fnmatchcase(file, glob) for glob in about) for file in files):
        return replace(finding, suspicion=True)
    return replace(finding, suppressed=True, notes=(*finding.notes, ELSEWHERE))


def _accesses(title: str, frames: Sequence[Frame]) -> Iterator[Frame]:
    """The frames of the functions that `title` names, and what was inlined into them."""
    named = NAMES.search(title)
    names = {name for name in named.groups() if name} if named else set()
    inlined: list[Frame] = []
    for frame in frames:
        inlined.append(frame)
        # one that was inlined has no offset of its own
        if not frame.offset:
            continue
        if frame.func in names:
            yield from inlined
        inlined = []
