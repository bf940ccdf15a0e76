# SPDX-License-Identifier: GPL-2.0-only
"""A series up to each of its patches, as the record of a run keeps it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixRecord:
    """The first `number` of `total` patches of a variant: whether they build, and boot.

    `fault` is why they do not build; `warnings_added` are those that the last of them adds.
    `failures` of `runs` boots showed `title`, which the baseline does not show; `runs` is 0 where
    nothing was booted, and `trouble` says so when the host is to blame.
    """

    kernel: str
    config: str
    variant: str
    number: int
    total: int
    subject: str
    fault: str = ""
    warnings_added: tuple[str, ...] = ()
    seconds: float = 0.0
    cached: bool = False
    failures: int = 0
    runs: int = 0
    title: str = ""
    trouble: str = ""
