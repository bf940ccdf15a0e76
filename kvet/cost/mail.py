# SPDX-License-Identifier: GPL-2.0-only
"""What a mail says of cost: differences with their intervals, waits, and bytes of code."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from kvet.cost.code_text import growth
from kvet.cost.contention import contention_tables, is_contention
from kvet.cost.figures import (
    LEAST_INSNS,
    LEAST_SHARE,
    REFERENCES,
    UNIT_NAMES,
    CostTable,
    Figures,
    figures,
)
from kvet.cost.tables import relative
from kvet.results.record import RunRecord

# of all the tables of waits, those that answer what freers and walkers pay
WAITS = ("small pages", "longest")


def cost_lines(record: RunRecord, variants: Collection[str]) -> Iterator[tuple[bool, str]]:
    """(whether it may be wrapped, line) for what a measuring run says of `variants`."""
    for title, group in figures(record).items():
        shown = [v for v in group if v.variant in variants]
        if not shown:
            continue
        boots = max(len(values) for v in shown for values in v.values.values())
        unit = UNIT_NAMES[group[0].unit]
        told = "never time" if unit == "instructions" else "on hardware"
        yield True, f"Cost in guest {unit}, {told} ({record.run}: {title}; {boots} seeds)."
        if is_contention(group):
            yield from _tables([t for t in contention_tables(shown) if _answers(t)])
        else:
            yield True, _what_differs(unit)
            yield from _tables(_differences(group, variants))
    yield from _code(record, variants)


def _what_differs(unit: str) -> str:
    return (
        f"A difference is one of at least {LEAST_INSNS:.0f} {unit} and {100 * LEAST_SHARE:.0f} % "
        "with all of its 95 % interval (± the longer side of it, where it has a width), "
        "p < 0.05 after Holm's correction; = says there is none."
    )


def _answers(table: CostTable) -> bool:
    return bool(table.rows) and any(word in table.title for word in WAITS)


def _differences(group: Sequence[Figures], variants: Collection[str]) -> Iterator[CostTable]:
    """The tables of differences, of these variants alone."""
    for reference in (r for r in REFERENCES if r in [v.variant for v in group]):
        for table in relative(group, reference):
            columns = [i for i, name in enumerate(table.variants) if name in variants]
            rows = {op: [cells[i] for i in columns] for op, cells in table.rows.items()}
            rows = {op: cells for op, cells in rows.items() if set(cells) - {"=", "-"}}
            if rows:
                yield CostTable(table.title, [table.variants[i] for i in columns], rows)


def _tables(tables: Sequence[CostTable] | Iterator[CostTable]) -> Iterator[tuple[bool, str]]:
    for table in tables:
        yield False, ""
        yield False, f"{table.title}:"
        first = max(len(op) for op in table.rows)
        widths = [
            max(len(text) for text in (name, *(cells[i] for cells in table.rows.values())))
            for i, name in enumerate(table.variants)
        ]
        for op, cells in {"": table.variants, **table.rows}.items():
            columns = (text.rjust(width) for text, width in zip(cells, widths, strict=True))
            yield False, f"  {op:<{first}}  {'  '.join(columns)}".rstrip()
    yield False, ""


def _code(record: RunRecord, variants: Collection[str]) -> Iterator[tuple[bool, str]]:
    for entry in record.code:
        if entry.variant in variants:
            functions, objects = growth(entry.functions_bytes), growth(entry.objects_bytes)
            yield (
                True,
                f"{entry.variant} ({entry.config}): bytes of code {functions}, of data "
                f"{objects} against {entry.baseline}; {entry.functions_changed} functions "
                "differ.",
            )
