# SPDX-License-Identifier: GPL-2.0-only
"""The matrix of the page: a row for each variant, a column for each thing it was run on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kvet.model import Conclusion, Role
from kvet.report.facts import judged_first, mood, outcome, schedules_told
from kvet.results.record import DONE, CellRecord, RunRecord, column, label
from kvet.terminal import STYLES
from kvet.text import lore, percent


def columns(record: RunRecord) -> list[dict[str, str]]:
    """One for each kernel x config x machine x workload, in the order of the matrix."""
    firsts = {column(cell): cell for cell in reversed(record.cells)}
    ordered = dict.fromkeys(column(cell) for cell in record.cells)
    return [
        {
            "label": label(record.cells, firsts[key]),
            "kernel": key[0],
            "machine": key[2],
            "workload": key[3],
        }
        for key in ordered
    ]


def rows(record: RunRecord, anchors: Mapping[str, str]) -> list[dict[str, Any]]:
    """One for each variant: its title and links, and a cell (or None) for each column."""
    keys = list(dict.fromkeys(column(cell) for cell in record.cells))
    found: dict[str, dict[str, Any]] = {}
    for cell in judged_first(record.cells):
        row = found.setdefault(
            cell.variant,
            {
                "name": cell.variant,
                "role": cell.role,
                "title": cell.title,
                "links": links(cell),
                "cells": [None] * len(keys),
            },
        )
        row["cells"][keys.index(column(cell))] = {
            "anchor": anchors[cell.id],
            "shown": outcome(cell),
            "mood": mood(cell).lower(),
            "count": cell.count,
            "ground": _ground(cell),
            "caught": cell.role is Role.CONTROL and cell.conclusion is Conclusion.FAIL,
            "surprise": surprise(cell),
        }
    return list(found.values())


def _ground(cell: CellRecord) -> str:
    """What a PASS rests on: the schedules that ran, else the failure rate not excluded."""
    if cell.outcome != "PASS":
        return ""
    return schedules_told([cell]) or f"bound {percent(cell.upper_bound)}"


def links(cell: CellRecord) -> list[dict[str, str]]:
    """Where the series was discussed: message ids as addresses of lore."""
    ids = [*cell.links, *(p.message_id for p in cell.series.patches)]
    pairs = [(text, lore(text)) for text in dict.fromkeys(ids)]
    return [{"text": text, "address": address} for text, address in pairs if address]


def surprise(cell: CellRecord) -> str:
    """What was expected, when something else came out."""
    wanted = str(cell.expected)
    known = wanted in STYLES
    judged = cell.outcome != DONE
    return wanted if known and judged and wanted != cell.conclusion else ""
