# SPDX-License-Identifier: GPL-2.0-only
"""Compares runs: what changed from the first one to each later one, cell by cell.

A regression is a kernel that looks worse, or a control that is no longer
caught. Time is never compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from kvet.errors import ExitCode
from kvet.model import Role
from kvet.results.record import UNKNOWN, CellRecord, RunRecord, label
from kvet.stats import fisher
from kvet.terminal import STYLES, WIDTH, drawn
from kvet.text import one_line

ALPHA = 0.05
# what must be the same for k/n of two runs to speak of the same thing
HOST_FACTS = ("qemu", "accel", "compiler", "linker")


@dataclass(frozen=True, slots=True)
class Change:
    """One cell that differs between the first run and a later one.

    `p` is Fisher's exact probability (two-sided) of counts so far apart by chance;
    None when either run counted no attempt.
    """

    cell: str
    run: str
    before: str
    after: str
    counts: tuple[str, str]
    p: float | None
    new_titles: tuple[str, ...]
    gone_titles: tuple[str, ...]
    regression: str

    @property
    def moved(self) -> bool:
        """Whether k/n moved by more than chance explains."""
        return self.p is not None and self.p < ALPHA


@dataclass(frozen=True, slots=True)
class Comparison:
    """The runs by name, the first being the reference, and what changed since.

    `names` gives each cell id a short name: its variant and what else tells cells apart.
    `rows` holds for each cell one (conclusion, k/n) a run, None where it was not run.
    `caveats` are differences of host or source that may explain a change.
    """

    runs: tuple[str, ...]
    rows: Mapping[str, tuple[tuple[str, str] | None, ...]]
    names: Mapping[str, str]
    changes: tuple[Change, ...]
    caveats: tuple[str, ...]

    @property
    def regressions(self) -> tuple[Change, ...]:
        return tuple(change for change in self.changes if change.regression)

    @property
    def exit_code(self) -> ExitCode:
        """FAIL when anything got worse, else OK."""
        return ExitCode.FAIL if self.regressions else ExitCode.OK


def compare(records: Sequence[RunRecord]) -> Comparison:
    """What changed from the first of `records` to each of the others."""
    cells = [{cell.id: cell for cell in record.cells} for record in records]
    changes: list[Change] = []
    caveats: list[str] = []
    for record, later in zip(records[1:], cells[1:], strict=True):
        both = [name for name in cells[0] if name in later]
        found = [_change(record.run, cells[0][name], later[name]) for name in both]
        changes += [change for change in found if _tells(change)]
        caveats += _caveats(records[0], record)
    everything = [cell for record in records for cell in record.cells]
    names = {c.id: f"{c.variant} {label(everything, c)}" for c in everything}
    return Comparison(
        runs=tuple(record.run for record in records),
        rows={name: tuple(_entry(some.get(name)) for some in cells) for name in names},
        names=names,
        changes=tuple(changes),
        caveats=tuple(caveats),
    )


def _entry(cell: CellRecord | None) -> tuple[str, str] | None:
    return (cell.conclusion.value, cell.count) if cell else None


def _change(run: str, old: CellRecord, new: CellRecord) -> Change:
    """How one cell differs between two runs."""
    before, after = set(old.new_titles), set(new.new_titles)
    # a cell without any counted attempt says nothing about titles that it lacks
    gone = before - after if new.runs else set()
    change = Change(
        cell=new.id,
        run=run,
        before=old.conclusion.value,
        after=new.conclusion.value,
        counts=(old.count, new.count),
        p=_fisher(old, new),
        new_titles=tuple(t for t in new.new_titles if t not in before and old.runs),
        gone_titles=tuple(t for t in old.new_titles if t in gone),
        regression="",
    )
    return _judged(change, old, new)


def _judged(change: Change, old: CellRecord, new: CellRecord) -> Change:
    """`change` with the reason why it is a regression, if it is one."""
    reason = ""
    if not old.runs or not new.runs:
        pass  # one of the two says nothing about the kernel
    elif new.role is Role.CONTROL:
        if change.before == "FAIL" and change.after != "FAIL":
            reason = "the control is no longer caught"
        elif change.moved and _rate(new) < _rate(old):
            reason = "the control is caught less often"
    elif change.after == "FAIL" and change.before != "FAIL":
        reason = "fails now"
    elif change.new_titles:
        reason = "shows a new title"
    elif change.moved and _rate(new) > _rate(old):
        reason = "fails more often"
    return replace(change, regression=reason)


def _rate(cell: CellRecord) -> float:
    return cell.failures / cell.runs


def _fisher(old: CellRecord, new: CellRecord) -> float | None:
    """Fisher's exact test on failed and clean attempts of two cells."""
    if not old.runs or not new.runs:
        return None
    return fisher(old.failures, old.runs, new.failures, new.runs)


def _tells(change: Change) -> bool:
    """Whether a change is worth a line."""
    titles = change.new_titles or change.gone_titles
    return bool(change.before != change.after or titles or change.moved or change.regression)


def _caveats(old: RunRecord, new: RunRecord) -> Iterator[str]:
    """What else differs between two runs; only facts that both state."""
    for fact in HOST_FACTS:
        before, after = getattr(old.host, fact), getattr(new.host, fact)
        if before != after and {before, after}.isdisjoint((UNKNOWN, "")):
            yield f"{new.run}: {fact} {after}, not {before}"
    kernels = old.host.kernels
    for name, kernel in new.host.kernels.items():
        first = kernels.get(name)
        if first and first.tree != kernel.tree:
            versions = f"{kernel.version}, not {first.version}"
            yield f"{new.run}: {name} is another tree ({versions})"
    known = {cell.id: cell for cell in old.cells}
    changed = [
        cell.variant
        for cell in new.cells
        if cell.id in known and cell.series.id != known[cell.id].series.id
    ]
    if changed:
        yield f"{new.run}: other patches in {', '.join(dict.fromkeys(changed))}"


def compare_text(comparison: Comparison, *, color: bool = False, width: int = WIDTH) -> str:
    """The comparison as text of at most `width` columns."""
    return drawn(_render(comparison), color=color, width=min(width, WIDTH))


def _render(comparison: Comparison) -> RenderableType:
    parts: list[RenderableType] = [Text("Compared with the first:")]
    parts += [Text(f"  {letter} {name}") for letter, name in _letters(comparison)]
    parts += ["", _table(comparison), ""]
    letters = {name: letter for letter, name in _letters(comparison)}
    for change in comparison.changes:
        parts.append(_told(change, f"{letters[change.run]}: {comparison.names[change.cell]}"))
    if not comparison.changes:
        parts.append(Text("No cell changed."))
    parts += [Text(f"Mind: {caveat}", "yellow") for caveat in comparison.caveats]
    count = len(comparison.regressions)
    verdict = f"{count} regression{'s' if count != 1 else ''} (exit {comparison.exit_code})"
    parts.append(Text(verdict, STYLES["FAIL" if count else "PASS"]))
    return Group(*parts)


def _letters(comparison: Comparison) -> Iterator[tuple[str, str]]:
    """A short name for each run: A, B, ... and numbers when the letters run out."""
    for i, name in enumerate(comparison.runs):
        yield chr(ord("A") + i) if i < 26 else str(i + 1), name


def _table(comparison: Comparison) -> Table:
    """One row for each cell, one column for each run."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("cell", overflow="fold", ratio=1)
    for letter, _ in _letters(comparison):
        table.add_column(letter, overflow="fold")
    for name, entries in comparison.rows.items():
        shown = [
            Text(f"{entry[0]} {entry[1]}", STYLES.get(entry[0], "")) if entry else Text("-")
            for entry in entries
        ]
        table.add_row(Text(one_line(comparison.names[name])), *shown)
    return table


def _told(change: Change, name: str) -> Text:
    """One change in words, its titles on lines of their own."""
    odds = f", p = {change.p:.3g}" if change.p is not None else ""
    text = Text(
        f"{one_line(name)}: {change.before} {change.counts[0]} -> "
        f"{change.after} {change.counts[1]}{odds}"
    )
    if change.regression:
        text.append(f"\n    REGRESSION: {change.regression}", STYLES["FAIL"])
    elif change.moved:
        text.append("\n    k/n moved by more than chance explains")
    for sign, titles in (("new", change.new_titles), ("gone", change.gone_titles)):
        for title in titles:
            text.append(f"\n    {sign}: {one_line(title)}")
    return text
