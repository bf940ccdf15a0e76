# SPDX-License-Identifier: GPL-2.0-only
"""The history as text: each cell in the last runs, and what changed in the newest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from kvet.results.history import Entry, History, PastRun
from kvet.results.record import label
from kvet.terminal import STYLES, drawn
from kvet.text import one_line

SHORT = {"INCONCLUSIVE": "INC", "ERROR": "ERR"}
# as many columns as fit beside a cell's name
MOST = 5


def trend_text(
    history: History, runs: Sequence[PastRun], *, last: int = MOST, color: bool = False
) -> str:
    """The cells of the `last` of `runs`, in blocks of five runs, at most 100 columns wide.

    The column `all` sums k/n over all of `runs`, attempts that were reused not counted again.
    """
    shown = runs[-last:]
    blocks = [shown[i : i + MOST] for i in range(0, len(shown), MOST)]
    names = cell_names(history.entries(r.run for r in shown))
    totals = _totals(history.entries(r.run for r in runs))
    parts: list[RenderableType] = []
    for block in blocks:
        entries = history.entries(r.run for r in block)
        parts += [_legend(block), _table(block, entries, names, totals), Text()]
    parts += list(_changed(history.entries(r.run for r in shown), names, shown[-1].run))
    return drawn(Group(*parts), color=color)


def cell_names(entries: Mapping[str, Sequence[Entry]]) -> dict[str, str]:
    """A short name for each cell: its variant, config and what else tells these cells apart."""
    last = {cell: found[-1] for cell, found in entries.items()}
    shown = list(last.values())
    return {cell: f"{entry.variant} {label(shown, entry)}" for cell, entry in last.items()}


def _totals(entries: Mapping[str, Sequence[Entry]]) -> dict[str, str]:
    """k/n of each cell over all its own attempts."""
    own = {cell: [e for e in found if not e.reused] for cell, found in entries.items()}
    return {
        cell: f"{sum(e.failures for e in found)}/{sum(e.runs for e in found)}"
        for cell, found in own.items()
    }


def _legend(runs: Sequence[PastRun]) -> Text:
    lines = [
        Text.assemble(
            f"  {run.when}  {one_line(run.run)}  ",
            (run.conclusion, STYLES.get(run.conclusion, "")),
            f" (exit {run.exit_code})  {one_line(run.kernels)}",
        )
        for run in runs
    ]
    return Text("\n").join(lines)


def _table(
    runs: Sequence[PastRun],
    entries: Mapping[str, Sequence[Entry]],
    names: Mapping[str, str],
    totals: Mapping[str, str],
) -> Table:
    """One row for each cell, one column for each run."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("cell", overflow="fold", ratio=1)
    for run in runs:
        table.add_column(run.when[5:].replace(" ", "\n"), no_wrap=True, min_width=9)
    table.add_column("all\nk/n", no_wrap=True, justify="right")
    for cell, found in entries.items():
        by_run = {entry.run: entry for entry in found}
        marks = [_mark(by_run.get(run.run)) for run in runs]
        table.add_row(Text(one_line(names[cell])), *marks, totals[cell])
    return table


def _mark(entry: Entry | None) -> Text:
    """Conclusion and k/n in ten columns."""
    if entry is None:
        return Text("-")
    word = SHORT.get(entry.conclusion, entry.conclusion)
    return Text(f"{word} {entry.count}", STYLES.get(entry.conclusion, ""))


def _changed(
    entries: Mapping[str, Sequence[Entry]], names: Mapping[str, str], newest: str
) -> Iterator[Text]:
    """The cells whose conclusion in the newest run is not the one before.

    An entry without a counted attempt says nothing, and is passed over.
    """
    counted = [[e for e in found if e.runs] for found in entries.values()]
    pairs = [f[-2:] for f in counted if len(f) > 1 and f[-1].run == newest]
    told = [pair for pair in pairs if pair[0].conclusion != pair[1].conclusion]
    if not told:
        yield Text("No cell of the newest run came out other than before.")
        return
    yield Text(f"Changed in {one_line(newest)}:", "bold")
    for old, new in told:
        before, after = f"{old.conclusion} {old.count}", f"{new.conclusion} {new.count}"
        yield Text(f"  {one_line(names[new.cell])}: {before} -> {after}")
        if new.reason:
            yield Text(f"      {one_line(new.reason)}")
