# SPDX-License-Identifier: GPL-2.0-only
"""The nouns of kvet as frozen data: what is planned, built, booted and judged.

No I/O and no imports from siblings, so that every stage can depend on it.
Units are in the names (`_s` seconds, `_mib` MiB, `_kib` KiB).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any


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

    `tree_id` is git's id of the whole content, the same on every machine for
    the same source; `version` is the kernel's own (`6.12.117`).
    """

    path: Path
    base_commit: str
    tree_id: str
    version: str
    origin: str
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Variant:
    """A patch series under test, its patches in the order they apply.

    `by_kernel` overrides `patches` for a kernel that needs its own rendition.
    A `foreign` one came from outside the repository and is not trusted.
    """

    name: str
    title: str
    role: Role
    patches: tuple[Path, ...] = ()
    by_kernel: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    expected: str = ""
    why: str = ""
    links: tuple[str, ...] = ()
    kernels: tuple[str, ...] = ()
    floor: Mapping[str, int] = field(default_factory=dict)
    floor_reason: str = ""
    amplified_only: bool = False
    foreign: bool = False

    def patches_for(self, kernel: str) -> tuple[Path, ...]:
        """The patch files that make this variant on `kernel`, in order."""
        return self.by_kernel.get(kernel, self.patches)


@dataclass(frozen=True, slots=True)
class Config:
    """A named list of kconfig fragments, merged in order over the make target `base`.

    `slowdown` is how much slower than a plain kernel it runs: it scales timeouts.
    """

    name: str
    fragments: tuple[Path, ...]
    base: str = "allnoconfig"
    slowdown: float = 1.0
    title: str = ""


@dataclass(frozen=True, slots=True)
class Machine:
    """A guest machine (`configs/machines/NAME.yaml`).

    With `icount` one instruction is one nanosecond of guest time, and nothing
    of the host's comes into the guest: two boots with one seed are alike.
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


@dataclass(frozen=True, slots=True)
class Workload:
    """What runs in the guest: parameters go to it on the kernel command line.

    `program` is the guest's name of it, where that is not the workload's own.
    `floor` maps an exposure counter to the least count that proves that the
    race was run; one entry reached is enough (each design excludes differently).
    `baseline` and `control` name the variants that let a single one be judged.
    One that `measures` runs no race: its attempts are DONE, neither PASS nor FAIL.
    """

    name: str
    seconds: float
    title: str = ""
    program: str = ""
    params: Mapping[str, str | int] = field(default_factory=dict)
    floor: Mapping[str, int] = field(default_factory=dict)
    floor_reason: str = ""
    slowdown: float = 1.0
    baseline: str = ""
    control: str = ""
    measures: bool = False


@dataclass(frozen=True, slots=True)
class Cell:
    """One point of the matrix; run in several attempts, one fresh boot each."""

    kernel: Kernel
    variant: Variant
    config: Config
    machine: Machine
    workload: Workload

    @property
    def id(self) -> str:
        """Stable, readable and usable as a folder name."""
        parts = (self.kernel, self.variant, self.config, self.machine, self.workload)
        return "+".join(part.name for part in parts)


@dataclass(frozen=True, slots=True)
class Frame:
    """One line of a call trace; `location` is file:line once symbolised.

    `side` tells the stacks of a two-sided finding apart: walk or free.
    """

    func: str
    offset: str = ""
    module: str = ""
    location: str = ""
    source: str = ""
    touched: bool = False
    side: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """One defect seen in one log or told by one oracle.

    `title` is normalised (no addresses, CPUs, offsets) and serves to recognise
    the same defect again; `first_line`/`last_line` are 1-based lines of the
    console log, 0 when an oracle other than the console told it; `uptime_s` is
    the guest's uptime that its first line gives; `notes` explain it, as text.
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
    def patched(self) -> Path:
        """The source files that the series changed, as they were built."""
        return self.folder / "patched"


@dataclass(frozen=True, slots=True)
class Limits:
    """Deadlines of one boot in host seconds, already scaled to accelerator and config.

    `boot_s` until the banner and init, `run_s` for the whole workload after
    that, `silence_s` without any sign of life before a guest counts as hung;
    `splat_s` after a panic, `after_splat_s` after the first splat.
    """

    boot_s: float
    run_s: float
    silence_s: float
    splat_s: float = 5.0
    after_splat_s: float = 60.0


@dataclass(frozen=True, slots=True)
class BootRequest:
    """Everything one boot needs; `folder` belongs to this attempt alone.

    `trace` are (start, length) of guest code whose first translation is logged;
    `dumps` is the run's folder, in which memory dumps are counted, None for no dump.
    """

    image: Path
    initrd: tuple[Path, ...]
    machine: Machine
    folder: Path
    limits: Limits
    seed: int
    release: str = ""
    args: tuple[str, ...] = ()
    ssh: bool = False
    gdb: bool = False
    trace: tuple[tuple[int, int], ...] = ()
    dumps: Path | None = None


@dataclass(frozen=True, slots=True)
class Boot:
    """What one boot left behind.

    `boot_s` is QEMU start to init, `ready_s` QEMU start to workload start,
    `seconds` QEMU start to its end; None when that point was not reached.
    """

    ending: Ending
    console: Path
    report: Path
    seconds: float
    boot_s: float | None
    ready_s: float | None
    banner: str
    argv: tuple[str, ...]
    detail: str = ""
    memory: Path | None = None


@dataclass(frozen=True, slots=True)
class GuestReport:
    """What the guest said on its report port, parsed; `complete` when it reached its end."""

    complete: bool = False
    tests: Mapping[str, bool | None] = field(default_factory=dict)
    exposure: Mapping[str, int] = field(default_factory=dict)
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    state: Mapping[str, str] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Attempt:
    """One fresh boot of a cell. Starts at ERROR; PASS is earned."""

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
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    state: Mapping[str, str] = field(default_factory=dict)
    lines_run: tuple[str, ...] = ()
    memory: str = ""
    detail: str = "the attempt did not run to its end"
    provenance: Mapping[str, Any] = field(default_factory=dict)
