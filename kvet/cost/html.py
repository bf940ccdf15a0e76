# SPDX-License-Identifier: GPL-2.0-only
"""What the page says of a measuring run: plots, cost tables, and the code of its builds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from kvet.cost.code_text import code_groups, function_title, growth, side_lines, summary_cells
from kvet.cost.contention import is_contention
from kvet.cost.figures import REFERENCES, Figures, figures
from kvet.cost.plots import plots_of
from kvet.cost.tables import cost_tables, how_counted, spread_text
from kvet.results.code_record import CodeRecord
from kvet.results.record import RunRecord

MARKS = {"|": "changed", "<": "gone", ">": "new", "~": "gap"}
# the legend of the two kinds of panels
HOW_TO_READ = {
    False: "A dot is the difference, a bar its 95 % interval; grey: no difference. Up to ten "
    "instructions are drawn in proportion, more of them by powers of ten.",
    True: "Waits are counts of instructions that the CPU carried out from call to return, those of "
    "others included and idling not. The walker and the freers share one CPU. Where requests get "
    "small pages the walks are longer, and fewer of them fit.",
}


def cost_context(record: RunRecord) -> dict[str, Any] | None:
    """Plots and tables of each measured group; None when nothing was measured."""
    groups = figures(record)
    if not groups:
        return None
    units = {v.unit for group in groups.values() for v in group}
    return {
        "how": how_counted(units),
        "groups": [
            _group(title, variants, number)
            for number, (title, variants) in enumerate(groups.items(), 1)
        ],
    }


def _group(title: str, variants: Sequence[Figures], number: int) -> dict[str, Any]:
    names = [v.variant for v in variants]
    # between the designs themselves the differences are smaller than to the baseline
    known = [r for r in reversed(REFERENCES) if r in names] or names
    plots = plots_of(variants, known[0], f"plot-{number}")
    return {
        "title": title,
        "name": f"cost-{number}",
        "read": HOW_TO_READ[is_contention(variants)],
        "plots": [Markup(plot.svg) for plot in plots],
        "tables": list(cost_tables(variants)),
        "spread": "" if is_contention(variants) else spread_text(variants),
    }


def code_context(record: RunRecord) -> list[dict[str, Any]]:
    """Each group of compared builds: sizes of all, and the functions of each."""
    return [
        {"title": title, "name": f"code-{number}", "entries": [_entry(e) for e in entries]}
        for number, (title, entries) in enumerate(
            code_groups(record.code).items(), 1
        )
    ]  # fmt: skip


def _entry(entry: CodeRecord) -> dict[str, Any]:
    return {
        "variant": entry.variant,
        "baseline": entry.baseline,
        "cells": summary_cells(entry),
        "symbols": [
            {
                "name": s.name,
                "kind": s.kind,
                "sizes": [size or "-" for size in s.bytes],
                "growth": growth(s.bytes),
            }
            for s in entry.symbols
        ],
        "left_out": entry.symbols_left_out,
        "functions": [
            {
                "title": function_title(f),
                "touched": f.touched,
                "lines": [(MARKS.get(mark, ""), line) for mark, line in side_lines(f)],
            }
            for f in entry.functions
        ],
        "more": max(0, entry.functions_changed - len(entry.functions)),
    }
