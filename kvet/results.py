# SPDX-License-Identifier: GPL-2.0-only
"""The whole run as one value: what `results.json` holds, and its conclusions.

The record is enough to draw every report again (docs/results.md describes it).
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from kvet.coverage import PatchLines, summary
from kvet.emulator import Fault
from kvet.model import Attempt, Build, Cell, Conclusion, Finding, Role, Status
from kvet.series import AppliedSeries
from kvet.statistics import add_tests
from kvet.store import plain
from kvet.verdict import (
    COUNTED,
    Verdict,
    conclude,
    exit_code,
    floor_for,
    new_findings,
    titles,
)

SCHEMA = 1


@dataclass(slots=True)
class CellRun:
    """A cell on its way through a run: what is known of it so far.

    `error` is a trouble of the host that kept it from running; `reused` names
    the earlier run its attempts were taken from. `again` are attempts where
    the emulator's known `faults` cannot happen.
    """

    cell: Cell
    wanted: int
    series: AppliedSeries | None = None
    build: Build | None = None
    build_seconds: float = 0.0
    build_finding: Finding | None = None
    build_log: str = ""
    attempts: list[Attempt] = field(default_factory=list)
    error: str = ""
    reused: str = ""
    lines: PatchLines | None = None
    faults: tuple[Fault, ...] = ()
    again: list[Attempt] = field(default_factory=list)

    @property
    def group(self) -> tuple[str, ...]:
        """Cells of one group differ in the variant alone and may be compared."""
        c = self.cell
        return (c.kernel.name, c.config.name, c.machine.name, c.workload.name)

    @property
    def role(self) -> Role:
        return self.cell.variant.role

    def add(self, attempt: Attempt) -> None:
        """Take in an attempt; they are kept in the order of their numbers."""
        self.attempts = sorted((*self.attempts, attempt), key=lambda a: a.n)

    def take_again(self, cell_id: str, attempt: Attempt) -> None:
        """Take in an attempt that was repeated where the emulator cannot lie."""
        self.again.append(attempt)


def conclude_cells(runs: Sequence[CellRun]) -> dict[str, Verdict]:
    """The verdict on every cell, by cell id; controls first, since candidates lean on them."""
    verdicts: dict[str, Verdict] = {}
    for role in (Role.BASELINE, Role.CONTROL, Role.CANDIDATE):
        for run in runs:
            if run.role is role:
                verdicts[run.cell.id] = _conclude(run, runs, verdicts)
    return verdicts


def _conclude(run: CellRun, runs: Sequence[CellRun], verdicts: Mapping[str, Verdict]) -> Verdict:
    if run.error and not run.attempts:
        return Verdict(Conclusion.ERROR, 0, 0, None, None, run.error)
    peers = [r for r in runs if r.group == run.group]
    baseline = [a for r in peers if r.role is Role.BASELINE for a in r.attempts]
    build = run.build_finding
    if build and any(r.build_finding for r in peers if r.role is Role.BASELINE):
        return Verdict(Conclusion.ERROR, 0, 0, None, None, f"the baseline fails too: {build.title}")
    uncaught: Sequence[str] = ()
    if run.role is Role.CANDIDATE:
        uncaught = _uncaught([r for r in peers if r.role is Role.CONTROL], verdicts)
    verdict = conclude(
        run.role, run.attempts, wanted=run.wanted, baseline=baseline, uncaught=uncaught, build=build
    )
    if run.again and not any(new_findings(a, titles(baseline)) for a in run.again):
        names = ", ".join(f.name for f in run.faults)
        reason = f"seen only where this QEMU is known to lie ({names}): {verdict.reason}"
        return replace(verdict, conclusion=Conclusion.INCONCLUSIVE, reason=reason)
    return verdict


def _uncaught(controls: Sequence[CellRun], verdicts: Mapping[str, Verdict]) -> list[str]:
    """Names of the controls that should have been caught in this group and were not."""
    if not controls:
        return ["no control was run with this config"]
    amplified = controls[0].cell.workload.params.get("amplify", 0) != 0
    return [
        r.cell.variant.name
        for r in controls
        if verdicts[r.cell.id].conclusion is not Conclusion.FAIL
        and (amplified or not r.cell.variant.amplified_only)
    ]


def results_record(
    run_id: str,
    runs: Sequence[CellRun],
    *,
    host: Mapping[str, Any],
    plan: Mapping[str, Any],
    code: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """The contents of results.json."""
    verdicts = conclude_cells(runs)
    exits = exit_code((r.role, verdicts[r.cell.id].conclusion) for r in runs)
    baselines = {r.group: r for r in runs if r.role is Role.BASELINE}
    record: dict[str, Any] = plain(
        {
            "schema": SCHEMA,
            "run": run_id,
            "conclusion": {0: "PASS", 1: "FAIL", 3: "ERROR", 4: "INCONCLUSIVE"}[exits],
            "exit_code": exits,
            "host": dict(host),
            "plan": dict(plan),
            "code": list(code),
            "cells": [_cell(r, verdicts[r.cell.id], baselines.get(r.group)) for r in runs],
        }
    )
    add_tests(record["cells"])
    return record


def _cell(run: CellRun, verdict: Verdict, baseline: CellRun | None) -> dict[str, Any]:
    cell = run.cell
    amplify = cell.workload.params.get("amplify", 0)
    return {
        "id": cell.id,
        "kernel": cell.kernel.name,
        "variant": cell.variant.name,
        "config": cell.config.name,
        "machine": cell.machine.name,
        "page_kib": cell.machine.page_kib,
        "vcpus": cell.machine.vcpus,
        "workload": cell.workload.name,
        "role": cell.variant.role.value,
        "title": cell.variant.title,
        "expected": cell.variant.expected,
        "links": list(cell.variant.links),
        "conclusion": verdict.conclusion.value,
        "reason": verdict.reason,
        "failures": verdict.failures,
        "runs": verdict.runs,
        "wanted": run.wanted,
        "upper_bound": verdict.upper_bound,
        "interval": verdict.interval,
        "new_titles": list(verdict.new_titles),
        "known_titles": list(verdict.known_titles),
        "amplified": bool(amplify),
        "measures": cell.workload.measures,
        "control": cell.workload.control,
        "floor": dict(floor_for(cell.variant, cell.workload)),
        "reused": run.reused,
        "series": _series(run.series),
        "build": _build(run, baseline),
        "coverage": _coverage(run),
        "emulator_faults": [f.name for f in run.faults],
        "again": [plain(a) for a in run.again],
        "attempts": [plain(a) for a in run.attempts],
    }


def _coverage(run: CellRun) -> dict[str, Any] | None:
    """Lines of the series that ran in any attempt; None where that is not known."""
    ran = {place for attempt in run.attempts for place in attempt.lines_run}
    if run.lines is None or run.series is None or not ran:
        return None
    return summary(run.lines, ran, [p.subject for p in run.series.patches])


def _series(series: AppliedSeries | None) -> dict[str, Any]:
    if series is None:
        return {}
    return {
        "id": series.series_id,
        "base_tree": series.base_tree,
        "tree": series.tree_id,
        "changed": sorted(series.changed),
        "diff": series.diff,
        "patches": [
            {
                "name": p.path.name,
                "subject": p.subject,
                "message_id": p.message_id,
                "sha256": p.sha256,
                "tree": p.tree_id,
            }
            for p in series.patches
        ],
    }


def _build(run: CellRun, baseline: CellRun | None) -> dict[str, Any]:
    build = run.build
    known = set(baseline.build.warnings) if baseline and baseline.build else set()
    added = [w for w in build.warnings if w not in known] if build else []
    return {
        "key": build.key if build else "",
        "seconds": run.build_seconds,
        "cached": bool(build and build.cached),
        "release": build.release if build else "",
        "folder": str(build.folder) if build else "",
        "log": run.build_log,
        "warnings_added": added if baseline is not None else [],
        "finding": plain(run.build_finding) if run.build_finding else None,
    }


ROUND = 2  # attempts between two looks at whether a cell is settled
ENOUGH = 3  # failures after which more of them say nothing new


def needs_more(run: CellRun, *, most: int, fixed: bool) -> int:
    """How many attempts to add to `run` now; 0 when its conclusion is settled.

    Attempts that the host spoilt are made up for, twice at the most. A fixed
    count is run to its end. Otherwise attempts come in rounds: a cell that
    failed often enough, or a baseline whose race nobody can run, is settled
    early; one that failed now and then gets more, up to `most`.
    """
    spoilt = sum(a.status not in COUNTED for a in run.attempts)
    done = len(run.attempts) - min(spoilt, 2)
    if fixed:
        return max(0, run.wanted - done)
    failed = sum(a.status is Status.FAIL for a in run.attempts)
    idle = not failed and not any(a.exposed or a.status is Status.DONE for a in run.attempts)
    if failed >= ENOUGH or (done >= ROUND and idle and run.role is Role.BASELINE):
        return 0
    wanted = most if failed else run.wanted
    return min(ROUND, max(0, wanted - done))


def host_record(tools: Mapping[str, str]) -> dict[str, Any]:
    """What machine and tools the run used."""
    return {
        "machine": platform.machine(),
        "system": platform.system(),
        "kernel": platform.release(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        **tools,
    }


def all_titles(record: Mapping[str, Any]) -> Iterable[str]:
    """Titles of all new findings of a run, once each."""
    return dict.fromkeys(t for cell in record["cells"] for t in cell["new_titles"])
