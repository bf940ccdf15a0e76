# SPDX-License-Identifier: GPL-2.0-only
"""The table of `make races`: what each race of the past came to, with its fix and without."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from kvet.model import Attempt, Status
from kvet.plan.races import Race
from kvet.report.facts import found_after, median
from kvet.results.record import CellRecord, RunRecord

UNFIXED = "unfixed"


@dataclass(frozen=True, slots=True)
class RaceResult:
    """What one race came to: attempts that failed of those that ran, on either kernel.

    `seconds` and `schedules` are medians of guest uptime and of schedules run until the first
    finding; None where nothing was found, or no schedules were controlled.
    """

    race: Race
    run: str
    unfixed: tuple[int, int]
    fixed: tuple[int, int]
    seconds: float | None
    schedules: float | None

    @property
    def as_it_should(self) -> bool:
        """Whether it failed in every boot without its fix, and in none with it."""
        failed, all_of_them = self.unfixed
        return 0 < all_of_them == failed and self.fixed[0] == 0 and self.fixed[1] > 0


def race_result(race: Race, record: RunRecord) -> RaceResult:
    """What the run of one race says."""
    unfixed = [cell for cell in record.cells if cell.variant == UNFIXED]
    fixed = [cell for cell in record.cells if cell.variant != UNFIXED]
    found = [(a, cell) for cell in unfixed for a in cell.attempts if a.status is Status.FAIL]
    return RaceResult(
        race=race,
        run=record.run,
        unfixed=_failed(unfixed),
        fixed=_failed(fixed),
        seconds=median([_seconds(attempt, cell) for attempt, cell in found]),
        schedules=median([schedules_run(attempt) for attempt, _ in found]),
    )


def _seconds(attempt: Attempt, cell: CellRecord) -> float | None:
    """Guest uptime at the first finding; of one that no console line tells, at the end of the race.

    Programs and schedules end as soon as they have found something.
    """
    told = found_after(attempt, cell)
    stop = attempt.state.get("stage_stop")
    return told if told is not None or stop is None else float(stop)


def _failed(cells: Iterable[CellRecord]) -> tuple[int, int]:
    """Failed attempts, and those that ran to an answer."""
    told = [a for cell in cells for a in cell.attempts if a.status in (Status.FAIL, Status.PASS)]
    return sum(a.status is Status.FAIL for a in told), len(told)


def schedules_run(attempt: Attempt) -> float | None:
    """Schedules run in one boot, the failing one included; None where none was controlled."""
    if not attempt.explorations:
        return None
    return sum(run for each in attempt.explorations for _, run, _ in each.bounds)


def races_table(results: Iterable[RaceResult]) -> Table:
    """One line a race; one that did not come out as it should is marked."""
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    for heading in ("race", "fixed by", "CVE", "sides"):
        table.add_column(heading, overflow="fold")
    for heading in ("seconds", "schedules", "unfixed", "fixed"):
        table.add_column(heading, justify="right", no_wrap=True)
    for result in results:
        race = result.race
        table.add_row(
            Text(race.name, style="" if result.as_it_should else "bold red"),
            race.commit or "-",
            race.cve.removeprefix("CVE-") or "-",
            ", ".join(race.sides),
            "-" if result.seconds is None else f"{result.seconds:.1f}",
            "-" if result.schedules is None else f"{result.schedules:.0f}",
            "{}/{}".format(*result.unfixed),
            "{}/{}".format(*result.fixed),
        )
    return table
