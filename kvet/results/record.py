# SPDX-License-Identifier: GPL-2.0-only
"""The record of a run: what `results.json` holds, written once and read once.

Everything that is drawn or compared later is an attribute of these types. The file has
the same names (docs/results.md describes them). Fields that came after schema 1 have
defaults, so that a run of an older kvet still opens.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import msgspec

from kvet.errors import InfraError, UserError
from kvet.model import Attempt, Conclusion, Finding, Role, Status, Waiver
from kvet.results.changes import ChangeRecord
from kvet.results.code_record import CodeRecord
from kvet.results.prefixes import PrefixRecord
from kvet.results.proofs import ProofRecord
from kvet.store import write_json

SCHEMA = 2
OLDEST_SCHEMA = 1
UNKNOWN = "?"
DONE = Status.DONE.value


@dataclass(frozen=True, slots=True)
class KernelRecord:
    """Where the source of a kernel came from; `tree` is git's id of all of it."""

    version: str = ""
    origin: str = ""
    base_commit: str = ""
    tree: str = ""
    sha256: str = ""
    kind: str = ""


@dataclass(frozen=True, slots=True)
class HostRecord:
    """The machine and the tools of a run."""

    machine: str = UNKNOWN
    system: str = UNKNOWN
    kernel: str = ""
    cpus: int | None = None
    python: str = ""
    qemu: str = UNKNOWN
    accel: str = UNKNOWN
    compiler: str = UNKNOWN
    linker: str = UNKNOWN
    kernels: Mapping[str, KernelRecord] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRecord:
    """What a plan and its copies have in common.

    `fixed` attempts for each cell, or from `attempts` up to `most`; unless a user `asked` for
    that number, workloads of which fewer are enough have fewer. `params` were asked for
    instead of those of the workload. With `each_patch` (build or boot) every prefix of a judged
    series is built, and booted.
    """

    name: str = ""
    attempts: int = 3
    most: int = 3
    fixed: bool = True
    asked: bool = True
    toolchain: str = "gcc"
    seed: int = 1
    waivers: tuple[Waiver, ...] = ()
    command: tuple[str, ...] = ()
    params: Mapping[str, str | int] = field(default_factory=dict)
    each_patch: str = ""


@dataclass(frozen=True, slots=True)
class PatchRecord:
    """One patch of a series and the tree after it."""

    name: str
    subject: str = ""
    message_id: str = ""
    sha256: str = ""
    tree: str = ""


@dataclass(frozen=True, slots=True)
class SeriesRecord:
    """A series as it was applied; `diff` is all of it as one. All empty when it was not."""

    id: str = ""
    base_tree: str = ""
    tree: str = ""
    changed: tuple[str, ...] = ()
    diff: str = ""
    patches: tuple[PatchRecord, ...] = ()

    @property
    def applied(self) -> bool:
        """Whether the source got as far as having the series in it."""
        return bool(self.id)


@dataclass(frozen=True, slots=True)
class GivenRecord:
    """A series as it was given with `--series`: what of, and what its mails say.

    `message_id` is the mail that stands for it: its cover letter, else its first patch.
    `base` says in one line what it was put on, and why; `unfit`, where no workload is about
    what it changes, which one judged it all the same.
    """

    spec: str
    label: str = ""
    subject: str = ""
    author: str = ""
    message_id: str = ""
    base: str = ""
    notes: tuple[str, ...] = ()
    unfit: str = ""


@dataclass(frozen=True, slots=True)
class BuildRecord:
    """The build of a cell; `key` is '' and `finding` tells why when there is none."""

    key: str = ""
    seconds: float = 0.0
    cached: bool = False
    release: str = ""
    folder: str = ""
    log: str = ""
    warnings_added: tuple[str, ...] = ()
    finding: Finding | None = None


@dataclass(frozen=True, slots=True)
class PatchCoverage:
    """Of the lines of one patch that generate code (`code`), how many ran (`run`)."""

    name: str
    run: int
    code: int


@dataclass(frozen=True, slots=True)
class MissedLine:
    """A line of the series (`file:line`) that never ran, and its text."""

    place: str
    text: str


@dataclass(frozen=True, slots=True)
class Coverage:
    """Which lines of a series ran in any attempt of a cell."""

    patches: tuple[PatchCoverage, ...] = ()
    run: tuple[str, ...] = ()
    not_run: tuple[MissedLine, ...] = ()


@dataclass(frozen=True, slots=True)
class NeverSeen:
    """An outcome of a branch of the series that no attempt saw: `place` never `words`.

    `waived` is why that does not count; empty when it does.
    """

    place: str
    function: str
    text: str
    words: str
    waived: str = ""


@dataclass(frozen=True, slots=True)
class Decisions:
    """The outcomes of the branches of a series: all, seen, and seen for certain.

    One that was seen may have been reached by other code as well; `certain`
    counts those that cannot. At lines of `selects` a choice is made without a
    branch, and nothing tells which way it went.
    """

    all: int = 0
    seen: int = 0
    certain: int = 0
    never: tuple[NeverSeen, ...] = ()
    selects: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Touch:
    """Something of its judge that a series touches, by the `rule` of that name; see NeverSeen."""

    rule: str
    place: str
    text: str
    why: str
    waived: str = ""


@dataclass(frozen=True, slots=True)
class RateTest:
    """Fisher's exact test of a candidate's k/n `against` another variant's `k` of `n`.

    `p_holm` is corrected over all tests of the run.
    """

    against: str
    k: int
    n: int
    p: float
    p_holm: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CellRecord:
    """One cell: what it is, what it came to and every attempt.

    `failures` of `runs` counted attempts; `upper_bound` is the 95 % bound on the failure
    rate when none failed, `interval` Wilson's; `reused` names the run that the attempts
    come from; `same_code_as` is the variant whose attempts stand for this one's; `again` are
    attempts repeated where the known `emulator_faults` cannot happen. `does` is what a workload
    that is a directory does (run, sides, kunit, ...), '' for one that is part of the guest's
    init; `not_covered` is what it says itself that it leaves out.
    """

    id: str
    kernel: str
    variant: str
    config: str
    machine: str
    workload: str
    page_kib: int = 4
    vcpus: int = 1
    role: Role
    title: str = ""
    expected: str = ""
    links: tuple[str, ...] = ()
    conclusion: Conclusion
    reason: str = ""
    failures: int
    runs: int
    wanted: int = 0
    upper_bound: float | None = None
    interval: tuple[float, float] | None = None
    new_titles: tuple[str, ...] = ()
    known_titles: tuple[str, ...] = ()
    unconfirmed: tuple[str, ...] = ()
    amplified: bool = False
    measures: bool = False
    control: str = ""
    floor: Mapping[str, int] = field(default_factory=dict)
    floor_each: tuple[str, ...] = ()
    does: str = ""
    not_covered: tuple[str, ...] = ()
    reused: str = ""
    series: SeriesRecord = SeriesRecord()
    given: GivenRecord | None = None
    same_code_as: str = ""
    build: BuildRecord = BuildRecord()
    coverage: Coverage | None = None
    decisions: Decisions | None = None
    touches: tuple[Touch, ...] = ()
    proof: ProofRecord | None = None
    emulator_faults: tuple[str, ...] = ()
    again: tuple[Attempt, ...] = ()
    attempts: tuple[Attempt, ...]
    tests: tuple[RateTest, ...] = ()

    @property
    def count(self) -> str:
        """k/n."""
        return f"{self.failures}/{self.runs}"

    @property
    def outcome(self) -> str:
        """The conclusion as people are told it: a measurement judges nothing."""
        passed = self.conclusion is Conclusion.PASS
        return DONE if passed and self.measures else self.conclusion.value


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """A whole run."""

    schema: int = OLDEST_SCHEMA
    run: str
    conclusion: Conclusion
    exit_code: int
    host: HostRecord = HostRecord()
    plan: PlanRecord = PlanRecord()
    code: tuple[CodeRecord, ...] = ()
    changes: tuple[ChangeRecord, ...] = ()
    prefixes: tuple[PrefixRecord, ...] = ()
    cells: tuple[CellRecord, ...]

    def cell(self, cell_id: str) -> CellRecord:
        """The cell of that id; UserError when the run has none."""
        found = next((c for c in self.cells if c.id == cell_id), None)
        if found is None:
            raise UserError(f"{self.run} has no cell {cell_id}")
        return found


@dataclass(frozen=True, slots=True)
class _Head:
    """What a file of any schema says of itself."""

    schema: int = OLDEST_SCHEMA


def write_record(path: Path, record: RunRecord) -> None:
    """Write results.json, whole or not at all."""
    write_json(path, record)


def read_record(path: Path) -> RunRecord:
    """One results.json; InfraError when it is none that this kvet can read."""
    hint = f"harness.py run-matrix --resume {path.parent.name} writes it again"
    try:
        data = path.read_bytes()
        schema = msgspec.json.decode(data, type=_Head).schema
        if not OLDEST_SCHEMA <= schema <= SCHEMA:
            known = f"schema {schema}; this kvet reads {OLDEST_SCHEMA} to {SCHEMA}"
            raise InfraError(f"{path}: {known}", hint=f"{hint}, or use the kvet that wrote it")
        record = msgspec.json.decode(data, type=RunRecord)
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", path=path, hint=hint) from error
    except msgspec.ValidationError as error:  # it holds the path inside the file
        reason = f"{path}: not a record of a run that this kvet reads: {error}"
        raise InfraError(reason, hint=hint) from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InfraError(f"{path}: not valid JSON: {error}", hint=hint) from error
    return replace(record, schema=SCHEMA)


class InColumn(Protocol):
    """What knows which column of the matrix it stands in."""

    @property
    def kernel(self) -> str: ...
    @property
    def config(self) -> str: ...
    @property
    def machine(self) -> str: ...
    @property
    def workload(self) -> str: ...


def column(cell: InColumn) -> tuple[str, str, str, str]:
    """What a cell is apart from its variant: kernel, config, machine, workload."""
    return (cell.kernel, cell.config, cell.machine, cell.workload)


def label(cells: Iterable[InColumn], cell: InColumn) -> str:
    """Shortest name of a cell's column: its config and every other axis that varies in `cells`."""
    varies = [len(set(values)) > 1 for values in zip(*map(column, cells), strict=True)]
    kernel, config, machine, workload = column(cell)
    own = ((config, True), (kernel, varies[0]), (machine, varies[2]), (workload, varies[3]))
    return "/".join(value for value, shown in own if shown)


def kernels_text(record: RunRecord) -> str:
    """Names and versions of the kernels of a run."""
    kernels = record.host.kernels.items()
    return ", ".join(f"{name} = {k.version}" for name, k in kernels) or "no kernel"
