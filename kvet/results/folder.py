# SPDX-License-Identifier: GPL-2.0-only
"""Which directory below `results/` a run, a cell or an attempt is in."""

from __future__ import annotations

from pathlib import Path

from kvet.errors import UserError


def find_run(name: str, results: Path) -> Path:
    """The directory of the run called `name` (a name below `results`, `latest`, or a path)."""
    for path in (results / name, Path(name)):
        if (path / "run.json").exists():
            return path.resolve()
    runs = (p.parent for p in results.glob("*/run.json"))
    have = sorted(p.name for p in runs if not p.is_symlink())[-5:]
    raise UserError(
        f"no run is called {name!r} in {results}",
        hint=f"there are: {', '.join(have)}" if have else "harness.py run-matrix makes one",
    )


def parse_target(what: str, results: Path) -> tuple[Path, str, int | None]:
    """RUN/CELL[/ATTEMPT] as run directory, cell id and attempt number."""
    head, _, tail = what.rstrip("/").rpartition("/")
    number = tail.removeprefix("attempt-")
    if head and number.isdigit() and "+" in head:
        name, _, cell = head.rpartition("/")
        return find_run(name, results), cell, int(number)
    if not head or "+" not in tail:
        raise UserError(
            f"{what!r} is not RUN/CELL[/ATTEMPT]",
            hint="the report of a run ends each failure with the command that repeats it",
        )
    return find_run(head, results), tail, None
