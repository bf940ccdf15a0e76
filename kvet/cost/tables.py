# SPDX-License-Identifier: GPL-2.0-only
"""The figures of a measuring run as tables of text: what `harness.py cost` prints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from textwrap import wrap

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from kvet.cost.contention import contention_tables, is_contention
from kvet.cost.figures import (
    LEAST_INSNS,
    LEAST_SHARE,
    REFERENCES,
    TESTED,
    UNIT_NAMES,
    CostTable,
    Difference,
    Figures,
    compare,
    figures,
    operations,
    spread,
)
from kvet.results.record import RunRecord
from kvet.terminal import drawn

COLUMNS = 5  # variants beside one another in 100 columns
# what comes before and after hides the small operations in a round
ROUNDS = ("map_2m_fresh", "map_2m_table", "map_1g_table")
# title, situation, metric, whether rows that are all zero are left out
TABLES = (
    ("no walker: {unit} from call to return", "none", "typical", False),
    ("no walker: nanoseconds from call to return", "none", "ns", False),
    ("a walk is open: {unit} of the caller's own thread", "always", "own", False),
    ("a walk is open: {unit} of others that the caller waits for", "always", "wait", True),
    ("a walk is open: nanoseconds from call to return", "always", "ns", False),
    ("a walk is open in every 8th: mean, waiting included", "some", "mean", False),
    ("no walker: a whole round, with what was put off until the next tick", "none", "round", False),
    ("a walk is open: huge requests that got small pages, %", "always", "small", True),
    ("no walker: huge requests that got small pages, %", "none", "small", True),
)


def absolute(variants: Sequence[Figures]) -> Iterator[CostTable]:
    """The figures themselves."""
    unit = UNIT_NAMES[variants[0].unit]
    for title, situation, what, sparse in TABLES:
        rows = {
            op: [_value(v, situation, op, what) for v in variants]
            for op in operations(variants, situation)
            if what != "round" or op in ROUNDS
        }
        wanted = {op: r for op, r in rows.items() if any(r) or not (sparse or set(r) == {None})}
        cells = {op: ["-" if x is None else f"{x:.0f}" for x in r] for op, r in wanted.items()}
        yield CostTable(title.format(unit=unit), [v.variant for v in variants], cells)


def _value(variant: Figures, situation: str, op: str, what: str) -> float | None:
    if what != "wait":
        return variant.mean(f"{situation}.{op}.{what}")
    whole, own = (variant.mean(f"{situation}.{op}.{name}") for name in ("typical", "own"))
    return None if whole is None or own is None else round(whole - own)


def relative(variants: Sequence[Figures], reference: str) -> Iterator[CostTable]:
    """Differences to one variant; operations in which nobody differs are left out."""
    found = compare(variants, reference)
    others = [v.variant for v in variants if v.variant != reference]
    for situation, metric in TESTED.items():
        cells: dict[str, list[str]] = {}
        for op in operations(variants, situation):
            name = f"{situation}.{op}.{metric}"
            row = {d.variant: d for d in found if d.name == name}
            if any(d.matters for d in row.values()):
                cells[op] = [difference_text(row.get(v)) for v in others]
        walk = "no walker" if situation == "none" else "a walk is open"
        yield CostTable(f"difference to {reference}, {walk}", others, cells)


def difference_text(found: Difference | None) -> str:
    """A difference with the longer side of its interval; `=` for none."""
    if found is None:
        return "-"
    if not found.matters:
        return "="
    return f"{found.size:+.0f}" + (f" ±{found.half:.0f}" if found.half >= 0.5 else "")


def cost_tables(
    variants: Sequence[Figures], references: Sequence[str] = REFERENCES
) -> Iterator[CostTable]:
    """All tables of one group of cells that have rows."""
    made: Iterable[CostTable]
    if is_contention(variants):
        made = contention_tables(variants)
    else:
        made = (*absolute(variants), *(t for r in references for t in relative(variants, r)))
    yield from (table for table in made if table.rows)


def spread_text(variants: Sequence[Figures]) -> str:
    """The widest spread over the boots as one sentence."""
    share, where = spread(variants)
    boots = max(len(values) for v in variants for values in v.values.values())
    return f"Widest spread over {boots} seeds: {100 * share:.3f} % ({where or 'none'})."


def how_counted(units: set[str]) -> str:
    """What is counted, and what counts as a difference."""
    exact = units <= {"insns"}
    what = "Guest instructions, never time." if exact else "CPU cycles and nanoseconds."
    return (
        f"{what} A difference is one of at least {LEAST_INSNS:.0f} "
        f"{'instructions' if exact else 'cycles'} and {100 * LEAST_SHARE:.0f} % with\n"
        "all of its 95 % interval, and p < 0.05 after Holm's correction; = says there is none.\n"
    )


def cost_report(record: RunRecord, references: Sequence[str] = REFERENCES) -> str:
    """The cost tables of a run, at most 100 columns wide."""
    groups = figures(record)
    parts: list[RenderableType] = [_header(record, {v.unit for g in groups.values() for v in g})]
    for title, variants in groups.items():
        parts.append(Text(title, "bold underline"))
        for table in cost_tables(variants, references):
            parts += _drawn_table(table)
        if not is_contention(variants):
            parts.append(spread_text(variants))
    return drawn(Group(*parts))


def _header(record: RunRecord, units: set[str]) -> Text:
    host = record.host
    kernels = host.kernels
    versions = ", ".join(f"{name} = {k.version}" for name, k in kernels.items())
    return Text(
        f"Cost of run {record.run}: {versions}, QEMU {host.qemu}\n"
        f"{host.compiler}\n{how_counted(units)}"
    )


def _drawn_table(found: CostTable) -> Iterator[RenderableType]:
    """One table, cut into pieces of `COLUMNS` variants."""
    yield Text(found.title, "bold")
    for start in range(0, len(found.variants), COLUMNS):
        table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
        table.add_column("", width=22, no_wrap=True)
        for variant in found.variants[start : start + COLUMNS]:
            table.add_column("\n".join(wrap(variant, 14)), width=14, justify="right")
        for op, cells in found.rows.items():
            table.add_row(op, *islice(cells, start, start + COLUMNS))
        yield table
        yield ""
