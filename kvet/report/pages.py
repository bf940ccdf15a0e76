# SPDX-License-Identifier: GPL-2.0-only
"""A static site over all runs: plain files that open from disk, without any script.

index.html                what each variant came to last, and every run
variants/NAME.html        the history of one variant
runs/RUN.html             the HTML report of one run
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import UndefinedError

from kvet.errors import InfraError, KvetError, UserError
from kvet.report.html import html_report, page_template
from kvet.results.history import Entry, History, PastRun, open_history
from kvet.results.record import column, label, read_record
from kvet.store import write_text
from kvet.text import Say, lore, percent

Entries = Mapping[str, Sequence[Entry]]
Column = tuple[str, str, str, str]


def write_site(results: Path, out: Path, warn: Say) -> int:
    """Write every page to `out` (pages of an earlier site are replaced); how many runs there are.

    A run that cannot be read is named to `warn` and left out.
    """
    for folder in (out, out / "runs", out / "variants"):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InfraError(f"cannot make {folder}: {error.strerror}") from error
    with open_history(results) as history:
        for note in history.sync(results):
            warn(note)
        runs = history.runs()
        if not runs:
            raise UserError(f"no run is on record in {results}")
        entries = history.entries(run.run for run in runs)
        drawn = {run.run for run in runs if _write_run(results, run.run, out, warn)}
        write_text(out / "index.html", index_page(runs, entries, drawn))
        for variant in history.variants():
            page = variant_page(history, variant, runs, drawn)
            write_text(out / "variants" / f"{variant}.html", page)
    return len(runs)


def _write_run(results: Path, run: str, out: Path, warn: Say) -> bool:
    """Draw the report of one run; False when its directory is gone or it cannot be drawn."""
    path = results / run / "results.json"
    if not path.exists():
        return False
    try:
        text = html_report(read_record(path), home="../index.html")
    except (KvetError, UndefinedError) as error:
        warn(f"{run}: its report cannot be drawn: {error}")
        return False
    write_text(out / "runs" / f"{run}.html", text)
    return True


def _columns(entries: Entries) -> dict[Column, str]:
    """Each column of cells (kernel, config, machine, workload) with its shortest telling name."""
    last = [found[-1] for found in entries.values()]
    named = {column(entry): label(last, entry) for entry in last}
    return dict(sorted(named.items(), key=lambda item: item[1]))


def index_page(runs: Sequence[PastRun], entries: Entries, drawn: set[str]) -> str:
    """The page of all runs; `drawn` are those with a page of their own."""
    when = {run.run: run.when for run in runs}
    columns = _columns(entries)
    variants: dict[str, dict[Column, Entry]] = {}
    for found in entries.values():
        counted = [entry for entry in found if entry.runs] or found
        variants.setdefault(found[-1].variant, {})[column(found[-1])] = counted[-1]
    rows = [_index_row(n, by, columns, when, drawn) for n, by in variants.items()]
    page = page_template("site_index.j2").render(
        newest=runs[-1],
        columns=list(columns.values()),
        rows=rows,
        runs=[_run_row(run, entries, drawn) for run in reversed(runs)],
    )
    return page.strip() + "\n"


def _index_row(
    name: str,
    cells: Mapping[Column, Entry],
    columns: Mapping[Column, str],
    when: Mapping[str, str],
    drawn: set[str],
) -> dict[str, Any]:
    """One variant: what it came to last in each column."""
    newest = max(cells.values(), key=lambda entry: when[entry.run])
    shown = [cells.get(name) for name in columns]
    return {
        "name": name,
        "address": _address("variants", name),
        "role": newest.role,
        "title": newest.title,
        "cells": [e and _cell(e, drawn, when=when[e.run]) for e in shown],
    }


def _cell(entry: Entry, drawn: set[str], *, up: str = "", when: str = "") -> dict[str, Any]:
    """One cell as the pages show it; `address` is where its run's report tells of it."""
    there = entry.run in drawn
    return {
        "conclusion": entry.conclusion,
        "count": entry.count,
        "bound": percent(entry.upper_bound) if _bounded(entry) else "",
        "caught": entry.role == "control" and entry.conclusion == "FAIL",
        "reused": entry.reused,
        "when": when,
        "address": f"{up}{_address('runs', entry.run)}#cell-{entry.place + 1}" if there else "",
    }


def _run_row(run: PastRun, entries: Entries, drawn: set[str]) -> dict[str, Any]:
    """One run: how many cells came to what."""
    counts = Counter(e.conclusion for found in entries.values() for e in found if e.run == run.run)
    told = ", ".join(f"{number} {word}" for word, number in sorted(counts.items()))
    return {
        **asdict(run),
        "when": run.when,
        "cells": told,
        "address": _address("runs", run.run) if run.run in drawn else "",
    }


def _address(folder: str, name: str) -> str:
    """A page's address from the index; names are file names and may hold anything but a slash."""
    return f"{folder}/{quote(name)}.html"


def variant_page(history: History, variant: str, runs: Sequence[PastRun], drawn: set[str]) -> str:
    """The page of one variant: a row for each run that it was in."""
    entries = history.entries((run.run for run in runs), variant=variant)
    columns = _columns(entries)
    cells = {(e.run, column(e)): e for found in entries.values() for e in found}
    newest = next(e for run in reversed(runs) for (name, _), e in cells.items() if name == run.run)
    in_it = [run for run in reversed(runs) if any(name == run.run for name, _ in cells)]
    rows = []
    for run in in_it:
        shown = [cells.get((run.run, name)) for name in columns]
        rows.append(
            {
                "when": run.when,
                "run": run.run,
                "kernels": run.kernels,
                "cells": [e and _cell(e, drawn, up="../") for e in shown],
            }
        )
    page = page_template("site_variant.j2").render(
        name=variant,
        role=newest.role,
        title=newest.title,
        links=[{"text": x, "address": lore(x)} for x in json.loads(newest.links) if lore(x)],
        columns=list(columns.values()),
        rows=rows,
        titles=history.titles(variant),
    )
    return page.strip() + "\n"


def _bounded(entry: Entry) -> bool:
    """Whether the conclusion rests on a bound of the failure rate."""
    return entry.conclusion == "PASS" and entry.upper_bound is not None
