# SPDX-License-Identifier: GPL-2.0-only
"""The nouns of kvet as frozen data: what is planned, built, booted and judged.

No I/O and no import but that of the cell's id, so that every stage can depend on it.
Units are in the names (`_s` seconds, `_mib` MiB, `_kib` KiB).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from kvet.boards import Board
from kvet.boot_host import BootHost
from kvet.cell_id import CellId
from kvet.explorations import Exploration
from kvet.loads import Load, Option


class Status(StrEnum):
    """Status of one attempt, in KCIDB's words (kcidb-io schema v5.3).

    FAIL blames the kernel, ERROR the host or the harness; MISS never ran.
    """

    PASS = "PASS"
    FAIL = "FAIL"
    ERROR = "ERROR"
    MISS = "MISS"
    DONE = "DONE"
    SKIP = "SKIP"


COUNTED_STATUSES = (Status.PASS, Status.FAIL, Status.DONE)  # of the kernel: the n of k/n


class Ending(StrEnum):
    """How one boot ended, seen from the host."""

    POWEROFF = "POWEROFF"
    PANIC = "PANIC"
    HANG = "HANG"
    TIMEOUT = "TIMEOUT"
    LOST = "LOST"
    NEVER_BOOTED = "NEVER_BOOTED"


class Conclusion(StrEnum):
    """What all attempts of a cell together allow to say."""

    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    ERROR = "ERROR"


class Role(StrEnum):
    """What a variant is in the matrix: compared against, judged, or known to be broken."""

    BASELINE = "baseline"
    CANDIDATE = "candidate"
    CONTROL = "control"


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel source (`kernels/NAME.yaml`); `spec` holds the keys of its kind."""

    name: str
    kind: str
    spec: Mapping[str, Any]
    path: Path


@dataclass(frozen=True, slots=True)
class SourceTree:
    """An unpacked kernel source: a clean git checkout that nobody modifies in place.

    `tree_id` is git's id of the content, the same everywhere; `version` the kernel's (`6.12.117`).
    """

    path: Path
    base_commit: str
    tree_id: str
    version: str
    origin: str
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Floor:
    """The least counts of exposure counters that prove that a race was run.

    Every counter of `each` must reach its least, and one of `any`: designs exclude differently.
    """

    each: Mapping[str, int] = field(default_factory=dict)
    any: Mapping[str, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.each or self.any)

    @property
    def counts(self) -> Mapping[str, int]:
        """All counters with their least counts."""
        return {**self.each, **self.any}


@dataclass(frozen=True, slots=True)
class Waiver:
    """What is said against a PASS and does not count, because of `reason`.

    Either an outcome of a branch that never happened: the branch at `line`
    (`file:line`) or at any line that holds `text`, and the words after "never"
    (`outcome`, empty for all). Or a rule of what a series may not touch (`judge`).
    """

    reason: str
    line: str = ""
    text: str = ""
    outcome: str = ""
    judge: str = ""


@dataclass(frozen=True, slots=True)
class Variant:
    """A patch series under test, its patches in the order they apply.

    `by_kernel` and `expected_on` hold what is otherwise on a kernel. A `foreign` one came from
    outside and is not trusted; `proof` is the directory of the litmus tests that came with it.
    """

    name: str
    title: str
    role: Role
    patches: tuple[Path, ...] = ()
    by_kernel: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    expected: str = ""
    expected_on: Mapping[str, str] = field(default_factory=dict)
    why: str = ""
    links: tuple[str, ...] = ()
    kernels: tuple[str, ...] = ()
    floor: Floor = field(default_factory=Floor)
    floor_reason: str = ""
    amplified_only: bool = False
    waivers: tuple[Waiver, ...] = ()
    foreign: bool = False
    proof: Path | None = None

    def patches_for(self, kernel: str) -> tuple[Path, ...]:
        """The patch files that make this variant on `kernel`, in order."""
        return self.by_kernel.get(kernel, self.patches)


@dataclass(frozen=True, slots=True)
class Config:
    """A named list of kconfig fragments, merged in order over the make target `base`.

    `slowdown` scales timeouts, `mem_mib` is the least memory of a guest. `options`, which a
    workload needs, override those of the fragments. `races` are C files that become modules,
    `selftests` directories of tools/testing/selftests of the tree.
    """

    name: str
    fragments: tuple[Path, ...]
    base: str = "allnoconfig"
    slowdown: float = 1.0
    mem_mib: int = 0
    title: str = ""
    options: tuple[Option, ...] = ()
    races: tuple[Path, ...] = ()
    selftests: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Machine:
    """A guest machine (`configs/machines/NAME.yaml`).

    With `icount` one instruction is one nanosecond of guest time, and nothing of the host's
    comes into the guest: two boots with one seed are alike, but for what several vCPUs, which
    run in turn then, do at the end of a turn. A `board` is no guest: it boots kernels itself.
    """

    name: str
    vcpus: int
    mem_mib: int
    title: str = ""
    page_kib: int = 4
    accel: str = "auto"
    thread: str = "multi"
    cpu: str = "max,pauth-impdef=on"
    maxmem_mib: int = 0
    boot_args: tuple[str, ...] = ()
    qemu: str = "qemu-system-aarch64"
    icount: bool = False
    board: Board | None = None

    @property
    def cores(self) -> int:
        """Cores of the host that it keeps busy."""
        return 1 if self.board or self.thread == "single" else self.vcpus


@dataclass(frozen=True, slots=True)
class Workload:
    """What runs in the guest: parameters go to it on the kernel command line.

    `program` is the guest's name of it, where that is not the workload's own.
    `floor` is the least exposure that proves that the race was run.
    `baseline` and `control` name the variants that let a single one be judged.
    One that `measures` runs no race: its attempts are DONE, neither PASS nor FAIL.
    `machines` and `configs` are those it can do its work on, the first being the default;
    empty when any will do. `waivers` hold for every variant: what this race cannot show.
    `beside` are the workloads that judge together with it; `attempts` are enough of it where
    nobody asks for a number (0: as many as of any other). Controlled schedules with at most
    `complete` preemptions must all have run, or silence is no PASS.
    `about` are globs of the source files that it judges changes of.
    `load` is what its directory holds, None for one that is part of the guest's init.
    """

    name: str
    seconds: float
    title: str = ""
    program: str = ""
    params: Mapping[str, str | int] = field(default_factory=dict)
    floor: Floor = field(default_factory=Floor)
    floor_reason: str = ""
    slowdown: float = 1.0
    baseline: str = ""
    control: str = ""
    measures: bool = False
    machines: tuple[str, ...] = ()
    configs: tuple[str, ...] = ()
    waivers: tuple[Waiver, ...] = ()
    beside: tuple[str, ...] = ()
    attempts: int = 0
    complete: int = 0
    about: tuple[str, ...] = ()
    load: Load | None = None


@dataclass(frozen=True, slots=True)
class Cell:
    """One point of the matrix; run in several attempts, one fresh boot each."""

    kernel: Kernel
    variant: Variant
    config: Config
    machine: Machine
    workload: Workload

    @property
    def cell_id(self) -> CellId:
        """The five names that make the id."""
        parts = (self.kernel, self.variant, self.config, self.machine, self.workload)
        return CellId(*(part.name for part in parts))

    @property
    def id(self) -> str:
        """Stable, readable and usable as a directory name."""
        return str(self.cell_id)


@dataclass(slots=True, unsafe_hash=True)  # frozen, each of a log's thousands costs four times
class Frame:
    """One line of a call trace; `location` is file:line once symbolised.

    `side` tells the stacks of a two-sided finding apart: walk or free.
    """

    func: Final[str]
    offset: Final[str] = ""
    module: Final[str] = ""
    location: Final[str] = ""
    source: Final[str] = ""
    touched: Final[bool] = False
    side: Final[str] = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """One defect seen in one log or reported by one oracle.

    `title` is normalised (no addresses, CPUs, offsets) and serves to recognise
    the same defect again; `first_line`/`last_line` are 1-based lines of the
    console log, 0 when an oracle other than the console told it; `uptime_s` is
    the guest's uptime that its first line gives; `notes` explain it, as text.
    A `suspicion` is a broken rule that no access has confirmed; `door` says how
    the walk came in: `file` as a user does, `internal` by a call of ours. `state`
    names the line of the guest's state (`kvet state NAME`) that says it, if one does.
    """

    kind: str
    title: str
    func: str = ""
    first_line: int = 0
    last_line: int = 0
    frames: tuple[Frame, ...] = ()
    alt_titles: tuple[str, ...] = ()
    family: str = ""
    corrupted: bool = False
    suppressed: bool = False
    origin: str = "console"
    excerpt: tuple[str, ...] = ()
    uptime_s: float | None = None
    notes: tuple[str, ...] = ()
    suspicion: bool = False
    door: str = ""
    state: str = ""


@dataclass(frozen=True, slots=True)
class Metric:
    """One measured number and its unit."""

    value: float
    unit: str


@dataclass(frozen=True, slots=True)
class Build:
    """A finished build: `folder` holds Image, vmlinux, System.map, .config and modules/."""

    key: str
    folder: Path
    release: str
    seconds: float
    cached: bool
    warnings: tuple[str, ...] = ()
    spared: int = 0  # objects: kvet/build/spare.py

    @property
    def image(self) -> Path:
        return self.folder / "Image"

    @property
    def vmlinux(self) -> Path:
        return self.folder / "vmlinux"

    @property
    def modules(self) -> Path:
        return self.folder / "modules"

    @property
    def selftests(self) -> Path:
        """The kernel's own selftests that were built from this tree, static programs."""
        return self.folder / "selftests"

    @property
    def patched(self) -> Path:
        """The source files that the series changed, as they were built."""
        return self.folder / "patched"


@dataclass(frozen=True, slots=True)
class Provenance:
    """What booted in an attempt: build key, base commit, QEMU's command line, the banner, where."""

    build: str = ""
    base_commit: str = ""
    argv: tuple[str, ...] = ()
    banner: str = ""
    host: BootHost = BootHost()


@dataclass(frozen=True, slots=True)
class Attempt:
    """One fresh boot of a cell. Starts at ERROR; PASS is earned.

    `short_of` names the exposure that was below the floor. `unfinished` is why
    the attempt says nothing but its findings; empty when it ran to its end.
    `ways` are the outcomes of branches of the series, None where nothing logged them.
    `tests` are the results of the workload's own tests: ok, not ok or skip.
    """

    n: int
    status: Status = Status.ERROR
    ending: Ending | None = None
    seconds: float = 0.0
    boot_seconds: float | None = None
    ready_seconds: float | None = None
    seed: int = 0
    console: str = ""
    findings: tuple[Finding, ...] = ()
    exposure: Mapping[str, int] = field(default_factory=dict)
    exposed: bool = False
    short_of: tuple[str, ...] = ()
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    state: Mapping[str, str] = field(default_factory=dict)
    lines_run: tuple[str, ...] = ()
    explorations: tuple[Exploration, ...] = ()
    ways: tuple[str, ...] | None = None
    tests: Mapping[str, str] = field(default_factory=dict)
    memory: str = ""
    detail: str = "the attempt did not run to its end"
    unfinished: str = ""
    provenance: Provenance = Provenance()
