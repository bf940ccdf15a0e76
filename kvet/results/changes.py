# SPDX-License-Identifier: GPL-2.0-only
"""What changed from one version of a series to the next, as the record of a run keeps it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeRecord:
    """From the variant `old` to the variant `new` on one kernel and config.

    `same` is whether both builds are the same code, None where they were not compared;
    `functions` and `data` differ, `lines` places differ in the number of a line alone.
    `range_diff` is git's, '' where the two stand on different trees.
    """

    kernel: str
    config: str
    old: str
    new: str
    same: bool | None = None
    functions: tuple[str, ...] = ()
    functions_left_out: int = 0
    data: tuple[str, ...] = ()
    lines: int = 0
    range_diff: str = ""
