# SPDX-License-Identifier: GPL-2.0-only
"""The cells of a run on their way: what is known of each, and what may be concluded of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from kvet.build.patch_lines import PatchLines
from kvet.guest.qemu_bugs import Fault
from kvet.model import (
    COUNTED_STATUSES,
    Attempt,
    Build,
    Cell,
    Conclusion,
    Finding,
    Role,
    Status,
    Waiver,
)
from kvet.results.proofs import ProofRecord
from kvet.results.record import Decisions, PlanRecord, Touch
from kvet.run.beside import Heard, beside
from kvet.run.decisions import decision_doubts, decisions
from kvet.run.explored import schedule_doubts
from kvet.run.exposure import restart_doubts
from kvet.run.trust import touches, trust_doubts
from kvet.run.verdict import (
    CONTROL,
    RESTART,
    SUSPICION,
    Verdict,
    conclude,
    failed_build,
    new_findings,
    titles,
    unconfirmed,
    without_suspicions,
)
from kvet.run.waivers import waived_rule
from kvet.source.series import AppliedSeries

if TYPE_CHECKING:
    from kvet.cost.code import BuildPair


@dataclass(slots=True)
class CellRun:
    """A cell on its way through a run: what is known of it so far.

    `error` is a trouble of the host that kept it from running; `reused` names
    the earlier run its attempts were taken from, `twin` the variant of the same code whose
    attempts stand for its own. `again` are attempts where
    the emulator's known `faults` cannot happen. `waived` holds for every cell of the run.
    `mates` are the other cells of the same build: other workloads that judge the same variant.
    `kin` are the cells of the same variant and kernel with other configs.
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
    twin: str = ""
    lines: PatchLines | None = None
    faults: tuple[Fault, ...] = ()
    again: list[Attempt] = field(default_factory=list)
    waived: tuple[Waiver, ...] = ()
    proof: ProofRecord | None = None
    mates: tuple[CellRun, ...] = field(default=(), repr=False, compare=False)
    kin: tuple[CellRun, ...] = field(default=(), repr=False, compare=False)

    @property
    def group(self) -> tuple[str, ...]:
        """Cells of one group differ in the variant alone and may be compared."""
        c = self.cell
        return (c.kernel.name, c.config.name, c.machine.name, c.workload.name)

    @property
    def role(self) -> Role:
        return self.cell.variant.role

    @property
    def diff(self) -> str:
        """All of its series as one patch."""
        return self.series.diff if self.series else ""

    @property
    def waivers(self) -> tuple[Waiver, ...]:
        """What is waived of this variant, in its file or for the whole run."""
        return (*self.cell.variant.waivers, *self.cell.workload.waivers, *self.waived)

    @property
    def decisions(self) -> Decisions | None:
        """The outcomes of the series' branches that any boot of its build saw, and the others."""
        boots = [a for run in (self, *self.mates) for a in run.attempts]
        return decisions(self.lines, boots, self.waivers)

    @property
    def touches(self) -> tuple[Touch, ...]:
        """What of its judge the series touches."""
        return touches(self.series, self.waivers) if self.series else ()

    def add(self, attempt: Attempt) -> None:
        """Take in an attempt; they are kept in the order of their numbers."""
        self.attempts = sorted((*self.attempts, attempt), key=lambda a: a.n)

    def take_again(self, cell_id: str, attempt: Attempt) -> None:
        """Take in an attempt that was repeated where the emulator cannot lie."""
        self.again.append(attempt)


def conclude_cells(runs: Sequence[CellRun]) -> dict[str, Verdict]:
    """The verdict on every cell, by cell id; controls first, since candidates lean on them."""
    judged: dict[str, Verdict] = {}
    groups: dict[tuple[str, ...], list[CellRun]] = defaultdict(list)
    for run in runs:
        if run.role is not Role.CANDIDATE:
            groups[run.group].append(run)
    for role in (Role.BASELINE, Role.CONTROL, Role.CANDIDATE):
        alike = [run for run in runs if run.role is role]
        heard = {
            run.cell.id: Heard(
                workload=run.cell.workload.name,
                config=run.cell.config.name,
                attempts=run.attempts,
                verdict=_conclude(run, groups[run.group], judged),
            )
            for run in alike
        }
        judged.update({run.cell.id: _beside(run, heard) for run in alike})
    return judged


def _beside(run: CellRun, heard: Mapping[str, Heard]) -> Verdict:
    own = heard[run.cell.id]
    # the control that proves a workload has to be caught by that workload itself
    if run.role is Role.BASELINE or run.cell.variant.name == run.cell.workload.control:
        return own.verdict
    mates, kin = ([heard[r.cell.id] for r in of] for of in (run.mates, run.kin))
    return beside(own, mates, kin)


def _conclude(run: CellRun, peers: Sequence[CellRun], verdicts: Mapping[str, Verdict]) -> Verdict:
    """The verdict on a cell by itself; `peers` are the baseline and controls of its group."""
    if run.error and not run.attempts:
        return Verdict(Conclusion.ERROR, 0, 0, None, None, run.error)
    baseline = [a for r in peers if r.role is Role.BASELINE for a in r.attempts]
    build = run.build_finding
    if build and any(r.build_finding for r in peers if r.role is Role.BASELINE):
        return Verdict(Conclusion.ERROR, 0, 0, None, None, f"the baseline fails too: {build.title}")
    if build:
        return failed_build(build)
    doubts: list[str] = []
    if run.role is Role.CANDIDATE and not waived_rule(run.waivers, CONTROL):
        doubts += _uncaught([r for r in peers if r.role is Role.CONTROL], verdicts)
    if run.role is Role.CANDIDATE:
        doubts += decision_doubts(run.decisions)
        doubts += trust_doubts(run.touches)
        doubts += schedule_doubts(run.cell.workload, run.attempts)
        doubts += [] if waived_rule(run.waivers, RESTART) else restart_doubts(run.attempts)
    attempts, suspected = run.attempts, unconfirmed(run.attempts)
    if waived_rule(run.waivers, SUSPICION):
        attempts = [without_suspicions(attempt) for attempt in attempts]
    verdict = conclude(run.role, attempts, wanted=run.wanted, baseline=baseline, doubts=doubts)
    verdict = replace(verdict, unconfirmed=tuple(f.title for f in suspected))
    if run.again and not any(new_findings(a, titles(baseline)) for a in run.again):
        names = ", ".join(f.name for f in run.faults)
        reason = f"seen only with a known QEMU bug ({names}): {verdict.reason}"
        return replace(verdict, conclusion=Conclusion.INCONCLUSIVE, reason=reason)
    return verdict


def _uncaught(controls: Sequence[CellRun], verdicts: Mapping[str, Verdict]) -> list[str]:
    """That a control of this group was not caught, by names; empty when each was."""
    if not controls:
        return ["no control was run with this config"]
    amplified = controls[0].cell.workload.params.get("amplify", 0) != 0
    names = [
        r.cell.variant.name
        for r in controls
        if not _caught(r, verdicts) and (amplified or not r.cell.variant.amplified_only)
    ]
    return [f"control not caught: {', '.join(names)}"] if names else []


def _caught(control: CellRun, verdicts: Mapping[str, Verdict]) -> bool:
    """Whether a control was seen to fail: that of the workload in it, others in any of a build."""
    # one that does not build fails, but was never seen in a guest
    if control.build_finding:
        return False
    own = control.cell.variant.name == control.cell.workload.control
    runs = (control,) if own else (control, *control.mates)
    return any(verdicts[r.cell.id].conclusion is Conclusion.FAIL for r in runs)


ROUND = 2  # attempts between two looks at whether a cell is settled
ENOUGH = 3  # failures after which more of them say nothing new


def open_runs(plan: PlanRecord, cells: Sequence[Cell]) -> list[CellRun]:
    """The cells of a plan before anything has run, those of one build known to each other."""
    runs = [CellRun(cell, _wanted(plan, cell), waived=plan.waivers) for cell in cells]
    builds: dict[tuple[str, int], list[CellRun]] = defaultdict(list)
    series: dict[tuple[str, str], list[CellRun]] = defaultdict(list)
    for run in runs:
        builds[_build_of(run)].append(run)
        series[_series_of(run)].append(run)
    for run in runs:
        config = run.cell.config.name
        run.mates = tuple(r for r in builds[_build_of(run)] if r is not run)
        run.kin = tuple(r for r in series[_series_of(run)] if r.cell.config.name != config)
    return runs


def _series_of(run: CellRun) -> tuple[str, str]:
    return (run.cell.kernel.name, run.cell.variant.name)


def _build_of(run: CellRun) -> tuple[str, int]:
    return (run.cell.cell_id.build, run.cell.machine.page_kib)


def _wanted(plan: PlanRecord, cell: Cell) -> int:
    """How many boots of a cell: fewer where fewer are enough, and no number was asked for."""
    enough = cell.workload.attempts
    return min(plan.attempts, enough) if enough and not plan.asked else plan.attempts


def needs_more(run: CellRun, *, most: int, fixed: bool) -> int:
    """How many attempts to add to `run` now; 0 when its conclusion is settled.

    Attempts that the host made invalid are made up for, twice at the most. A fixed
    count is run to its end. Otherwise attempts come in rounds: a cell that
    failed often enough, or a baseline whose race nobody can run, is settled
    early; one that failed now and then gets more, up to `most`.
    """
    invalid = sum(a.status not in COUNTED_STATUSES for a in run.attempts)
    done = len(run.attempts) - min(invalid, 2)
    if fixed or run.wanted == run.cell.workload.attempts:
        return max(0, run.wanted - done)
    failed = sum(a.status is Status.FAIL for a in run.attempts)
    idle = not failed and not any(a.exposed or a.status is Status.DONE for a in run.attempts)
    if failed >= ENOUGH or (done >= ROUND and idle and run.role is Role.BASELINE):
        return 0
    wanted = most if failed else run.wanted
    return min(ROUND, max(0, wanted - done))


def measured_pairs(runs: Sequence[CellRun]) -> list[BuildPair]:
    """Each build that was measured beside its baseline's, where both were built."""
    from kvet.cost.code import BuildPair

    baselines = {r.group: r for r in runs if r.role is Role.BASELINE}
    pairs = []
    for run in runs:
        base = baselines.get(run.group)
        if not run.cell.workload.measures or base is None or run is base:
            continue
        if run.build is None or base.build is None:
            continue
        lines = run.lines.addresses.values() if run.lines else ()
        pairs.append(
            BuildPair(
                kernel=run.cell.kernel.name,
                config=run.cell.config.name,
                variant=run.cell.variant.name,
                baseline=base.cell.variant.name,
                build=run.build,
                base_build=base.build,
                touched=frozenset(address for line in lines for address in line),
            )
        )
    return pairs
