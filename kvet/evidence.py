# SPDX-License-Identifier: GPL-2.0-only
"""Attempts of baselines and controls, kept for later runs that need them for reference.

Whoever judges one variant needs its control caught, not caught again: the same
build on the same machine under the same workload has its answer on record.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from kvet.model import Attempt, Cell
from kvet.records import attempt_from
from kvet.store import plain, read_json, write_json
from kvet.verdict import COUNTED


def key(cell: Cell, build: str, layers: Sequence[Path], qemu: str) -> str:
    """Digest of everything that a cell's outcome depends on."""
    parts = (build, qemu, plain(cell.machine), plain(cell.workload), [p.name for p in layers])
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def save(cache: Path, digest: str, run: str, attempts: Sequence[Attempt]) -> None:
    """Keep the attempts that counted, if any did."""
    counted = [a for a in attempts if a.status in COUNTED]
    if counted:
        write_json(cache / "evidence" / f"{digest}.json", {"run": run, "attempts": counted})


def load(cache: Path, digest: str) -> tuple[list[Attempt], str] | None:
    """The attempts kept under `digest` and the run they were made in."""
    path = cache / "evidence" / f"{digest}.json"
    if not path.exists():
        return None
    kept = read_json(path)
    attempts = [attempt_from(a) for a in kept["attempts"]]
    away = f"../{kept['run']}/"
    moved = [
        replace(a, console=away + a.console, memory=a.memory and away + a.memory) for a in attempts
    ]
    return moved, kept["run"]
