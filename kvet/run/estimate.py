# SPDX-License-Identifier: GPL-2.0-only
"""How long a plan takes, learnt from the runs on record: an estimate, nothing is run.

A build costs the median of what it took in earlier runs, an attempt likewise; where the very
build or cell never ran, what others of its kernel, config and machine took.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from kvet.errors import KvetError
from kvet.model import COUNTED_STATUSES, Cell
from kvet.progress import minutes
from kvet.results.history import run_records
from kvet.results.record import CellRecord, RunRecord, read_record
from kvet.run.plan import Plan, jobs_of

# older runs were of other hosts and other trees
NEWEST = 20

Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Learnt:
    """Seconds of builds and attempts on record, by what they were of; `runs` were read."""

    runs: int = 0
    builds: dict[Key, list[float]] = field(default_factory=lambda: defaultdict(list))
    attempts: dict[Key, list[float]] = field(default_factory=lambda: defaultdict(list))

    def build_s(self, cell: Cell) -> float | None:
        """Seconds of the build of `cell`, None when nothing like it is on record."""
        return _first(self.builds, _build_keys(cell))

    def attempt_s(self, cell: Cell) -> float | None:
        """Seconds of one attempt of `cell`, None when nothing like it is on record."""
        return _first(self.attempts, _attempt_keys(cell))


def learn(results: Path) -> Learnt:
    """What the newest runs below `results` took; one that cannot be read teaches nothing."""
    records = []
    for path in run_records(results)[-NEWEST:]:
        try:
            records.append(read_record(path))
        except KvetError:
            continue
    return learn_from(records)


def learn_from(records: Sequence[RunRecord]) -> Learnt:
    """Builds that were compiled and attempts that counted; what was reused took no time."""
    learnt = Learnt(len(records))
    for record in records:
        compiled = {
            c.build.key: c for c in record.cells if c.build.key and not c.build.cached
        }  # fmt: skip
        for cell in compiled.values():
            for key in _build_keys(cell):
                learnt.builds[key].append(cell.build.seconds)
        for cell in record.cells:
            if cell.reused or cell.same_code_as:
                continue
            seconds = [a.seconds for a in cell.attempts if a.status in COUNTED_STATUSES]
            for key in _attempt_keys(cell):
                learnt.attempts[key] += seconds
    return learnt


def _names(cell: Cell | CellRecord) -> tuple[str, str, str, str, str, str]:
    """Kernel, variant, config, machine, workload and page size."""
    if isinstance(cell, CellRecord):
        return (
            *(cell.kernel, cell.variant, cell.config, cell.machine, cell.workload),
            str(cell.page_kib),
        )
    kernel, variant, config, machine, workload = cell.cell_id.names
    return kernel, variant, config, machine, workload, str(cell.machine.page_kib)


def _build_keys(cell: Cell | CellRecord) -> tuple[Key, Key]:
    """The very build, and all builds of its kernel and config."""
    kernel, variant, config, _, _, page = _names(cell)
    return (kernel, config, page, variant), (kernel, config, page)


def _attempt_keys(cell: Cell | CellRecord) -> tuple[Key, Key]:
    """The very cell, and all cells of its kernel, config, machine and workload."""
    kernel, variant, config, machine, workload, _ = _names(cell)
    return (kernel, config, machine, workload, variant), (kernel, config, machine, workload)


def _first(known: dict[Key, list[float]], keys: Iterable[Key]) -> float | None:
    return next((median(known[key]) for key in keys if known.get(key)), None)


@dataclass(frozen=True, slots=True)
class CellTime:
    """Seconds of the build of one cell and of one attempt; None is unknown."""

    cell: Cell
    build_s: float | None
    attempt_s: float | None

    @property
    def known(self) -> bool:
        """Whether both are."""
        return self.build_s is not None and self.attempt_s is not None

    @property
    def chain_s(self) -> float:
        """The build and one attempt after it: nothing makes this cell's first verdict sooner."""
        return (self.build_s or 0.0) + (self.attempt_s or 0.0)

    def text(self, attempts: int) -> str:
        """Of one line of the plan."""
        build = "build unknown" if self.build_s is None else f"build {minutes(self.build_s)}"
        each = "unknown" if self.attempt_s is None else minutes(self.attempt_s)
        return f"{build}, attempts {attempts} x {each}"


@dataclass(frozen=True, slots=True)
class Estimate:
    """The time of a whole plan, each cell's in the plan's order; seconds."""

    cells: tuple[CellTime, ...]
    builds_s: float
    boots_s: float
    jobs: int

    @property
    def longest(self) -> CellTime:
        """The critical path: the cell whose build and one attempt take longest."""
        return max(self.cells, key=lambda c: c.chain_s)

    def lines(self, learnt: Learnt, results: Path) -> Iterator[str]:
        """What is said below a plan."""
        unknown = sum(not c.known for c in self.cells)
        if unknown == len(self.cells):
            yield f"time: unknown, {results} has no run of these configs and workloads"
            return
        at_least = "at least" if unknown else "about"
        yield (
            f"time: {at_least} {minutes(self.builds_s + self.boots_s)}: builds "
            f"{minutes(self.builds_s)}, boots {minutes(self.boots_s)} with {self.jobs} at a time, "
            "no build and no attempt taken from the cache"
        )
        longest = self.longest
        yield (
            f"critical path: {at_least} {minutes(longest.chain_s)}: the build and one attempt of "
            f"{longest.cell.id}"
        )
        without = f"; unknown for {unknown} of {len(self.cells)} cells" if unknown else ""
        runs = "1 run" if learnt.runs == 1 else f"{learnt.runs} runs"
        yield f"learnt from {runs} in {results}{without}"


def estimate(plan: Plan, learnt: Learnt) -> Estimate:
    """How long `plan` takes: cells of one build are built once, then booted `jobs` at a time."""
    cells = tuple(CellTime(c, learnt.build_s(c), learnt.attempt_s(c)) for c in plan.cells)
    jobs = jobs_of(plan)
    batches: dict[Key, list[CellTime]] = defaultdict(list)
    for each in cells:
        batches[_build_keys(each.cell)[0]].append(each)
    return Estimate(
        cells=cells,
        builds_s=sum(batch[0].build_s or 0.0 for batch in batches.values()),
        boots_s=sum(_boots(batch, plan.attempts, jobs) for batch in batches.values()),
        jobs=jobs,
    )


def _boots(batch: Sequence[CellTime], attempts: int, jobs: int) -> float:
    """Seconds until all attempts of the cells of one build have ended; one cannot be split."""
    seconds = [cell.attempt_s or 0.0 for cell in batch]
    return max(sum(seconds) * attempts / jobs, *seconds)
