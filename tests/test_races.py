# SPDX-License-Identifier: GPL-2.0-only
"""History as the bench: the shipped races are whole, and the table says what the runs say."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from kvet import proc
from kvet.errors import UserError
from kvet.explorations import Exploration
from kvet.model import Attempt, Conclusion, Ending, Finding, Role, Status
from kvet.plan.library import Library, load_variant
from kvet.plan.races import Race, chosen, load_races
from kvet.report.races import race_result, races_table
from kvet.results.record import CellRecord, RunRecord
from tests.conftest import REAL_CACHE

RACES = load_races()
SOURCES = sorted(p for p in (REAL_CACHE / "sources").glob("linux-source-6.12-*") if p.is_dir())
TITLE = "KASAN: slab-use-after-free in f"


@pytest.mark.parametrize("race", RACES, ids=lambda race: race.name)
def test_each_race_has_a_workload_and_takes_its_fix_out(race: Race) -> None:
    known, name = Library().with_workload(str(race.folder))
    workload = known.workloads()[name]
    assert (workload.baseline, workload.control) == ("stock", "unfixed")
    assert workload.configs == ("races",)
    assert workload.floor.counts
    variant = load_variant(race.folder / "patches/unfixed/variant.yaml")
    assert variant.role is Role.CONTROL
    text = " ".join(variant.patches[0].read_text(encoding="utf-8").split())
    assert race.cve in text
    assert race.fix in text
    assert race.commit in text


@pytest.mark.skipif(not SOURCES or shutil.which("patch") is None, reason="no source of 6.12 here")
@pytest.mark.parametrize("race", RACES, ids=lambda race: race.name)
def test_each_fix_can_be_taken_out(race: Race) -> None:
    for patch in load_variant(race.folder / "patches/unfixed/variant.yaml").patches:
        words = ("patch", "-p1", "--dry-run", "-F0", "-s", "-d", str(SOURCES[-1]), "-i", str(patch))
        done = proc.run(words, timeout_s=60)
        assert done.returncode == 0, done.stdout


def test_a_race_without_its_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "races.yaml").write_text(
        "races:\n  lost:\n    fix: f\n    subsystem: mm\n    sides: [a, b]\n"
        "    kernel: linux-6.12\n    unfixed: u\n",
        encoding="utf-8",
    )
    with pytest.raises(UserError, match=r"there is no lost/workload\.yaml"):
        load_races(tmp_path)


def test_races_are_chosen_by_name_and_subsystem() -> None:
    assert [race.name for race in chosen(RACES, [RACES[0].name])] == [RACES[0].name]
    networked = chosen(RACES, ["net/*"])
    assert networked
    assert all(race.subsystem.startswith("net/") for race in networked)
    with pytest.raises(UserError, match="no race matches nothing"):
        chosen(RACES, ["nothing"])


def attempt(n: int, status: Status, uptime: float | None = None, **more: Any) -> Attempt:
    findings = (
        (Finding(kind="kasan", title=TITLE, uptime_s=uptime),) if status is Status.FAIL else ()
    )
    return Attempt(
        n=n, status=status, ending=Ending.POWEROFF, seconds=1.0, seed=n, findings=findings, **more
    )


def record(unfixed: list[Attempt], fixed: list[Attempt]) -> RunRecord:
    cells = [
        CellRecord(
            id=f"linux-6.12+{variant}+races+virt+race",
            kernel="linux-6.12",
            variant=variant,
            config="races",
            machine="virt",
            workload="race",
            role=role,
            conclusion=Conclusion.FAIL if variant == "unfixed" else Conclusion.INCONCLUSIVE,
            failures=sum(a.status is Status.FAIL for a in attempts),
            runs=len(attempts),
            new_titles=(TITLE,) if variant == "unfixed" else (),
            attempts=tuple(attempts),
        )
        for variant, role, attempts in (
            ("unfixed", Role.CONTROL, unfixed),
            ("stock", Role.BASELINE, fixed),
        )
    ]
    return RunRecord(run="r", conclusion=Conclusion.FAIL, exit_code=1, cells=tuple(cells))


def told(result: Any) -> list[str]:
    console = Console(width=160, record=True, highlight=False, file=io.StringIO())
    console.print(races_table([result]))
    return console.export_text().splitlines()


def test_the_table_counts_boots_and_takes_medians() -> None:
    failed = [attempt(n, Status.FAIL, float(n)) for n in (1, 2, 9)]
    clean = [attempt(n, Status.PASS) for n in (1, 2)]
    result = race_result(RACES[0], record(failed, clean))
    assert result.as_it_should
    assert (result.unfixed, result.fixed) == ((3, 3), (0, 2))
    assert (result.seconds, result.schedules) == (2.0, None)
    line = told(result)[1]
    assert RACES[0].name in line
    assert line.split()[-4:] == ["2.0", "-", "3/3", "0/2"]


def test_schedules_are_those_until_the_first_finding() -> None:
    explored = Exploration(sides="round:a,b", ending="failed", bounds=((0, 2, 2), (1, 12, 40)))
    failed = [attempt(1, Status.FAIL, 1.5, explorations=(explored,))]
    assert race_result(RACES[0], record(failed, [attempt(1, Status.PASS)])).schedules == 14


@pytest.mark.parametrize(
    ("unfixed", "fixed"),
    [
        ([Status.FAIL, Status.PASS], [Status.PASS]),
        ([Status.FAIL], [Status.FAIL]),
        ([Status.ERROR], [Status.PASS]),
        ([Status.FAIL], [Status.ERROR]),
        ([], []),
    ],
)
def test_what_did_not_come_out_as_it_should(unfixed: list[Status], fixed: list[Status]) -> None:
    made = record(
        [attempt(n, s, 1.0) for n, s in enumerate(unfixed, 1)],
        [attempt(n, s, 1.0) for n, s in enumerate(fixed, 1)],
    )
    assert not race_result(RACES[0], made).as_it_should


def test_what_no_console_line_tells_was_found_when_the_race_ended() -> None:
    one = attempt(1, Status.FAIL, None, state={"stage_stop": "1.750"})
    result = race_result(RACES[0], record([one], [attempt(1, Status.PASS)]))
    assert result.seconds == 1.75
