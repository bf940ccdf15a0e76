# SPDX-License-Identifier: GPL-2.0-only
"""What one kind of fault came to, as a row of the table that `make torture` prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table

from kvet.terminal import make_console


@dataclass(frozen=True, slots=True)
class Row:
    """A fault: how it was injected, how often, what happened, what was lost; `ok` as promised."""

    fault: str
    how: str
    times: int
    happened: str
    lost: str
    ok: bool


def show(rows: Sequence[Row]) -> None:
    """Print the table and, below it, what is not as promised."""
    table = Table(box=None, padding=(0, 1, 0, 0))
    for name in ("fault", "how injected", "times", "what happened", "lost"):
        table.add_column(name, overflow="fold", justify="right" if name == "times" else "left")
    for row in rows:
        style = None if row.ok else "red"
        table.add_row(row.fault, row.how, str(row.times), row.happened[:160], row.lost, style=style)
    console = make_console(width=100)
    console.print(table)
    bad = [row.fault for row in rows if not row.ok]
    tried = sum(row.times for row in rows)
    console.print(
        f"{len(rows)} kinds of fault, {tried} times: "
        + (f"NOT as promised: {', '.join(bad)}" if bad else "all as promised")
    )
