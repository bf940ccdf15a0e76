# SPDX-License-Identifier: GPL-2.0-only
"""Workloads that judge a build together: what is planned, and what each makes of the others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kvet.errors import UserError
from kvet.explorations import Exploration
from kvet.model import Attempt, Conclusion, Finding, Status, Waiver, Workload
from kvet.plan.library import Library, load_matrix
from kvet.plan.matrix import plan_cells
from kvet.report.answer import answer
from kvet.report.text import surprises
from kvet.results.record import PlanRecord, RunRecord
from kvet.run.cell_run import CellRun, conclude_cells, needs_more, open_runs
from kvet.run.explored import schedule_doubts
from kvet.run.exposure import restart_doubts
from kvet.run.planning import plan_run
from kvet.run.recording import Circumstances, run_record
from kvet.run.requests import Effort, RunRequest

SUSPECTED = Finding("table-freed-under-walk", "table-freed-under-walk in f", suspicion=True)
SPLAT = Finding("oops", "BUG: unable to handle kernel paging request in walk")
FAILED = Exploration(
    sides="pmd:dump,block",
    ending="failed",
    bounds=((0, 2, 2), (1, 25, 40)),
    failing="W@walk+0x4/1/F",
    what="a PTE-table is accessed after it was freed",
)
CLEAN = Exploration(
    sides="pmd:dump,block", ending="all", bounds=((0, 2, 2), (1, 38, 38), (2, 282, 282))
)


def request(tmp_path: Path, **more: object) -> RunRequest:
    asked = RunRequest(
        Effort(tmp_path), "ptdump-race", kernel="linux-6.12", variants=("read-lock",)
    )
    return replace(asked, **more)  # type: ignore[arg-type]


def cells_of(asked: RunRequest, tmp_path: Path) -> list[str]:
    plan = plan_run(asked, Library(), tmp_path).plan
    return [cell.id.partition("+")[2] for cell in plan.cells if cell.id not in plan.references]


def test_schedules_are_run_beside_the_race(tmp_path: Path) -> None:
    assert cells_of(request(tmp_path, beside=True), tmp_path) == [
        "read-lock+debug+explore+ptdump-explore",
        "read-lock+debug+virt+ptdump-race",
    ]
    assert cells_of(request(tmp_path), tmp_path) == ["read-lock+debug+virt+ptdump-race"]


def test_what_does_not_run_on_such_a_machine_is_left_out_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Library().workloads()
    small = replace(known["ptdump-explore"], machines=("explore",))
    monkeypatch.setattr(Library, "workloads", lambda self: {**known, "ptdump-explore": small})
    planned = plan_run(request(tmp_path, beside=True, machine="virt-16k"), Library(), tmp_path)
    judged = [c.workload.name for c in planned.plan.cells if c.variant.name == "read-lock"]
    assert judged == ["ptdump-race"]
    assert any("ptdump-explore does not run on virt-16k" in note for note in planned.notes)


def test_schedules_have_the_page_size_of_the_race(tmp_path: Path) -> None:
    assert cells_of(request(tmp_path, beside=True, machine="virt-16k"), tmp_path) == [
        "read-lock+debug+explore-16k+ptdump-explore",
        "read-lock+debug+virt-16k+ptdump-race",
    ]


def test_a_number_of_attempts_is_kept_for_a_workload_that_runs_alone(tmp_path: Path) -> None:
    five = Effort(tmp_path, attempts=5)
    together = plan_run(request(tmp_path, beside=True, effort=five), Library(), tmp_path).plan
    assert together.attempts == 5
    assert not together.asked
    alone = request(tmp_path, workload="ptdump-explore", effort=five)
    assert plan_run(alone, Library(), tmp_path).plan.asked


def test_parameters_go_to_the_workloads_that_have_them(tmp_path: Path) -> None:
    asked = request(tmp_path, beside=True, params={"preemptions": 3})
    params = {
        c.workload.name: c.workload.params for c in plan_run(asked, Library(), tmp_path).plan.cells
    }
    assert params["ptdump-explore"]["preemptions"] == 3
    assert "preemptions" not in params["ptdump-race"]
    with pytest.raises(UserError, match="has no parameter nonsense"):
        plan_run(request(tmp_path, beside=True, params={"nonsense": 1}), Library(), tmp_path)


def pair(name: str = "read-lock") -> tuple[CellRun, ...]:
    """The cells of a variant and of the control, of both workloads, the control caught."""
    matrix = replace(load_matrix(Library().root / "configs/matrix.yaml"), configs=("debug",))
    only = [f"*+{one}+*+ptdump-{kind}" for one in (name, "nolock") for kind in ("explore", "race")]
    cells = plan_cells(matrix, Library(), only=only)
    runs = open_runs(PlanRecord(attempts=3), [c for c in cells if c.variant.name != "stock"])
    for run in runs:
        if run.cell.variant.name == "nolock":
            run.add(Attempt(n=1, status=Status.FAIL, findings=(SPLAT,)))
    return tuple(
        sorted(runs, key=lambda r: (r.cell.variant.name == "nolock", r.cell.workload.name))
    )


def clean(*findings: Finding) -> list[Attempt]:
    return [Attempt(n=n, status=Status.PASS, exposed=True, findings=findings) for n in (1, 2, 3)]


def concluded(runs: tuple[CellRun, ...]) -> list[tuple[Conclusion, str]]:
    verdicts = conclude_cells(runs)
    return [(verdicts[r.cell.id].conclusion, verdicts[r.cell.id].reason) for r in runs[:2]]


def test_a_schedule_confirms_a_suspicion_of_the_race() -> None:
    explore, race, *_ = runs = pair()
    explore.add(Attempt(n=1, status=Status.FAIL, findings=(SPLAT,), explorations=(FAILED,)))
    race.attempts = clean(SUSPECTED)
    assert concluded(runs)[1] == (
        Conclusion.FAIL,
        "table-freed-under-walk in f, which the schedule pmd:dump,block:W@walk+0x4/1/F confirms",
    )
    assert conclude_cells(runs)[race.cell.id].failures == 3


def kasan_race(name: str) -> tuple[CellRun, CellRun, list[CellRun]]:
    """Schedules with debug that end in an access, a race with kasan that has a suspicion, all."""
    cells = plan_cells(load_matrix(Library().root / "configs/matrix.yaml"), Library())
    runs = open_runs(PlanRecord(attempts=3), [c for c in cells if c.variant.name == name])
    explore = next(r for r in runs if r.cell.workload.name == "ptdump-explore")
    race = next(r for r in runs if r.cell.config.name == "kasan")
    explore.add(Attempt(n=1, status=Status.FAIL, findings=(SPLAT,), explorations=(FAILED,)))
    race.attempts = clean(SUSPECTED)
    return explore, race, runs


def test_a_schedule_of_another_config_confirms_a_suspicion_and_is_named() -> None:
    explore, race, runs = kasan_race("static-key-unsynced")
    verdict = conclude_cells(runs)[race.cell.id]
    assert (verdict.conclusion, verdict.failures) == (Conclusion.FAIL, 3)
    assert verdict.reason.endswith("the schedule pmd:dump,block:W@walk+0x4/1/F of debug confirms")
    # without a suspicion of its own nothing is said of a build that nobody saw fail
    race.attempts = clean()
    assert conclude_cells(runs)[race.cell.id].conclusion is Conclusion.INCONCLUSIVE
    explore.attempts = [Attempt(n=1, status=Status.PASS, exposed=True, explorations=(CLEAN,))]
    race.attempts = clean(SUSPECTED)
    assert conclude_cells(runs)[race.cell.id].conclusion is Conclusion.INCONCLUSIVE


def test_the_control_of_a_workload_has_no_help_from_another_config() -> None:
    _, race, runs = kasan_race("nolock")
    assert conclude_cells(runs)[race.cell.id].conclusion is Conclusion.INCONCLUSIVE


def test_a_control_is_caught_by_a_confirmed_suspicion_but_not_the_workloads_own() -> None:
    for name, conclusion in (
        ("static-key-unsynced", Conclusion.FAIL),
        ("nolock", Conclusion.INCONCLUSIVE),
    ):
        runs = pair(name)
        explore, race = (r for r in runs if r.cell.variant.name == name)
        explore.attempts = [
            Attempt(n=1, status=Status.FAIL, findings=(SPLAT,), explorations=(FAILED,))
        ]
        race.attempts = clean(SUSPECTED)
        assert conclude_cells(runs)[race.cell.id].conclusion is conclusion


def test_a_deadlock_confirms_no_suspicion_about_a_table() -> None:
    explore, race, *_ = runs = pair()
    stuck = replace(FAILED, what="all sides sleep, and nobody is left to wake them")
    explore.add(Attempt(n=1, status=Status.FAIL, findings=(SPLAT,), explorations=(stuck,)))
    race.attempts = clean(SUSPECTED)
    assert concluded(runs)[1][0] is Conclusion.INCONCLUSIVE


def test_nothing_passes_beside_a_proof_that_it_is_broken() -> None:
    explore, race, *_ = runs = pair()
    explore.add(Attempt(n=1, status=Status.FAIL, findings=(SPLAT,), explorations=(FAILED,)))
    race.attempts = clean()
    conclusion, reason = concluded(runs)[1]
    assert conclusion is Conclusion.INCONCLUSIVE
    assert reason == f"ptdump-explore shows what this workload did not: {SPLAT.title}"


def record(runs: tuple[CellRun, ...]) -> RunRecord:
    return run_record(Circumstances("r"), runs)


def test_what_one_cell_proves_is_what_its_variant_expects() -> None:
    explore, race, *_ = runs = pair()
    for run in (explore, race):
        broken = replace(run.cell.variant, expected="FAIL")
        run.cell = replace(run.cell, variant=broken)
    explore.add(Attempt(n=1, status=Status.FAIL, findings=(SPLAT,), explorations=(FAILED,)))
    race.attempts = clean()
    assert surprises(record(runs)) == []
    explore.attempts = [Attempt(n=1, status=Status.PASS, exposed=True, explorations=(CLEAN,))]
    assert {c.workload for c in surprises(record(runs))} == {"ptdump-explore", "ptdump-race"}


def test_an_answer_tells_schedules_and_boots() -> None:
    explore, race, *_ = runs = pair()
    gp = replace(CLEAN, bounds=CLEAN.bounds[:2], normal_gp=True)
    done = [replace(CLEAN, sides=s) for s in str(explore.cell.workload.params["sides"]).split("+")]
    explore.attempts = [Attempt(n=1, status=Status.PASS, exposed=True, explorations=(*done, gp))]
    explore.wanted = 1
    race.attempts = clean()
    told = record(runs)
    assert [c.conclusion for c in told.cells[:2]] == [Conclusion.PASS, Conclusion.PASS]
    assert told.cells[0].upper_bound is None
    count = len(done) * 322 + 40
    assert (
        f"no finding in {count} of {count} schedules with at most 2 preemptions, nor in 3 boots"
        in (answer(told))
    )


def test_a_control_of_the_race_is_caught_by_schedules_but_not_the_workloads_own() -> None:
    runs = pair("static-key-unsynced")
    explore, race, nolock_explore, nolock_race = runs
    (candidate,) = (
        r
        for r in pair()
        if r.cell.workload.name == "ptdump-race" and r.cell.variant.name == "read-lock"
    )
    candidate.mates = ()
    candidate.attempts = clean()
    explore.add(Attempt(n=1, status=Status.FAIL, findings=(SPLAT,), explorations=(FAILED,)))
    race.attempts = clean()
    everyone = (*runs, candidate)
    assert conclude_cells(everyone)[candidate.cell.id].conclusion is Conclusion.PASS
    nolock_race.attempts = clean()
    missed = conclude_cells(everyone)[candidate.cell.id]
    assert missed.reason == "control not caught: nolock"
    assert nolock_explore.attempts


def test_fewer_boots_where_fewer_are_enough_unless_a_number_is_asked_for() -> None:
    cells = [run.cell for run in pair()[:2]]
    assert [r.wanted for r in open_runs(PlanRecord(attempts=5, asked=False), cells)] == [1, 5]
    assert [r.wanted for r in open_runs(PlanRecord(attempts=5), cells)] == [5, 5]
    explore = open_runs(PlanRecord(attempts=5, asked=False), cells)[0]
    explore.add(Attempt(n=1, status=Status.FAIL, findings=(SPLAT,)))
    assert needs_more(explore, most=10, fixed=False) == 0


@pytest.mark.parametrize(
    ("one", "doubt"),
    [
        (CLEAN, ""),
        (
            replace(CLEAN, ending="out-of-time", bounds=((0, 2, 2), (1, 38, 38), (2, 9, 282))),
            "of pmd:dump,block only 49 of 322 known schedules with at most 2 preemptions ran: "
            "the time ran out",
        ),
        (replace(CLEAN, bounds=CLEAN.bounds[:2], normal_gp=True), ""),
        (replace(CLEAN, ending="nothing", bounds=()), ""),
        (
            replace(CLEAN, ending="missing", bounds=()),
            "schedules of pmd:dump,block were not run: this kernel lacks one of the sides",
        ),
        (replace(CLEAN, sides="pud:dump,block"), "schedules of pmd:dump,block were not run"),
    ],
)
def test_schedules_that_did_not_run_are_told(one: Exploration, doubt: str) -> None:
    params: dict[str, str | int] = {"preemptions": 2, "sides": "pmd:dump,block"}
    workload = Workload(name="w", seconds=1, params=params, complete=2)
    boot = Attempt(n=1, status=Status.PASS, explorations=(one,))
    assert schedule_doubts(workload, [boot]) == ([doubt] if doubt else [])
    assert schedule_doubts(replace(workload, params={}), [boot]) == []


@pytest.mark.parametrize(("walks", "said"), [(31, True), (13, False)])
def test_a_walk_that_begins_again_is_no_pass(walks: int, said: bool) -> None:
    boot = Attempt(n=1, status=Status.PASS, exposure={"walks_wx": walks, "wx_walks": 12})
    doubts = restart_doubts([boot])
    assert bool(doubts) is said
    assert all("walks begin again: 31 in 12 checks" in doubt for doubt in doubts)
    assert restart_doubts([replace(boot, status=Status.ERROR)]) == []


def test_a_walk_that_begins_again_can_be_waived() -> None:
    runs = pair()
    _, race, *_ = runs
    race.attempts = [
        replace(a, exposure={**a.exposure, "walks_wx": 31, "wx_walks": 12}) for a in clean()
    ]
    doubted = conclude_cells(runs)[race.cell.id]
    assert doubted.conclusion is Conclusion.INCONCLUSIVE
    assert "walks begin again" in doubted.reason
    race.waived = (Waiver(judge="walk-begins-again", reason="twice at the most"),)
    assert conclude_cells(runs)[race.cell.id].conclusion is Conclusion.PASS
