# SPDX-License-Identifier: GPL-2.0-only
"""Attempts of baselines and controls, kept for later runs that need them for reference.

Whoever judges one variant needs its control caught, not caught again: the same
build on the same machine under the same workload has its answer on record.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kvet import lease
from kvet.errors import InfraError
from kvet.model import COUNTED_STATUSES, Attempt, Cell
from kvet.store import plain, read_as, write_json


@dataclass(frozen=True, slots=True)
class References:
    """Attempts of one cell and the run they were made in."""

    run: str
    attempts: tuple[Attempt, ...]


def key(cell: Cell, build: str, layers: Sequence[Path], qemu: str) -> str:
    """Digest of everything that a cell's outcome depends on."""
    load = cell.workload.load
    # where its directory lies changes nothing
    bare = (plain(replace(cell.workload, load=None)), load.digest if load else "")
    parts = (build, qemu, plain(cell.machine), bare, [p.name for p in layers])
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def save(cache: Path, digest: str, run: str, attempts: Sequence[Attempt]) -> None:
    """Keep the attempts that counted, if any did."""
    counted = [a for a in attempts if a.status in COUNTED_STATUSES]
    if counted:
        write_json(cache / "evidence" / f"{digest}.json", References(run, tuple(counted)))


def load(cache: Path, digest: str) -> tuple[list[Attempt], str] | None:
    """The attempts kept under `digest` and the run they were made in.

    What is damaged, or was written by another version of kvet, is as good as not there.
    """
    path = cache / "evidence" / f"{digest}.json"
    with lease.using(cache):
        if not path.exists():
            return None
        lease.renew(path)
    try:
        kept: References = read_as(path, References)
    except InfraError:
        return None
    away = f"../{kept.run}/"
    moved = [
        replace(a, console=away + a.console, memory=a.memory and away + a.memory)
        for a in kept.attempts
    ]
    return moved, kept.run
