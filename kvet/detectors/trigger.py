# SPDX-License-Identifier: GPL-2.0-only
"""The cheap test for a living console: does this line begin a splat, and is it fatal?"""

from __future__ import annotations

from typing import NamedTuple

from kvet.detectors.heads import fitting_row
from kvet.detectors.lines import MAX_LINE, clean, strip
from kvet.detectors.table import table


class Triggered(NamedTuple):
    """What a line began: the table row, its kind, and whether the kernel ends here."""

    row: str
    kind: str
    fatal: bool


class Trigger:
    """Call it with each console line; it keeps no state and never raises."""

    def __init__(self) -> None:
        self._look = table().look

    def __call__(self, line: str | bytes) -> Triggered | None:
        """The splat that begins on `line`, or None (nearly always)."""
        text = line.decode("utf-8", "replace") if isinstance(line, bytes) else line
        text = text[:MAX_LINE]
        if not self._look.search(text):
            return None
        text = clean(text).rstrip("\n")
        found = self._look.search(text)
        stripped = strip(text, found.start() if found else 0)
        row = fitting_row(stripped.text.lstrip(), timed=bool(stripped.stamp))
        if row is None or row.reboot:
            return None
        kind = "breach" if "{" in row.kind else row.kind
        return Triggered(row.id, kind, row.fatal)
