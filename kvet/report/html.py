# SPDX-License-Identifier: GPL-2.0-only
"""One self-contained page: `html.j2` filled with what the record says.

The template escapes every value by itself; style is inline, there is no script
and nothing is fetched, which the page's own Content-Security-Policy enforces.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from kvet.cost.html import code_context, cost_context
from kvet.explorations import Exploration
from kvet.model import Finding
from kvet.report.answer import answer
from kvet.report.diff_view import line_anchors, series_views
from kvet.report.facts import (
    Sighting,
    answers,
    judged_first,
    median,
    mood,
    outcome,
    repeat,
    role_text,
    sightings,
    stacks,
)
from kvet.report.html_matrix import columns, links, rows, surprise
from kvet.report.not_covered import not_covered
from kvet.report.prefixes import prefix_rows
from kvet.report.proofs import proof_lines
from kvet.report.schedules import drawn, explorations, failing_name, schedule_id, statement
from kvet.report.text import COUNTERS, LABELS, exposure_text
from kvet.report.versions import version_steps
from kvet.results.booted import booted_on
from kvet.results.record import DONE, CellRecord, RunRecord, kernels_text, label
from kvet.text import clean, percent

MEANING = (
    ("FAIL", "k of n fresh boots showed a finding that the baseline does not show."),
    (
        "PASS",
        "no finding in n boots, the race was run in each of them, the control of the same config "
        "was caught, every outcome of every branch of the series happened or was waived, and the "
        "series leaves alone what judges it. The bound is the failure rate that n clean boots "
        "cannot exclude.",
    ),
    (
        "INCONCLUSIVE",
        "nothing was proved, and something that a PASS needs is missing: it says what.",
    ),
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
        loader=PackageLoader("kvet", "report"),
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


def html_report(record: RunRecord, *, measured: RunRecord | None = None, home: str = "") -> str:
    """The page of a whole run as HTML text; `home` is the address of the page of all runs.

    `measured` is the run whose costs it shows, itself unless another is given.
    """
    anchors = {cell.id: f"cell-{i}" for i, cell in enumerate(record.cells, 1)}
    views = series_views(record)
    lines = line_anchors(views)
    page = page_template("html.j2").render(
        record=record,
        home=home,
        kernels=kernels_text(record),
        facts=_facts(record),
        answer=answer(record, measured=measured),
        answers=answers(record),
        columns=columns(record),
        rows=rows(record, anchors),
        cells=[_cell(record, cell, anchors[cell.id], lines) for cell in judged_first(record.cells)],
        steps=list(version_steps(record)),
        prefixes=prefix_rows(record),
        views=views,
        meaning=MEANING,
        not_covered=not_covered(record),
        proofs="\n".join(proof_lines(record)).strip(),
        sources=sorted(record.host.kernels.items()),
        patches=_patches(record),
        builds=_builds(record),
        cost=cost_context(measured or record),
        code=code_context(measured or record),
        command_line=f"./harness.py {shlex.join(record.plan.command)}",
    )
    return page.rstrip() + "\n"


def _facts(record: RunRecord) -> list[tuple[str, str]]:
    """Name and value of what the whole run has in common."""
    host, plan = record.host, record.plan
    machine = f"{host.machine}, {host.cpus} CPUs, {host.system}"
    return [
        ("Kernels", kernels_text(record)),
        ("Compiler", host.compiler),
        ("Linker", host.linker),
        ("Booted on", booted_on(record)),
        ("Host", f"{machine} {host.kernel}".rstrip()),
        ("Attempts", f"{plan.attempts} a cell, seed {plan.seed}"),
    ]


def _cell(record: RunRecord, cell: CellRecord, anchor: str, lines: Lines) -> dict[str, Any]:
    """Everything that the page says about one cell; `lines` are addresses of lines of diffs."""
    attempts = cell.attempts
    return {
        "anchor": anchor,
        "id": cell.id,
        "name": role_text(cell),
        "label": label(record.cells, cell),
        "title": cell.title,
        "links": links(cell),
        "shown": outcome(cell),
        "mood": mood(cell).lower(),
        "reason": cell.reason,
        "surprise": surprise(cell),
        "numbers": _numbers(cell),
        "exposure": _exposure(cell),
        "metrics": _metrics(cell),
        "warnings": cell.build.warnings_added,
        "build": cell.build,
        "findings": [_finding(record, cell, sighting, lines) for sighting in sightings(cell)],
        "attempts": [
            {**asdict(a), "exposures": exposure_text(replace(cell, attempts=(a,)))}
            for a in attempts
        ],
        "coverage": _coverage(cell),
        "schedules": [_schedules(record, cell, *found) for found in explorations(cell)],
        "decisions": cell.decisions,
        "touches": cell.touches,
        "repeat": repeat(record, cell),
    }


def _numbers(cell: CellRecord) -> list[tuple[str, str]]:
    """The counts of a cell: name and value."""
    attempts = cell.attempts
    bound = percent(cell.upper_bound)
    if cell.upper_bound is not None and cell.outcome != "PASS":
        bound += " (does not count: the cell did not pass a judgement)"
    interval = cell.interval
    span = f"{percent(interval[0])} to {percent(interval[1])}" if interval else "-"
    numbers = [
        ("Failed boots", f"{cell.failures} of {cell.runs} (wanted {cell.wanted})"),
        ("95% upper bound", bound),
        ("95% interval", span),
        ("Boot, median", _seconds([a.boot_seconds for a in attempts])),
        ("Whole attempt, median", _seconds([a.seconds for a in attempts])),
        ("Build", cell.build.release or cell.build.key or "-"),
    ]
    if cell.reused:
        numbers.append(("Attempts taken from", cell.reused))
    return [*numbers, ("Amplified", "yes: delays widen the window")] if cell.amplified else numbers


def _seconds(values: Sequence[float | None]) -> str:
    middle = median(values)
    return f"{middle:.1f} s" if middle is not None else "-"


def _exposure(cell: CellRecord) -> list[dict[str, Any]]:
    """Medians of the exposure counters, the telling ones first; `floor` None without one."""
    seen = [name for attempt in cell.attempts for name in attempt.exposure]
    names = dict.fromkeys((*cell.floor, *COUNTERS, *seen))
    medians = {n: median([a.exposure.get(n) for a in cell.attempts]) for n in names}
    return [
        {
            "label": LABELS.get(name, name.replace("_", " ")),
            "value": f"{value:.0f}",
            "floor": cell.floor.get(name),
            "reached": value >= cell.floor.get(name, 0),
        }
        for name, value in medians.items()
        if value is not None and (value or name in cell.floor)
    ]


def _metrics(cell: CellRecord) -> list[dict[str, str]]:
    """Median, least and most of each measurement over the attempts."""
    values: dict[tuple[str, str], list[float]] = {}
    for attempt in cell.attempts:
        for name, metric in attempt.metrics.items():
            values.setdefault((name, metric.unit), []).append(metric.value)
    return [
        {
            "name": name.replace("_", " "),
            "unit": unit,
            "median": f"{median(found):.5g}",
            "range": f"{min(found):.5g} to {max(found):.5g}",
        }
        for (name, unit), found in values.items()
    ]


def _finding(
    record: RunRecord, cell: CellRecord, sighting: Sighting, lines: Lines
) -> dict[str, Any]:
    """One title: where it was seen, its stacks, its raw lines and how to see it again."""
    finding = sighting.finding
    own = (cell.kernel, cell.variant)
    anchors = {place: address for (*series, place), address in lines.items() if (*series,) == own}
    shown = _sides(finding, anchors, most=MOST_FRAMES)
    hidden = len(finding.frames) - sum(len(side["frames"]) for side in shown)
    console = next(a.console for a in cell.attempts if a.n == sighting.first)
    first, last = finding.first_line, finding.last_line
    return {
        "title": sighting.title,
        "standing": sighting.standing,
        "count": f"{len(sighting.attempts)} of {len(cell.attempts)}",
        "which": ", ".join(str(n) for n in sighting.attempts),
        "kind": finding.kind,
        "corrupted": finding.corrupted,
        "console": f"{console}, lines {first} to {last}"
        if first
        else f"reported by {finding.origin}",
        "sides": shown,
        "hidden": hidden,
        "whole": _sides(finding, anchors, most=len(finding.frames)),
        "notes": "\n".join(finding.notes),
        "memory": _memory(record, cell, sighting),
        "excerpt": "\n".join(finding.excerpt),
        "repeat": repeat(record, cell, sighting.first),
    }


def _sides(finding: Finding, anchors: Mapping[str, str], *, most: int) -> list[dict[str, Any]]:
    """The stacks of a finding; each frame knows the address of its line in the diff."""
    return [
        {
            "side": side,
            "frames": [{**asdict(f), "line": anchors.get(f.location, "")} for f in frames],
        }
        for side, frames in stacks(finding, most=most)
    ]


def _memory(record: RunRecord, cell: CellRecord, sighting: Sighting) -> str:
    """The command that opens the memory dump of an attempt with this title; empty without one."""
    kept = [a.n for a in cell.attempts if a.memory and a.n in sighting.attempts]
    return f"{repeat(record, cell, kept[0])} --drgn" if kept else ""


def _schedules(
    record: RunRecord, cell: CellRecord, attempt: int, one: Exploration
) -> dict[str, Any]:
    """What controlled schedules of one set of sides showed, with the failing round drawn."""
    replay = f"{repeat(record, cell, attempt)} --schedule {schedule_id(one)}"
    own = set(cell.coverage.run) if cell.coverage else set()
    return {
        "statement": statement(one),
        "name": failing_name(one) if one.failing else "",
        "diagram": drawn(one) if one.failing else None,
        "touched": own & {event.location for event in one.events},
        "replay": replay if one.failing else "",
    }


def _coverage(cell: CellRecord) -> dict[str, Any] | None:
    """Which lines of the series ran, from the build's patch lines; None when not measured."""
    coverage = cell.coverage
    if coverage is None or not coverage.patches:
        return None
    missed = [(line.place, line.text) for line in coverage.not_run]
    return {
        "patches": coverage.patches,
        "run": len(coverage.run),
        "code": len(coverage.run) + len(missed),
        "missed": missed[:MOST_NOT_RUN],
        "more": max(0, len(missed) - MOST_NOT_RUN),
    }


def _patches(record: RunRecord) -> list[dict[str, str]]:
    """Each patch of each variant, once."""
    found = {}
    for cell in record.cells:
        for patch in cell.series.patches:
            key = (cell.kernel, cell.variant, patch.name)
            found[key] = {
                "kernel": cell.kernel,
                "variant": cell.variant,
                "name": patch.name,
                "subject": patch.subject,
                "sha256": patch.sha256,
            }
    return list(found.values())


def _builds(record: RunRecord) -> list[dict[str, str]]:
    """Key, release and tree of the build of each cell that has one; cells may share it."""
    found: dict[str, dict[str, Any]] = {}
    for cell in record.cells:
        build = cell.build
        if build.key:
            entry = found.setdefault(
                build.key,
                {"key": build.key, "tree": cell.series.tree, "cells": []},
            )
            entry["cells"].append(f"{cell.variant} {label(record.cells, cell)}")
    return [{**entry, "cells": ", ".join(entry["cells"])} for entry in found.values()]
