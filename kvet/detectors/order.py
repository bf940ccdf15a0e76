# SPDX-License-Identifier: GPL-2.0-only
"""Turns logs round that have the newest line first, as log collectors export them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from kvet.model import Finding

SAMPLE = 1 << 14
FEWEST = 8
_STAMP = re.compile(r"\[ *(\d+\.\d{3,6})\]")


def is_newest_first(block: str) -> bool:
    """Whether the kernel's time runs backwards from line to line."""
    first = _STAMP.search(block, 0, 1024)
    if first is None or first.start() > 512:
        return False
    last = _STAMP.search(block, max(0, len(block) - 512))
    if last is None or float(last[1]) >= float(first[1]):
        return False
    stamps = [float(found) for found in _STAMP.findall(block, 0, SAMPLE)]
    back = sum(a > b for a, b in zip(stamps, stamps[1:], strict=False))
    forth = sum(a < b for a, b in zip(stamps, stamps[1:], strict=False))
    return back >= FEWEST and forth <= 0.05 * back


def turned(block: str) -> str:
    """`block` with its last line first."""
    return "\n".join(reversed(block.removesuffix("\n").split("\n"))) + "\n"


def placed(findings: Sequence[Finding], lines: int) -> list[Finding]:
    """The findings of a turned log of `lines` lines, with the places that they have in the file."""
    return [
        replace(one, first_line=lines + 1 - one.last_line, last_line=lines + 1 - one.first_line)
        for one in findings
    ]
