# SPDX-License-Identifier: GPL-2.0-only
"""From the cells of a run to its record: enough to draw every report again."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from kvet.build.patch_lines import PatchLines
from kvet.errors import ExitCode, worst
from kvet.model import Conclusion, Role
from kvet.results.changes import ChangeRecord
from kvet.results.code_record import CodeRecord
from kvet.results.prefixes import PrefixRecord
from kvet.results.record import (
    SCHEMA,
    BuildRecord,
    CellRecord,
    Coverage,
    GivenRecord,
    HostRecord,
    MissedLine,
    PatchCoverage,
    PatchRecord,
    PlanRecord,
    RateTest,
    RunRecord,
    SeriesRecord,
    column,
)
from kvet.run.cell_run import CellRun, conclude_cells
from kvet.run.exposure import floor_for
from kvet.run.proofs import with_proof
from kvet.run.verdict import Verdict, exit_code
from kvet.run.workloads import expected_of
from kvet.source.series import AppliedSeries
from kvet.stats import fisher, holm

SAID = {
    ExitCode.OK: Conclusion.PASS,
    ExitCode.FAIL: Conclusion.FAIL,
    ExitCode.ERROR: Conclusion.ERROR,
    ExitCode.INCONCLUSIVE: Conclusion.INCONCLUSIVE,
}


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a run has in common over all its cells, and what was compared of its builds."""

    run: str
    host: HostRecord = HostRecord()
    plan: PlanRecord = PlanRecord()
    code: tuple[CodeRecord, ...] = ()
    given: Mapping[str, GivenRecord] = field(default_factory=dict)
    changes: tuple[ChangeRecord, ...] = ()
    prefixes: tuple[PrefixRecord, ...] = ()


def run_record(about: Circumstances, runs: Sequence[CellRun]) -> RunRecord:
    """The record of a run from what is known of its cells now."""
    concluded = conclude_cells(runs)
    verdicts = {r.cell.id: with_proof(r, concluded[r.cell.id]) for r in runs}
    exits = exit_code((r.role, verdicts[r.cell.id].conclusion) for r in runs)
    if any(p.fault or p.failures for p in about.prefixes):  # a series is no better than its parts
        exits = worst({exits, ExitCode.FAIL}, default=ExitCode.FAIL)
    baselines = {r.group: r for r in runs if r.role is Role.BASELINE}
    cells = [_cell(r, verdicts[r.cell.id], baselines.get(r.group)) for r in runs]
    cells = [replace(cell, given=about.given.get(cell.variant)) for cell in cells]
    return RunRecord(
        schema=SCHEMA,
        run=about.run,
        conclusion=SAID[exits],
        exit_code=exits,
        host=about.host,
        plan=about.plan,
        code=about.code,
        changes=about.changes,
        prefixes=about.prefixes,
        cells=tuple(with_tests(cells)),
    )


def _cell(run: CellRun, verdict: Verdict, baseline: CellRun | None) -> CellRecord:
    cell, floor = run.cell, floor_for(run.cell.variant, run.cell.workload)
    return CellRecord(
        id=cell.id,
        kernel=cell.kernel.name,
        variant=cell.variant.name,
        config=cell.config.name,
        machine=cell.machine.name,
        workload=cell.workload.name,
        page_kib=cell.machine.page_kib,
        vcpus=cell.machine.vcpus,
        role=cell.variant.role,
        title=cell.variant.title,
        expected=expected_of(cell),
        links=cell.variant.links,
        conclusion=verdict.conclusion,
        reason=verdict.reason,
        failures=verdict.failures,
        runs=verdict.runs,
        wanted=run.wanted,
        # boots that count instructions are all alike: they bound no rate
        upper_bound=None if cell.machine.icount else verdict.upper_bound,
        interval=verdict.interval,
        new_titles=verdict.new_titles,
        known_titles=verdict.known_titles,
        unconfirmed=verdict.unconfirmed,
        amplified=bool(cell.workload.params.get("amplify", 0)),
        measures=cell.workload.measures,
        control=cell.workload.control,
        floor=dict(floor.counts),
        floor_each=tuple(floor.each),
        does=cell.workload.load.does if cell.workload.load else "",
        not_covered=cell.workload.load.not_covered if cell.workload.load else (),
        reused=run.reused,
        same_code_as=run.twin,
        series=_series(run.series),
        build=_build(run, baseline),
        coverage=_coverage(run),
        decisions=run.decisions,
        touches=run.touches,
        proof=run.proof,
        emulator_faults=tuple(f.name for f in run.faults),
        again=tuple(run.again),
        attempts=tuple(run.attempts),
    )


def _series(series: AppliedSeries | None) -> SeriesRecord:
    if series is None:
        return SeriesRecord()
    return SeriesRecord(
        id=series.series_id,
        base_tree=series.base_tree,
        tree=series.tree_id,
        changed=tuple(sorted(series.changed)),
        diff=series.diff,
        patches=tuple(
            PatchRecord(
                name=p.path.name,
                subject=p.subject,
                message_id=p.message_id,
                sha256=p.sha256,
                tree=p.tree_id,
            )
            for p in series.patches
        ),
    )


def _build(run: CellRun, baseline: CellRun | None) -> BuildRecord:
    made = BuildRecord(seconds=run.build_seconds, log=run.build_log, finding=run.build_finding)
    build = run.build
    if build is None:
        return made
    known = set(baseline.build.warnings) if baseline and baseline.build else set()
    added = [w for w in build.warnings if w not in known] if baseline is not None else []
    return replace(
        made,
        key=build.key,
        cached=build.cached,
        release=build.release,
        folder=str(build.folder),
        warnings_added=tuple(added),
    )


def _coverage(run: CellRun) -> Coverage | None:
    """Lines of the series that ran in any attempt; None where that is not known."""
    ran = {place for attempt in run.attempts for place in attempt.lines_run}
    if run.lines is None or run.series is None or not ran:
        return None
    return coverage(run.lines, ran, [p.subject for p in run.series.patches])


def coverage(lines: PatchLines, run: Iterable[str], names: Sequence[str]) -> Coverage:
    """For each patch lines run of lines with code; those never run."""
    ran = set(run)
    patches = [
        PatchCoverage(
            name=name,
            run=sum(1 for place, n in lines.patch.items() if n == number and place in ran),
            code=sum(1 for n in lines.patch.values() if n == number),
        )
        for number, name in enumerate(names)
    ]
    missed = [MissedLine(p, lines.text[p].strip()) for p in lines.addresses if p not in ran]
    return Coverage(tuple(patches), tuple(sorted(ran)), tuple(missed))


def with_tests(cells: Sequence[CellRecord]) -> list[CellRecord]:
    """The cells, each candidate compared with the controls and the baseline of its group.

    p is corrected over all tests of the run.
    """
    tests = [[_test(cell, other) for other in _references(cell, cells)] for cell in cells]
    corrected = iter(holm([test.p for made in tests for test in made]))
    return [
        replace(cell, tests=tuple(replace(test, p_holm=next(corrected)) for test in made))
        for cell, made in zip(cells, tests, strict=True)
    ]


def _references(cell: CellRecord, cells: Sequence[CellRecord]) -> list[CellRecord]:
    """The counted baseline and controls in the group of a counted candidate."""
    if cell.role is not Role.CANDIDATE or not cell.runs:
        return []
    others = [c for c in cells if c.role is not Role.CANDIDATE and c.runs]
    return [c for c in others if column(c) == column(cell)]


def _test(cell: CellRecord, other: CellRecord) -> RateTest:
    p = fisher(cell.failures, cell.runs, other.failures, other.runs)
    return RateTest(against=other.variant, k=other.failures, n=other.runs, p=p)


def this_host() -> HostRecord:
    """The machine that this runs on; the tools are for the caller to fill in."""
    return HostRecord(
        machine=platform.machine(),
        system=platform.system(),
        kernel=platform.release(),
        cpus=os.cpu_count(),
        python=platform.python_version(),
    )
