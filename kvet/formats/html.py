# SPDX-License-Identifier: GPL-2.0-only
"""One self-contained page: `html.j2` filled with what the record says.

The template escapes every value by itself; style is inline, there is no script
and nothing is fetched, which the page's own Content-Security-Policy enforces.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from kvet.formats import (
    Record,
    Sighting,
    answers,
    clean,
    column,
    kernels_text,
    label,
    lore,
    percent,
    repeat,
    role_text,
    sightings,
    stacks,
)
from kvet.formats.costhtml import code_context, cost_context
from kvet.formats.diffview import line_anchors, series_views
from kvet.gaps import not_covered
from kvet.records import DONE, outcome
from kvet.report import COUNTERS, LABELS, exposure_text, median

MEANING = (
    ("FAIL", "k of n fresh boots showed a finding that the baseline does not show."),
    (
        "PASS",
        "no finding in n boots, the race was run in each of them and the control of the same "
        "config was caught. The bound is the failure rate that n clean boots cannot exclude.",
    ),
    ("INCONCLUSIVE", "nothing was seen, but the race was not run or the control not caught."),
    (DONE, "a measurement ran to its end; it judges nothing."),
    ("ERROR", "the host, the build or the harness failed; no kernel is blamed."),
)
MOST_FRAMES = 12
# (kernel, variant, file:line) to the address of that line in the page
Lines = Mapping[tuple[str, str, str], str]
MOST_NOT_RUN = 40


@cache
def page_template(name: str) -> Template:
    """A page of ours; undefined names are errors, so a misspelt one cannot print as nothing."""
    environment = Environment(
        loader=PackageLoader("kvet", "formats"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=clean_text,
    )
    return environment.get_template(name)


def clean_text(value: object) -> object:
    """Strings without control characters; markup and numbers as they are."""
    return clean(value) if type(value) is str else value


def html_report(record: Record, *, home: str = "") -> str:
    """The page of a whole run as HTML text; `home` is the address of the page of all runs."""
    anchors = {cell["id"]: f"cell-{i}" for i, cell in enumerate(record["cells"], 1)}
    views = series_views(record)
    lines = line_anchors(views)
    page = page_template("html.j2").render(
        record=record,
        home=home,
        kernels=kernels_text(record),
        facts=_facts(record),
        answers=answers(record),
        columns=_columns(record),
        rows=_rows(record, anchors),
        cells=[_cell(record, cell, anchors[cell["id"]], lines) for cell in record["cells"]],
        views=views,
        meaning=MEANING,
        not_covered=not_covered(record),
        sources=sorted(record["host"].get("kernels", {}).items()),
        patches=_patches(record),
        builds=_builds(record),
        cost=cost_context(record.get("cost_of") or record),
        code=code_context(record.get("cost_of") or record),
        command_line=f"./harness.py {shlex.join(record['plan'].get('command', []))}",
    )
    return page.rstrip() + "\n"


def _facts(record: Record) -> list[tuple[str, str]]:
    """Name and value of what the whole run has in common."""
    host, plan = record["host"], record["plan"]
    machine = f"{host.get('machine', '?')}, {host.get('cpus', '?')} CPUs, {host.get('system', '?')}"
    return [
        ("Kernels", kernels_text(record)),
        ("Compiler", host.get("compiler", "?")),
        ("Linker", host.get("linker", "?")),
        ("QEMU", host.get("qemu", "?")),
        ("Accelerator", host.get("accel", "?")),
        ("Host", f"{machine} {host.get('kernel', '')}".rstrip()),
        ("Attempts", f"{plan.get('attempts', '?')} a cell, seed {plan.get('seed', '?')}"),
    ]


def _columns(record: Record) -> list[dict[str, str]]:
    """One for each kernel x config x machine x workload, in the order of the matrix."""
    firsts = {column(cell): cell for cell in reversed(record["cells"])}
    ordered = dict.fromkeys(column(cell) for cell in record["cells"])
    return [
        {
            "label": label(record, firsts[key]),
            "kernel": key[0],
            "machine": key[2],
            "workload": key[3],
        }
        for key in ordered
    ]


def _rows(record: Record, anchors: Mapping[str, str]) -> list[dict[str, Any]]:
    """One for each variant: its title and links, and a cell (or None) for each column."""
    keys = list(dict.fromkeys(column(cell) for cell in record["cells"]))
    rows: dict[str, dict[str, Any]] = {}
    for cell in record["cells"]:
        row = rows.setdefault(
            cell["variant"],
            {
                "name": cell["variant"],
                "role": cell["role"],
                "title": cell["title"],
                "links": _links(cell),
                "cells": [None] * len(keys),
            },
        )
        row["cells"][keys.index(column(cell))] = {
            "anchor": anchors[cell["id"]],
            "conclusion": outcome(cell),
            "count": f"{cell['failures']}/{cell['runs']}",
            "bound": percent(cell["upper_bound"]) if outcome(cell) == "PASS" else "",
            "caught": cell["role"] == "control" and cell["conclusion"] == "FAIL",
            "surprise": _surprise(cell),
        }
    return list(rows.values())


def _links(cell: Record) -> list[dict[str, str]]:
    """Where the series was discussed: message ids as addresses of lore."""
    ids = [*cell["links"], *(p["message_id"] for p in cell["series"].get("patches", []))]
    pairs = [(text, lore(text)) for text in dict.fromkeys(ids)]
    return [{"text": text, "address": address} for text, address in pairs if address]


def _surprise(cell: Record) -> str:
    """What was expected, when something else came out."""
    wanted = str(cell["expected"])
    known = wanted in dict(MEANING)
    judged = outcome(cell) != DONE
    return wanted if known and judged and wanted != cell["conclusion"] else ""


def _cell(record: Record, cell: Record, anchor: str, lines: Lines) -> dict[str, Any]:
    """Everything that the page says about one cell; `lines` are addresses of lines of diffs."""
    attempts = cell["attempts"]
    return {
        "anchor": anchor,
        "id": cell["id"],
        "name": role_text(cell),
        "label": label(record, cell),
        "title": cell["title"],
        "links": _links(cell),
        "conclusion": outcome(cell),
        "reason": cell["reason"],
        "surprise": _surprise(cell),
        "numbers": _numbers(cell),
        "exposure": _exposure(cell),
        "metrics": _metrics(cell),
        "warnings": cell["build"]["warnings_added"],
        "build": cell["build"],
        "findings": [_finding(record, cell, sighting, lines) for sighting in sightings(cell)],
        "attempts": [
            {**a, "exposures": exposure_text({**cell, "attempts": [a]})} for a in attempts
        ],
        "coverage": _coverage(cell),
        "repeat": repeat(record, cell),
    }


def _numbers(cell: Record) -> list[tuple[str, str]]:
    """The counts of a cell: name and value."""
    attempts = cell["attempts"]
    bound = percent(cell["upper_bound"])
    if cell["upper_bound"] is not None and outcome(cell) != "PASS":
        bound += " (does not count: the cell did not pass a judgement)"
    interval = cell["interval"]
    span = f"{percent(interval[0])} to {percent(interval[1])}" if interval else "-"
    numbers = [
        ("Failed boots", f"{cell['failures']} of {cell['runs']} (wanted {cell['wanted']})"),
        ("95% upper bound", bound),
        ("95% interval", span),
        ("Boot, median", _seconds([a["boot_seconds"] for a in attempts])),
        ("Whole attempt, median", _seconds([a["seconds"] for a in attempts])),
        ("Build", cell["build"]["release"] or cell["build"]["key"] or "-"),
    ]
    if cell["reused"]:
        numbers.append(("Attempts taken from", cell["reused"]))
    return (
        [*numbers, ("Amplified", "yes: delays widen the window")] if cell["amplified"] else numbers
    )


def _seconds(values: Sequence[float | None]) -> str:
    middle = median(values)
    return f"{middle:.1f} s" if middle is not None else "-"


def _exposure(cell: Record) -> list[dict[str, Any]]:
    """Medians of the exposure counters, the telling ones first; `floor` None without one."""
    seen = [name for attempt in cell["attempts"] for name in attempt["exposure"]]
    names = dict.fromkeys((*cell["floor"], *COUNTERS, *seen))
    medians = {n: median([a["exposure"].get(n) for a in cell["attempts"]]) for n in names}
    return [
        {
            "label": LABELS.get(name, name.replace("_", " ")),
            "value": f"{value:.0f}",
            "floor": cell["floor"].get(name),
            "reached": value >= cell["floor"].get(name, 0),
        }
        for name, value in medians.items()
        if value is not None and (value or name in cell["floor"])
    ]


def _metrics(cell: Record) -> list[dict[str, str]]:
    """Median, least and most of each measurement over the attempts."""
    values: dict[tuple[str, str], list[float]] = {}
    for attempt in cell["attempts"]:
        for name, metric in attempt["metrics"].items():
            values.setdefault((name, metric["unit"]), []).append(metric["value"])
    return [
        {
            "name": name.replace("_", " "),
            "unit": unit,
            "median": f"{median(found):.5g}",
            "range": f"{min(found):.5g} to {max(found):.5g}",
        }
        for (name, unit), found in values.items()
    ]


def _finding(record: Record, cell: Record, sighting: Sighting, lines: Lines) -> dict[str, Any]:
    """One title: where it was seen, its stacks, its raw lines and how to see it again."""
    finding = sighting.finding
    where = (cell["kernel"], cell["variant"])
    frames = [{**f, "line": lines.get((*where, f["location"]), "")} for f in finding["frames"]]
    finding = {**finding, "frames": frames}
    shown = [{"side": s, "frames": f} for s, f in stacks(finding, most=MOST_FRAMES)]
    hidden = len(finding["frames"]) - sum(len(side["frames"]) for side in shown)
    console = next(a["console"] for a in cell["attempts"] if a["n"] == sighting.first)
    first, last = finding["first_line"], finding["last_line"]
    return {
        "title": sighting.title,
        "standing": sighting.standing,
        "count": f"{len(sighting.attempts)} of {len(cell['attempts'])}",
        "which": ", ".join(str(n) for n in sighting.attempts),
        "kind": finding["kind"],
        "corrupted": finding["corrupted"],
        "console": f"{console}, lines {first} to {last}"
        if first
        else f"told by {finding['origin']}",
        "sides": shown,
        "hidden": hidden,
        "whole": [{"side": s, "frames": f} for s, f in stacks(finding, most=10_000)],
        "notes": "\n".join(finding.get("notes", ())),
        "memory": _memory(record, cell, sighting),
        "excerpt": "\n".join(finding.get("excerpt", ())),
        "repeat": repeat(record, cell, sighting.first),
    }


def _memory(record: Record, cell: Record, sighting: Sighting) -> str:
    """The command that opens the memory dump of an attempt with this title; empty without one."""
    kept = [a["n"] for a in cell["attempts"] if a.get("memory") and a["n"] in sighting.attempts]
    return f"{repeat(record, cell, kept[0])} --drgn" if kept else ""


def _coverage(cell: Record) -> dict[str, Any] | None:
    """Which lines of the series ran (kvet/coverage.py); None when that was not measured."""
    coverage = cell.get("coverage") or {}
    if not coverage.get("patches"):
        return None
    missed = [(line["place"], line["text"]) for line in coverage["not_run"]]
    return {
        "patches": coverage["patches"],
        "run": len(coverage["run"]),
        "code": len(coverage["run"]) + len(missed),
        "missed": missed[:MOST_NOT_RUN],
        "more": max(0, len(missed) - MOST_NOT_RUN),
    }


def _patches(record: Record) -> list[dict[str, str]]:
    """Each patch of each variant, once."""
    found = {}
    for cell in record["cells"]:
        for patch in cell["series"].get("patches", []):
            key = (cell["kernel"], cell["variant"], patch["name"])
            found[key] = {
                "kernel": cell["kernel"],
                "variant": cell["variant"],
                "name": patch["name"],
                "subject": patch["subject"],
                "sha256": patch["sha256"],
            }
    return list(found.values())


def _builds(record: Record) -> list[dict[str, str]]:
    """Key, release and tree of the build of each cell that has one; cells may share it."""
    found: dict[str, dict[str, Any]] = {}
    for cell in record["cells"]:
        build = cell["build"]
        if build["key"]:
            entry = found.setdefault(
                build["key"],
                {"key": build["key"], "tree": cell["series"].get("tree", ""), "cells": []},
            )
            entry["cells"].append(f"{cell['variant']} {label(record, cell)}")
    return [{**entry, "cells": ", ".join(entry["cells"])} for entry in found.values()]
