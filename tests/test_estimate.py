# SPDX-License-Identifier: GPL-2.0-only
"""What a plan takes is learnt from the record: medians, reuse left out, what is unknown said."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from kvet.model import Attempt, Cell, Conclusion, Role, Status
from kvet.paths import PROJECT
from kvet.plan.library import Library, load_matrix
from kvet.plan.matrix import plan_cells
from kvet.results.record import BuildRecord, CellRecord, RunRecord, read_record
from kvet.run.estimate import NEWEST, Learnt, estimate, learn, learn_from
from kvet.run.plan import Plan
from tests.more import go
from tests.night import put_run

SMOKE = plan_cells(load_matrix(PROJECT / "configs/smoke.yaml"), Library())
STOCK, NOLOCK, TRYLOCK = SMOKE
SAMPLE = "20260102-030405-m"


def recorded(cell: Cell, build_s: float, attempts: Sequence[float]) -> CellRecord:
    """A cell that was compiled and booted; every attempt counted."""
    kernel, variant, config, machine, workload = cell.cell_id.names
    return CellRecord(
        id=cell.id,
        kernel=kernel,
        variant=variant,
        config=config,
        machine=machine,
        workload=workload,
        role=Role.CANDIDATE,
        conclusion=Conclusion.PASS,
        failures=0,
        runs=len(attempts),
        build=BuildRecord(key=variant, seconds=build_s),
        attempts=tuple(
            Attempt(n=n, status=Status.PASS, seconds=s) for n, s in enumerate(attempts, start=1)
        ),
    )


@pytest.fixture
def sample(tmp_path: Path) -> RunRecord:
    """A run of other cells, to put ours in."""
    put_run(tmp_path, SAMPLE)
    return read_record(tmp_path / SAMPLE / "results.json")


def plan(cells: tuple[Cell, ...], *, attempts: int = 3, jobs: int = 2) -> Plan:
    return Plan(name="m", cells=cells, out=Path("results/m"), attempts=attempts, jobs=jobs)


def learnt(sample: RunRecord, *runs: Sequence[CellRecord]) -> Learnt:
    return learn_from([replace(sample, cells=tuple(cells)) for cells in runs])


def test_the_median_of_the_same_build_and_cell_is_taken(sample: RunRecord) -> None:
    known = learnt(
        sample,
        [recorded(TRYLOCK, 300, [4, 6]), recorded(NOLOCK, 70, [1])],
        [recorded(TRYLOCK, 10, [8])],
        [recorded(TRYLOCK, 12, [])],
    )
    assert (known.build_s(TRYLOCK), known.attempt_s(TRYLOCK)) == (12, 6)
    assert (known.build_s(NOLOCK), known.attempt_s(NOLOCK)) == (70, 1)


def test_a_cell_that_never_ran_is_like_its_neighbours(sample: RunRecord) -> None:
    known = learnt(sample, [recorded(TRYLOCK, 10, [4]), recorded(NOLOCK, 30, [8])])
    assert (known.build_s(STOCK), known.attempt_s(STOCK)) == (20, 6)
    elsewhere = replace(STOCK, machine=replace(STOCK.machine, name="virt-16k", page_kib=16))
    assert (known.build_s(elsewhere), known.attempt_s(elsewhere)) == (None, None)


def test_what_was_taken_from_a_cache_teaches_nothing(sample: RunRecord) -> None:
    one = recorded(TRYLOCK, 10, [4])
    cached = replace(one, build=replace(one.build, cached=True), reused="an earlier run")
    unfinished = replace(one.attempts[0], status=Status.ERROR)
    known = learnt(sample, [cached], [replace(one, attempts=(unfinished,))])
    assert (known.build_s(TRYLOCK), known.attempt_s(TRYLOCK)) == (10, None)


def test_one_build_serves_all_cells_of_it(sample: RunRecord) -> None:
    natural = replace(TRYLOCK, workload=replace(TRYLOCK.workload, name="ptdump-race-natural"))
    known = learnt(
        sample,
        [recorded(NOLOCK, 100, [2]), recorded(TRYLOCK, 10, [4]), recorded(natural, 10, [20])],
    )
    times = estimate(plan((NOLOCK, TRYLOCK, natural)), known)
    assert times.builds_s == 110
    # two at a time: 3 x 2 in one batch, 3 x 4 and 3 x 20 in the other
    assert times.boots_s == 3 + 36
    assert (times.longest.cell.id, times.longest.chain_s) == (NOLOCK.id, 102)


def test_a_boot_is_not_split_among_many_jobs(sample: RunRecord) -> None:
    known = learnt(sample, [recorded(TRYLOCK, 10, [40])])
    assert estimate(plan((TRYLOCK,), attempts=3, jobs=1000), known).boots_s == 40


def test_what_is_unknown_is_said(sample: RunRecord) -> None:
    known = learnt(sample, [recorded(TRYLOCK, 10, [4])])
    kasan = replace(NOLOCK, config=replace(NOLOCK.config, name="kasan"))
    times = estimate(plan((TRYLOCK, kasan)), known)
    assert [c.text(3) for c in times.cells] == [
        "build 10 s, attempts 3 x 4 s",
        "build unknown, attempts 3 x unknown",
    ]
    whole, path, source = times.lines(known, Path("results"))
    assert whole.startswith("time: at least 16 s: builds 10 s, boots 6 s with 2 at a time")
    assert path == f"critical path: at least 14 s: the build and one attempt of {TRYLOCK.id}"
    assert source == "learnt from 1 run in results; unknown for 1 of 2 cells"
    [nothing] = estimate(plan((kasan,)), known).lines(known, Path("results"))
    assert nothing == "time: unknown, results has no run of these configs and workloads"


def test_the_newest_runs_teach_and_a_broken_one_does_not(tmp_path: Path) -> None:
    for day in range(1, NEWEST + 2):
        put_run(tmp_path, f"202601{day:02}-030405-m")
    (tmp_path / "20260101-030405-m" / "results.json").write_text("not the newest: not read")
    assert learn(tmp_path).runs == NEWEST
    (tmp_path / "20260102-030405-m" / "results.json").write_text("cut off")
    assert learn(tmp_path).runs == NEWEST - 1
    assert learn(tmp_path / "none").runs == 0


def test_a_dry_run_ends_with_the_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("run-matrix", str(PROJECT / "configs/smoke.yaml"), "--dry-run", "--out", str(tmp_path))
    assert go(*words) == 0
    assert f"time: unknown, {tmp_path} has no run" in capsys.readouterr().out
    record = put_run(tmp_path, SAMPLE)
    cell = record["cells"][0]
    names = ("kernel", "variant", "config", "machine", "workload")
    cell.update(zip(names, TRYLOCK.cell_id.names, strict=True), id=TRYLOCK.id)
    cell["build"] = {"key": "k", "seconds": 200.0, "cached": False}
    cell["attempts"] = [{"n": 1, "status": "PASS", "seconds": 5.0}]
    (tmp_path / SAMPLE / "results.json").write_text(json.dumps(record), encoding="utf-8")
    assert go(*words) == 0
    out = capsys.readouterr().out
    assert "critical path: about 3 min: the build and one attempt of" in out
    assert f"learnt from 1 run in {tmp_path}\n" in out
